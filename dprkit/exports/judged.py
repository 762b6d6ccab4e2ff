"""The questions of each split, and what is judged for them.

Memory is 8 bytes a question, where a file of judgements has to be parted into splits.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from dprkit.data.ids import text_key
from dprkit.data.qrels import judgements
from dprkit.data.questions import read_questions
from dprkit.data.streams import open_stream
from dprkit.errors import InputError
from dprkit.exports.sources import DataFiles
from dprkit.exports.tables import Kind, Row
from dprkit.records import Question


class Judged(NamedTuple):
    """The grade of a passage for a question."""

    question_id: str
    passage_id: str
    grade: int


QRELS: Mapping[str, Kind] = {"query-id": "text", "corpus-id": "text", "score": "number"}


def judged_row(judged: Judged, _: Counter[str]) -> Iterable[Row]:
    """The row of a judgement, in the columns QRELS."""
    yield dict(zip(QRELS, judged, strict=True))


def questions_of(files: DataFiles, split: str) -> Iterator[Question]:
    """The questions of a split; where there are only examples, those of the examples.

    Examples have no ids: their questions are numbered, behind the split's name if there are more.
    """
    if files.questions:
        return read_questions(files.questions[split])
    questions = read_questions(files.examples[split])
    if len(files.examples) == 1:
        return questions
    return (replace(question, id=f"{split}-{question.id}") for question in questions)


def splits_of(files: DataFiles) -> list[str]:
    """The splits that have questions."""
    return list(files.questions or files.examples)


def all_questions(files: DataFiles) -> Iterator[Question]:
    """The questions of all splits. Raises InputError where two of them have one id."""
    seen = array("Q")
    for split in splits_of(files):
        keys = array("Q")
        for question in questions_of(files, split):
            keys.append(text_key(question.id))
            yield question
        _refuse_shared_ids(files, split, seen, keys)
        seen = _sorted(seen + keys)


def _refuse_shared_ids(files: DataFiles, split: str, seen: array[int], keys: array[int]) -> None:
    ordered = _sorted(keys)
    twice = {a for a, b in pairwise(ordered) if a == b}
    if not twice and not any(_holds(seen, key) for key in keys):
        return
    for question in questions_of(files, split):
        key = text_key(question.id)
        if key in twice or _holds(seen, key):
            path = files.questions.get(split) or files.examples[split]
            raise InputError(
                f"{path}: another question has the id {question.id!r} too; ids must differ"
            )


def _sorted(keys: array[int]) -> array[int]:
    return array("Q", sorted(keys))


def _holds(ordered: array[int], key: int) -> bool:
    at = bisect_left(ordered, key)
    return at < len(ordered) and ordered[at] == key


def judged_of(files: DataFiles, split: str) -> Iterator[Judged]:
    """The judgements for the questions of a split: those of the qrels, or the gold passages."""
    if files.qrels is None:
        for question in questions_of(files, split):
            yield from (Judged(question.id, id_, 1) for id_ in question.gold)
        return
    keys = _sorted(array("Q", (text_key(q.id) for q in questions_of(files, split))))
    for question_id, passage_id, grade, _ in judgements(open_stream(files.qrels)):
        if _holds(keys, text_key(question_id)):
            yield Judged(question_id, passage_id, grade)
