"""Random access to what a reader is trained on: questions with passages, some with an answer.

The rows are examples (examples_by_row.py) or rankings: results.jsonl, DPR's JSON array. Which they
are, the first row tells.

    positives   of an example those of its positives, of a ranking those of its passages, that hold
                an answer, by whole tokens (answer_matching.py)
    gold        positives that the file names: an example's first, and a ranking's passages whose id
                is in `gold`; where no such passage holds an answer, those with the title of one, as
                DPR takes them
    negatives   of an example its hard negatives and then its negatives, of a ranking its passages,
                that hold no answer: none is found, and `has_answer` is not true
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.data.answer_matching import answer_flags, has_token
from dprkit.data.examples import parse_example
from dprkit.data.examples_by_row import EXAMPLES
from dprkit.data.folds import Fold
from dprkit.data.ids import text_key
from dprkit.data.json_rows import head, read_json_rows
from dprkit.data.rankings import Rows, results_file
from dprkit.data.row_index import IndexedFile, RowKind
from dprkit.data.streams import Place, RawRow, Stream, open_stream
from dprkit.errors import FormatError
from dprkit.progress import Note, silent
from dprkit.records import Example, Passage, Ranking, same_question

if TYPE_CHECKING:
    import numpy as np


class ReaderRow(msgspec.Struct, frozen=True):
    """A question with its passages, as a reader is trained on it and as it is asked it."""

    question: str
    answers: tuple[str, ...]
    positives: tuple[Passage, ...]
    """The gold ones first."""
    gold: int
    """How many of the positives are gold."""
    negatives: tuple[Passage, ...]
    passages: tuple[Passage, ...]
    """All that have a text: a ranking's as they are ranked, an example's positives first."""
    holding: tuple[bool, ...]
    """Of each of the passages: whether it holds an answer."""


class ReaderFile(Sequence[ReaderRow]):
    """The rows of a file of examples or rankings, numbered from 0.

    Rows of a fold that is left out are as if not there. Memory is 36 bytes a row.
    """

    def __init__(
        self, path: Path | str, note: Note = silent, leave_out: Fold | None = None
    ) -> None:
        """`path`: a file, or a results artifact.

        Raises what IndexedFile raises, and FormatError for a file of something else and for a
        passage without text.
        """
        import numpy as np

        self.path = results_file(path)
        self._ranks = _holds_rankings(open_stream(self.path))
        self._file = IndexedFile(self.path, RANKINGS if self._ranks else EXAMPLES, note)
        self._file.table = table = self._file.table[:]
        self.sha256 = self._file.sha256
        keys = table["key" if self._ranks else "question"]
        kept = ~leave_out.holds(keys) if leave_out else np.ones(len(keys), bool)
        self.leave_out, self.left_out = leave_out, int(np.count_nonzero(~kept))
        """The fold that is left out, and how many rows are of it."""
        self._rows = np.flatnonzero(kept).astype(np.uint32)
        self.questions: np.ndarray = keys[self._rows]
        """(N,) uint64: equal where the questions are (records.same_question)."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> ReaderRow:  # type: ignore[override]
        row = self._file.row(int(self._rows[index]))
        if self._ranks:
            return _of_ranking(*_ranking(row, self.path), self.path)
        return _of_example(parse_example(row, self.path), row.where, self.path)

    def where(self, index: int) -> str:
        """The place of a row for a message: `train.jsonl:17`, `train.json:byte 1024`."""
        return f"{Path(self.path).name}:{self._file.place(int(self._rows[index])).where}"


_KEYS = re.compile(rb'"(positive_ctxs|ctxs)"\s*:')


def _holds_rankings(stream: Stream) -> bool:
    """Whether the first row is a ranking. Raises FormatError where it is no example either."""
    first = _KEYS.search(head(stream)) or _KEYS.search(
        next((row.raw for row in read_json_rows(stream)), b"")
    )
    if first is None:
        raise FormatError(
            stream.path,
            1,
            "neither a training example (positive_ctxs) nor a ranking (ctxs); convert-results "
            "rewrites other forms of rankings",
        )
    return first[1] == b"ctxs"


