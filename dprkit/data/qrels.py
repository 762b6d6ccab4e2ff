"""Judgements of passages read: TREC's qrels in four columns, BEIR's tsv in three, and its jsonl.

A line has the ids of a question and of a passage and a grade, by which the passage answers the
question: above 0 it does, and the more so the higher it is. TREC has an iteration, which nothing
uses, between the ids. Columns are parted by tabs or other blanks; a header may name them. In jsonl
they are called query-id, corpus-id and score; NanoBEIR's have no score, which is 1 then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from dprkit.data.formats import is_json
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import Stream, open_stream, read_text_lines
from dprkit.errors import FormatError

Grades = dict[str, dict[str, int]]
"""Question id -> passage id -> grade."""


class Qrels(msgspec.Struct, frozen=True):
    """The judgements of a set of questions, in the order of their file."""

    grades: Grades
    negative: int = 0
    """Judgements with a grade below 0, which counts as not relevant."""

    def relevant(self, question: str) -> tuple[str, ...]:
        """The passages whose grade for the question is above 0."""
        grades = self.grades.get(question, {})
        return tuple(passage for passage, grade in grades.items() if grade > 0)


class _Columns(NamedTuple):
    """Where the three things stand in a line of `width` cells."""

    question: int
    passage: int
    grade: int
    width: int


_NAMES = (
    {"query-id", "query_id", "queryid", "qid", "query", "question_id", "topic", "topic_id"},
    {"corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "docno", "pid", "passage_id"},
    {"score", "grade", "relevance", "rel", "label", "judgement", "judgment"},
)
"""What a header calls the question, the passage and the grade."""
_WITHOUT_HEADER = {3: _Columns(0, 1, 2, 3), 4: _Columns(0, 2, 3, 4)}
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_FORMS = "question, passage, grade (BEIR) or question, 0, passage, grade (TREC)"


def read_qrels(path: Path | str) -> Qrels:
    """The judgements in a file (`-`: stdin), plain or compressed.

    Raises FormatError for a grade that is no whole number, for a passage that is judged twice for
    one question, and for a file of something else.
    """
    grades: Grades = {}
    negative = 0
    for question, passage, grade, line in judgements(open_stream(path)):
        of_question = grades.setdefault(question, {})
        if passage in of_question:
            problem = f"the passage {passage!r} is judged for question {question!r} twice"
            raise FormatError(path, line, f"{problem}; keep one of the lines")
        of_question[passage] = grade
        negative += grade < 0
    if not grades:
        raise FormatError(path, 1, "holds no judgement but a header; name the file of the qrels")
    return Qrels(grades, negative)


PlacedJudgement = tuple[str, str, int, int | str]
"""The ids of a question and of a passage, the grade, and the line for a message."""


def judgements(stream: Stream) -> Iterator[PlacedJudgement]:
    """The judgements of a file in its order. One that is there twice comes twice."""
    return _of_json(stream) if is_json(stream) else _of_lines(stream)


class _ForeignJudgement(
    msgspec.Struct, frozen=True, rename={"question": "query-id", "passage": "corpus-id"}
):
    """A line of judgements in jsonl."""

    question: str | int
    passage: str | int
    score: float = 1.0


_decode_judgement = decoder(_ForeignJudgement)


def _of_json(stream: Stream) -> Iterator[PlacedJudgement]:
    for number, row in enumerate(read_json_rows(stream)):
        if not number and b'"query-id"' not in row.raw:
            problem = f"JSON; judgements are lines of {_FORMS}, or of query-id, corpus-id, score"
            raise FormatError(stream.path, 1, problem)
        judged = _decode_judgement(row, stream.path)
        if judged.score % 1:
            problem = f"the grade {judged.score} is no whole number"
            raise FormatError(stream.path, row.where, problem)
        yield str(judged.question), str(judged.passage), int(judged.score), row.where


def _of_lines(stream: Stream) -> Iterator[PlacedJudgement]:
    columns = None
    for number, line in read_text_lines(stream):
        cells = cells_of(line)
        if columns is None:
            columns = _of_header(cells)
            if columns:
                continue
            columns = _WITHOUT_HEADER.get(len(cells))
        if columns is None or len(cells) != columns.width:
            raise FormatError(stream.path, number, _wrong_width(len(cells), columns))
        question, passage, grade = (cells[at] for at in columns[:3])
        if not (question and passage):
            raise FormatError(stream.path, number, "an id is empty; give it one, or remove it")
        if not _WHOLE.fullmatch(grade):
            raise FormatError(stream.path, number, f"the grade {grade!r} is no whole number")
        yield question, passage, int(grade.partition(".")[0]), number


def cells_of(line: str) -> list[str]:
    """The cells of a line: by tabs, so that ids may hold spaces, or else by any blanks."""
    cells = [cell.strip() for cell in line.split("\t")]
    return cells if len(cells) > 2 else line.split()


def _of_header(cells: Sequence[str]) -> _Columns | None:
    """Where the columns are by the names in the first line; None: it is no header.

    A header names each of them once.
    """
    names = [cell.lower() for cell in cells]
    found = [[at for at, name in enumerate(names) if name in known] for known in _NAMES]
    if any(len(places) != 1 for places in found):
        return None
    (question,), (passage,), (grade,) = found
    return _Columns(question, passage, grade, len(cells))


def _wrong_width(width: int, columns: _Columns | None) -> str:
    if columns is not None:
        return f"{width} columns where the lines before have {columns.width}"
    what = "a TREC run; give it as --results" if width == 6 else f"judgements are {_FORMS}"
    return f"{width} columns: {what}"
