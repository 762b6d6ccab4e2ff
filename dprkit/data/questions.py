"""Questions: DPR's qa.csv (tab-separated, answers as a Python list), jsonl, BEIR's queries.jsonl
(_id, text), KILT (input, output), DPR examples, plain lines.
"""

from __future__ import annotations

import ast
import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dprkit.data.decoding import decoder, first_id, json_lines
from dprkit.data.examples import Context, passage_of
from dprkit.data.json_array import read_json_rows
from dprkit.data.passages import cell
from dprkit.data.streams import Source, open_source, read_text_lines
from dprkit.errors import FormatError
from dprkit.records import Question


class _ForeignQuestion(msgspec.Struct, frozen=True):
    """A line of any questions jsonl; which keys are there tells whose it is."""

    question: str | None = None
    text: str | None = None
    input: str | None = None
    answers: list[str] | None = None
    answer: list[str] | str | None = None
    output: list[dict[str, Any]] = []
    id: str | int | None = None
    _id: str | int | None = None
    passage_id: str | int | None = None
    passage_ids: list[str | int] = []
    positive_ctxs: list[Context] = []


def read_questions(path: Path | str) -> Iterator[Question]:
    """The questions of any file the field uses (see the top of this module).

    A question without an id of its own gets its number, counted from 0.
    """
    source = open_source(path)
    if source.first in (b"[", b"{"):
        return _json_questions(source)
    return _line_questions(source)


_decode_question = decoder(_ForeignQuestion)


def _json_questions(source: Source) -> Iterator[Question]:
    for number, row in enumerate(read_json_rows(source)):
        foreign = _decode_question(row, source.path)
        text = next((t for t in (foreign.question, foreign.input, foreign.text) if t), None)
        if not (text and text.strip()):
            raise FormatError(source.path, row.where, "lacks a question")
        found = first_id(foreign.id, foreign._id)
        yield Question(found or str(number), text, _answers(foreign), _gold(foreign))


def _answers(foreign: _ForeignQuestion) -> tuple[str, ...]:
    if foreign.answers is not None:
        return tuple(foreign.answers)
    if foreign.answer is not None:
        return (foreign.answer,) if isinstance(foreign.answer, str) else tuple(foreign.answer)
    found = (output.get("answer") for output in foreign.output)
    return tuple(answer for answer in found if isinstance(answer, str))


def _gold(foreign: _ForeignQuestion) -> tuple[str, ...]:
    """The passages named as gold; of DPR's positives that is the first one."""
    named = [foreign.passage_id] if foreign.passage_id is not None else foreign.passage_ids
    if named or not foreign.positive_ctxs:
        return tuple(map(str, named))
    return (passage_of(foreign.positive_ctxs[0]).id,)


def _line_questions(source: Source) -> Iterator[Question]:
    """Plain lines, or DPR's qa.csv: question, tab, Python list of answers."""
    for index, (number, line) in enumerate(read_text_lines(source)):
        cells = _cells(line, source.path, number) if "\t" in line else [line.strip()]
        if len(cells) > 2:
            problem = f"{len(cells)} tab-separated columns; a question and its answers are two"
            raise FormatError(source.path, number, problem)
        if not cells[0].strip():
            raise FormatError(source.path, number, "lacks a question")
        answers = _literal(cells[1], source.path, number) if len(cells) == 2 else ()
        yield Question(str(index), cells[0], answers)


def _cells(line: str, path: Path | str, number: int) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as error:
        raise FormatError(path, number, f"broken quotes: {error}") from None


def _literal(text: str, path: Path | str, number: int) -> tuple[str, ...]:
    """The strings of a Python list, read as data: nothing in the file is run."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of '\\d', which regular expressions have
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)):
        problem = f"the answers are no Python list of strings: {text[:40]}"
        raise FormatError(path, number, problem)
    return tuple(value)


def write_question(question: Question, path: Path | str, file: BinaryIO) -> None:
    """Write a question: in DPR's tab-separated form for a `path` in .csv or .tsv, else as jsonl."""
    plain = str(path).removesuffix(".gz").removesuffix(".zst")
    if plain.endswith((".csv", ".tsv")):
        text = question.question.replace("\n", " ")  # a question is a line: see _line_questions
        file.write(f"{cell(text)}\t{cell(str(list(question.answers)))}\n".encode())
        return
    gold = {"passage_ids": question.gold} if question.gold else {}
    json_lines(file).write(named(question) | gold)


def named(question: Question) -> dict[str, Any]:
    return {"id": question.id, "question": question.question, "answers": question.answers}
