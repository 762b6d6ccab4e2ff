"""The negatives of a question in a batch, and passages that only look like negatives.

A passage that answers a question must not be pushed away from it. What answers it is known from
the positives of every row, of any training file, that asks the same (records.same_question).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Set
from functools import lru_cache

import numpy as np

from dprkit.data.answer_matching import Texts, has_token
from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.ids import text_key
from dprkit.records import Example, Passage, same_question

REMEMBERED = 1024
"""Questions of several rows whose positives are kept at hand."""


def names_of(passage: Passage, file: int) -> tuple[Hashable, Hashable]:
    """What makes two passages one: the text, or the id within one file."""
    return passage.text.strip(), (file, passage.id)


Names = Callable[[Passage, int], Iterable[Hashable]]
"""A passage and the number of its file -> what names it."""


class Positives:
    """The passages known to answer each question of the training files.

    `names`: what makes two passages one, given a passage and the number of its file.
    Rows are read again only where several ask the same. Memory is 16 bytes for each of those.
    """

    def __init__(self, files: Sequence[ExampleFile], names: Names = names_of) -> None:
        self._files, self._names = files, names
        self._begins = np.cumsum([0, *map(len, files)])
        keys = np.concatenate([file.questions for file in files])
        order = np.argsort(keys, kind="stable")
        placed = keys[order]
        same = placed[1:] == placed[:-1]
        several = np.concatenate([same, [False]]) | np.concatenate([[False], same])
        self._keys, self._rows = placed[several], order[several]
        self._read_once = lru_cache(REMEMBERED)(self._read)

    def names(self, example: Example, file: int) -> Set[Hashable]:
        """What names the positives of all rows that ask what a file's row asks."""
        question = same_question(example.question)
        if len(self._numbers(question)):
            return self._read_once(question)
        return frozenset(self._of_row(example, file))

    def _numbers(self, question: str) -> np.ndarray:
        """The rows with a question's key, counted over all files, if there are several."""
        key = np.uint64(text_key(question))
        begin, end = (np.searchsorted(self._keys, key, side) for side in ("left", "right"))
        rows: np.ndarray = self._rows[begin:end]
        return rows

    def _read(self, question: str) -> frozenset[Hashable]:
        names: set[Hashable] = set()
        for number in self._numbers(question).tolist():
            file = int(np.searchsorted(self._begins, number, side="right")) - 1
            example = self._files[file][number - int(self._begins[file])]
            if same_question(example.question) == question:  # another may have its key
                names.update(self._of_row(example, file))
        return frozenset(names)

    def _of_row(self, example: Example, file: int) -> Iterator[Hashable]:
        for positive in example.positives:
            yield from self._names(positive, file)


def answering(
    positives: Sequence[Set[Hashable]], passages: Sequence[Passage], sources: Sequence[int]
) -> np.ndarray:
    """(Q, P) bool: passage j, of file `sources[j]`, has one of the names `positives[i]`."""
    columns: dict[Hashable, list[int]] = {}
    for column, (passage, source) in enumerate(zip(passages, sources, strict=True)):
        for name in names_of(passage, source):
            columns.setdefault(name, []).append(column)
    answers = np.zeros((len(positives), len(passages)), bool)
    for row, names in enumerate(positives):
        for name in names & columns.keys():
            answers[row, columns[name]] = True
    return answers


def holding_answers(examples: Sequence[Example], passages: Sequence[Passage]) -> np.ndarray:
    """(Q, P) bool: the text of passage j holds an answer to question i."""
    texts = Texts([passage.text for passage in passages])
    answers = [tuple(filter(has_token, example.answers)) for example in examples]
    return np.array([texts.flags(some) for some in answers], bool)


def without_negatives(false_negatives: np.ndarray) -> int:
    """How many questions of (Q, P) `false_negatives` have no passage but their positive."""
    return int(np.count_nonzero((~false_negatives).sum(1) == 1))
