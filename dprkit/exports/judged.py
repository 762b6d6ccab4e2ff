"""The questions of each split, and what is judged for them.

Memory is 8 bytes a question of a split that has judgements, and 20 bytes a question of BEIR's
queries, whose ids must differ.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from dprkit.data.ids import text_key
from dprkit.data.qrels import judgements
from dprkit.data.questions import read_questions
from dprkit.data.seen import NEW, OTHER, Seen
from dprkit.data.streams import open_stream
from dprkit.errors import InputError
from dprkit.exports.sources import DataFiles
from dprkit.exports.tables import Kind, Row
from dprkit.records import Question

BATCH = 4096
"""Questions whose ids are looked up together."""


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
    """The questions of all splits; one that is in several splits comes once.

    Raises InputError where two of them have one id, or one is in a file twice.
    """
    seen = Seen()
    for split in splits_of(files):
        path, own = files.questions.get(split) or files.examples[split], Seen()
        left = questions_of(files, split)
        while batch := list(islice(left, BATCH)):
            ids = [question.id for question in batch]
            contents = [f"{question.id}\n{question.question}" for question in batch]
            among_own, among_all = own.add(ids, contents), seen.add(ids, contents)
            for question, in_file, state in zip(batch, among_own, among_all, strict=True):
                if in_file != NEW or state == OTHER:
                    raise InputError(
                        f"{path}: another question has the id {question.id!r} too; ids must differ"
                    )
                if state == NEW:
                    yield question


def judged_of(files: DataFiles, split: str) -> Iterator[Judged]:
    """The judgements for the questions of a split: those of the qrels, or the gold passages."""
    path = files.judged(split)
    if path is None:
        for question in questions_of(files, split):
            yield from (Judged(question.id, id_, 1) for id_ in question.gold)
        return
    keys = array("Q", sorted(text_key(q.id) for q in questions_of(files, split)))
    for question_id, passage_id, grade, _ in judgements(open_stream(path)):
        if _holds(keys, text_key(question_id)):
            yield Judged(question_id, passage_id, grade)


def _holds(ordered: array[int], key: int) -> bool:
    at = bisect_left(ordered, key)
    return at < len(ordered) and ordered[at] == key
