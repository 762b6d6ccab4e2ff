"""The rows that mining reads and writes: questions with what is known of their passages.

examples    of --train-file, read at random; what they hold stays as it is but for two lists
questions   of --questions, read in order; their gold passages are taken from the corpus
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from dprkit.data.examples import context_of
from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.ids import text_key
from dprkit.data.questions import read_questions
from dprkit.errors import InputError
from dprkit.mining.same_texts import TextSet
from dprkit.progress import Note
from dprkit.records import Candidate, Passage, Question, same_question
from dprkit.training.false_negatives import Positives

if TYPE_CHECKING:
    from dprkit.indexes.indexed_passages import IndexedPassages

LOOKED_AT = 256
"""Rows in which answers are looked for before anything is searched."""


class Asked(NamedTuple):
    """A question to mine for, with the passages that are known beside it."""

    question: str
    answers: tuple[str, ...]
    positives: tuple[Passage, ...]
    """The gold one first; empty: nothing can be mined for it."""
    other_ids: frozenset[str]
    """Ids and texts of the positives of all rows with the question."""
    other_texts: frozenset[str]
    negatives: tuple[Candidate, ...]
    """The hard negatives that are there."""
    fields: dict[str, Any]
    """The row as it is to be written, but for what is found."""


class Rows(Protocol):
    """What is mined for, in order."""

    count: int
    """Rows in all."""
    left_out: int
    """Rows without a positive, which are not among them."""

    def batches(self, start: int, size: int) -> Iterator[list[Asked]]:
        """The rows from `start` on, in lists of `size`."""
        ...

    def some_have_answers(self) -> bool:
        """Whether there are answers in some of the rows, looked for in a few."""
        ...


def _names(passage: Passage, _file: int) -> tuple[Hashable, ...]:
    return ("id", passage.id), ("text", passage.text)


def _of(kind: str, names: Iterable[Any]) -> frozenset[str]:
    return frozenset(value for key, value in names if key == kind)


# --- examples -------------------------------------------------------------------------------------


class ExampleRows:
    """The rows of training files."""

    def __init__(self, paths: Sequence[str], note: Note) -> None:
        """Raises what ExampleFile raises."""
        self.files = [ExampleFile(path, note) for path in paths]
        self.count = sum(map(len, self.files))
        self.left_out = sum(file.dropped for file in self.files)
        self._positives = Positives(self.files, _names)

    def batches(self, start: int, size: int) -> Iterator[list[Asked]]:
        """The rows from `start` on, in lists of `size`."""
        rows = islice(self._places(), start, None)
        while batch := [self._asked(*at) for at in islice(rows, size)]:
            yield batch

    def some_have_answers(self) -> bool:
        """Whether there are answers in some of the rows, looked for in a few."""
        places = islice(self._places(), 0, None, max(1, self.count // LOOKED_AT))
        return any(self.files[file][row].answers for file, row in places)

    def _places(self) -> Iterator[tuple[int, int]]:
        return ((n, row) for n, file in enumerate(self.files) for row in range(len(file)))

    def _asked(self, file: int, row: int) -> Asked:
        example, raw = self.files[file].with_raw(row)
        names = self._positives.names(example, file)
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return Asked(
            example.question,
            example.answers,
            example.positives,
            _of("id", names),
            _of("text", names),
            example.hard_negatives,
            fields,
        )


# --- questions ------------------------------------------------------------------------------------


class QuestionRows:
    """The questions of a file whose gold passages the corpus has. Memory: 8 bytes for each, and the
    gold passages of those that are asked several times."""

    def __init__(self, path: str, passages: IndexedPassages) -> None:
        """Raises InputError where no question names a gold passage."""
        import numpy as np

        self.path, self.passages = path, passages
        self.count = self.left_out = 0
        self._has_answers = False
        keys = np.fromiter((self._counted(one) for one in read_questions(path)), np.uint64)
        different, times = np.unique(keys, return_counts=True)
        self._gold: dict[int, set[str]] = {int(key): set() for key in different[times > 1]}
        for one in read_questions(path) if self._gold else ():
            self._gold.get(_key(one), set()).update(one.gold)
        if not self.count:
            raise InputError(
                f"{path}: no question names a gold passage, which a training example needs; add "
                "passage_ids to the questions, or give examples with --train-file"
            )

    def _counted(self, question: Question) -> int:
        self.count += bool(question.gold)
        self.left_out += not question.gold
        self._has_answers |= bool(question.answers)
        return _key(question)

    def batches(self, start: int, size: int) -> Iterator[list[Asked]]:
        """The questions from `start` on, in lists of `size`."""
        with_gold = (one for one in read_questions(self.path) if one.gold)
        questions = islice(with_gold, start, None)
        while batch := list(islice(questions, size)):
            yield self._asked(batch)

    def some_have_answers(self) -> bool:
        """Whether there are answers in some of the rows."""
        return self._has_answers

    def _asked(self, questions: Sequence[Question]) -> list[Asked]:
        named = [(*one.gold, *self._gold.get(_key(one), ())) for one in questions]
        rows = self.passages.rows_of({id_ for ids in named for id_ in ids})
        by_id = dict(zip(rows, self.passages.at(list(rows.values())), strict=True))
        return [
            Asked(
                one.question,
                one.answers,
                tuple(by_id[id_] for id_ in one.gold if id_ in by_id),
                frozenset(ids),
                frozenset(by_id[id_].text for id_ in ids if id_ in by_id),
                (),
                {
                    "id": one.id,
                    "question": one.question,
                    "answers": one.answers,
                    **({"dataset": one.dataset} if one.dataset else {}),
                    **({"tags": one.tags} if one.tags else {}),
                    "positive_ctxs": [context_of(by_id[id_]) for id_ in one.gold if id_ in by_id],
                    "negative_ctxs": [],
                },
            )
            for one, ids in zip(questions, named, strict=True)
        ]


def _key(question: Question) -> int:
    return text_key(same_question(question.question))


# --- written --------------------------------------------------------------------------------------


def line_of(
    asked: Asked,
    mined: Sequence[Candidate],
    relabelled: Sequence[Candidate],
    merge: bool,
    is_positive: Callable[[Passage], bool],
) -> tuple[bytes, int, int]:
    """A row of train.jsonl, how many of its hard negatives were there, and how many are left out.

    What is mined stands behind those, each of which is written once, and no positive of the
    question; relabelled ones stand behind the positives. Other fields are written as they were
    read.
    """
    fields = dict(asked.fields)
    contexts = _list(fields.get("hard_negative_ctxs")) if merge else []
    known = list(zip(asked.negatives, contexts, strict=True)) if merge else []
    free = [(negative, context) for negative, context in known if not is_positive(negative)]
    there = _once(free)
    fields["hard_negative_ctxs"] = [*there, *map(context_of, mined)]
    if relabelled:
        fields["positive_ctxs"] = [*_list(fields["positive_ctxs"]), *map(context_of, relabelled)]
    line = msgspec.json.encode(fields)
    if b"\n" in line or b"\r" in line:  # of a file whose rows run over several lines
        line = msgspec.json.format(line, indent=-1)
    return line + b"\n", len(there), len(known) - len(free)


def _once(negatives: Iterable[tuple[Candidate, Any]]) -> list[Any]:
    """Hard negatives as they were read, without those that are there before."""
    ids: set[str] = set()
    texts = TextSet()
    kept = []
    for negative, context in negatives:
        if texts.add(negative.text) and negative.id not in ids:
            kept.append(context)
        ids.add(negative.id)
    return kept


def _list(contexts: Any) -> list[Any]:
    if isinstance(contexts, msgspec.Raw):
        return msgspec.json.decode(contexts, type=list[msgspec.Raw])
    return contexts or []