# --- rows -----------------------------------------------------------------------------------------


def _ranking(row: RawRow, path: Path | str) -> tuple[Ranking, int | str]:
    """A ranking, checked, and its place."""
    (placed,) = Rows(path, 0, [row]).rankings()
    return placed


def _of_ranking(ranking: Ranking, where: int | str, path: Path | str) -> ReaderRow:
    question, hits = ranking.question, ranking.hits
    answers = _answers(question.answers, where, path)
    passages = tuple(Passage(hit.id, hit.text, hit.title) for hit in hits)
    found = _holding(answers, passages)
    holding = [flag or bool(hit.has_answer) for flag, hit in zip(found, hits, strict=True)]
    gold = _gold_of(question.gold, passages, found)
    others = [p for p, here in zip(passages, found, strict=True) if here and p not in gold]
    return ReaderRow(
        question.question,
        answers,
        (*gold, *others),
        len(gold),
        tuple(p for p, here in zip(passages, holding, strict=True) if not here),
        passages,
        tuple(holding),
    )


def _gold_of(
    ids: Sequence[str], passages: Sequence[Passage], found: Sequence[bool]
) -> list[Passage]:
    """The passages that hold an answer and are gold, or are of the page of one that is."""
    answering = [passage for passage, here in zip(passages, found, strict=True) if here]
    if gold := [passage for passage in answering if passage.id in ids]:
        return gold
    titles = {_page(passage) for passage in passages if passage.id in ids} - {""}
    return [passage for passage in answering if _page(passage) in titles]


def _page(passage: Passage) -> str:
    return passage.title.strip().casefold()


def _of_example(example: Example, where: int | str, path: Path | str) -> ReaderRow:
    answers = _answers(example.answers, where, path)
    given, rest = map(
        _with_text, (example.positives, (*example.hard_negatives, *example.negatives))
    )
    found = _holding(answers, [*given, *rest])
    positives = tuple(p for p, here in zip(given, found, strict=False) if here)
    negatives = tuple(p for p, here in zip(rest, found[len(given) :], strict=True) if not here)
    gold = int(bool(found and given and found[0]))
    passages = (*given, *rest)
    return ReaderRow(example.question, answers, positives, gold, negatives, passages, tuple(found))


def _with_text(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    return tuple(passage for passage in passages if passage.text.strip())


def _holding(answers: Sequence[str], passages: Sequence[Passage]) -> list[bool]:
    return answer_flags(answers, [passage.text for passage in passages])


def _answers(answers: Sequence[str], where: int | str, path: Path | str) -> tuple[str, ...]:
    """The answers, each once. Raises FormatError for one that every passage would hold."""
    if empty := [answer for answer in answers if not has_token(answer)]:
        problem = f"the answer {empty[0]!r} has no letter, digit or sign; remove it"
        raise FormatError(path, where, problem)
    return tuple(dict.fromkeys(answers))


# --- the index of a file of rankings --------------------------------------------------------------


def _ranking_rows(stream: Stream) -> Iterator[tuple[Place, int]]:
    """Where each ranking lies, with the key of its question."""
    rows = read_json_rows(stream)
    for row in rows:
        ranking, where = _ranking(row, stream.path)
        for rank, hit in enumerate(ranking.hits, start=1):
            if not hit.text.strip():
                raise FormatError(
                    stream.path,
                    where,
                    f"the passage {hit.id!r} at rank {rank} has no text, and a reader reads texts; "
                    "write the results with them: search leaves them out with --no-texts alone",
                )
        yield row.place, text_key(same_question(ranking.question.question))


RANKINGS = RowKind("rankings with texts", _ranking_rows)
