"""Foreign files <-> records: the one place that knows the field's spellings.

    examples    DPR's bi-encoder files (array or jsonl): question, answers, positive_ctxs,
                negative_ctxs, hard_negative_ctxs; a passage's id is passage_id (NQ) or psg_id
    passages    DPR's psgs_w100.tsv (id, text, title, the text in csv quotes), jsonl, BEIR's
                corpus.jsonl (_id)
    questions   DPR's qa.csv (tab-separated, answers as a Python list), jsonl, BEIR's
                queries.jsonl (_id, text), KILT (input, output), DPR examples, plain lines
    results     results.jsonl, DPR's JSON array (scores as strings, ids with "wiki:")

Every reader is a generator of records; memory is one record. What a file breaks is a FormatError
with its path and line (or byte, in an array).
"""

from __future__ import annotations

import ast
import csv
import hashlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

import jsonlines
import msgspec

from dprkit.data.streams import (
    Row,
    Source,
    decode,
    open_source,
    read_all_lines,
    read_json_rows,
    read_lines,
    read_text_lines,
)
from dprkit.errors import FormatError
from dprkit.records import Example, Hit, Passage, Question, Ranking, same_question

DPR_WIKI_PREFIX = "wiki:"
TEXT_BITS = 40
"""Of the first of `example_keys`, those that stand for the text; the others are the title's."""
T = TypeVar("T")


class _Context(msgspec.Struct, frozen=True):
    """A passage as DPR's files spell it."""

    text: str
    title: str | None = None
    passage_id: str | int | None = None
    psg_id: str | int | None = None
    id: str | int | None = None
    score: float | str | None = None


class _ForeignExample(msgspec.Struct, frozen=True):
    question: str
    positive_ctxs: list[_Context]
    hard_negative_ctxs: list[_Context] = []
    negative_ctxs: list[_Context] = []
    answers: list[str] = []


class _ForeignPassage(msgspec.Struct, frozen=True):
    """A line of a passages jsonl or of BEIR's corpus.jsonl."""

    text: str
    title: str | None = None
    id: str | int | None = None
    _id: str | int | None = None


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
    positive_ctxs: list[_Context] = []


class _ForeignHit(msgspec.Struct, frozen=True):
    id: str | int
    score: float | str | None = None
    title: str | None = None
    text: str | None = None
    has_answer: bool | None = None


class _ForeignRanking(msgspec.Struct, frozen=True):
    question: str
    ctxs: list[_ForeignHit]
    answers: list[str] = []
    id: str | int | None = None
    gold: list[str | int] = []


_LOOKS = {
    "positive_ctxs": "a training example (select-data --passages-out makes a corpus of them)",
    "ctxs": "a ranking, as search writes it",
    "question": "a question",
    "text": "a passage",
}


def decoder(kind: type[T]) -> Callable[[Row, Path | str], T]:
    """A function that decodes a JSON row into `kind`, or raises a FormatError with its place."""
    decode_row = msgspec.json.Decoder(kind).decode

    def checked(row: Row, path: Path | str) -> T:
        try:
            return decode_row(row.raw)
        except UnicodeDecodeError:
            decode(row.raw, path, row.where)
            raise
        except msgspec.ValidationError as error:
            raise FormatError(path, row.where, _plain(error) + _hint(error, row, kind)) from None
        except msgspec.DecodeError as error:
            decode(row.raw, path, row.where)  # a byte that is no UTF-8 explains more
            raise FormatError(path, row.where, f"not JSON: {error}") from None

    return checked


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's message in a user's words: `$.positive_ctxs[0].text: expected str, got int`."""
    text = str(error).replace("`", "")
    problem, _, place = text.partition(" - at ")
    problem = problem.replace("Object missing required field", "lacks the field")
    return f"{place + ': ' if place else ''}{problem[0].lower()}{problem[1:]}"


def _hint(error: msgspec.ValidationError, row: Row, kind: type[Any]) -> str:
    """What the row seems to be, where it is not of the `kind` that was wanted."""
    if "missing required field" not in str(error) or " - at " in str(error):
        return ""
    there = msgspec.json.decode(row.raw, type=dict[str, msgspec.Raw])
    wanted, key = (next((k for k in _LOOKS if k in names), "") for names in (dir(kind), there))
    return f"; it looks like {_LOOKS[key]}" if key and key != wanted else ""


def content_id(title: str, text: str) -> str:
    """The id of a passage whose file gives it none: a hash of its title and text."""
    return hashlib.blake2b(f"{title}\n{text}".encode(), digest_size=8).hexdigest()


def _first_id(*candidates: str | int | None) -> str | None:
    return next((str(found) for found in candidates if found is not None), None)


# --- examples -------------------------------------------------------------------------------------


def read_examples(path: Path | str) -> Iterator[Example]:
    """The training examples of a DPR file, a JSON array or jsonl, in the file's order."""
    for row in read_json_rows(open_source(path)):
        yield parse_example(row, path)


_decode_example = decoder(_ForeignExample)


def parse_example(row: Row, path: Path | str) -> Example:
    """The example that a row of a DPR file holds."""
    foreign = _decode_example(row, path)
    return Example(
        foreign.question,
        tuple(foreign.answers),
        tuple(map(_passage, foreign.positive_ctxs)),
        tuple(map(_passage, foreign.hard_negative_ctxs)),
        tuple(map(_passage, foreign.negative_ctxs)),
        _scores(foreign.hard_negative_ctxs, row, path),
    )


def example_keys(row: Row, path: Path | str) -> tuple[int, int]:
    """Numbers of 64 bits that stand for the row's first positive and for its question.

    The positive's upper 24 bits stand for its title, the others for its text; 0 says that no
    positive has a text. The row is checked as `parse_example` checks it, at half the cost.
    """
    foreign = _decode_example(row, path)
    _scores(foreign.hard_negative_ctxs, row, path)
    question = text_key(same_question(foreign.question))
    first = next((context for context in foreign.positive_ctxs if context.text.strip()), None)
    if first is None:
        return 0, question
    title, text = text_key((first.title or "").strip()), text_key(first.text.strip())
    return title >> TEXT_BITS << TEXT_BITS | text & (1 << TEXT_BITS) - 1 or 1, question


def text_key(text: str) -> int:
    """A number from 0 to 2^64 - 1 that stands for `text`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _scores(contexts: list[_Context], row: Row, path: Path | str) -> tuple[float, ...]:
    """The scores of passages, 0 where one lacks; () where all do."""
    if all(context.score is None for context in contexts):
        return ()
    try:
        scores = tuple(float(context.score or 0) for context in contexts)
    except ValueError as error:
        raise FormatError(path, row.where, f"a score is no number: {error}") from None
    if not all(map(math.isfinite, scores)):
        raise FormatError(path, row.where, "the score of a hard negative is not finite")
    return scores


def _passage(context: _Context) -> Passage:
    title = context.title or ""
    found = _first_id(context.passage_id, context.psg_id, context.id)
    return Passage(found or content_id(title, context.text), context.text, title)


# --- passages -------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a row lies in the unpacked file: its first byte, its bytes, its line."""

    start: int
    length: int
    line: int


def read_passages(path: Path | str) -> Iterator[Passage]:
    """The passages of a DPR tsv, a jsonl or a BEIR corpus, in the file's order.

    Titles may be missing. Ids may occur twice: data/passage_file.py looks for that.
    """
    return (passage for _, passage in placed_passages(open_source(path)))


def placed_passages(
    source: Source, columns: Sequence[str] | None = None
) -> Iterator[tuple[Place, Passage]]:
    """The passages of `source` with their places.

    `columns` are those of a tsv that is read from any row on; without them the first row may be
    a header.
    """
    if source.first == b"{":
        return _json_passages(source)
    return _tsv_passages(source, columns)


def passage_columns(source: Source) -> Sequence[str] | None:
    """The columns of a passages file, by its first row; None: it is no tsv."""
    if source.first == b"{":
        return None
    _, cells = next(_tsv_rows(source))
    return cells if _is_header(cells) else _COLUMNS


_decode_passage = decoder(_ForeignPassage)


def _json_passages(source: Source) -> Iterator[tuple[Place, Passage]]:
    for row in read_lines(source):
        foreign = _decode_passage(row, source.path)
        found = _first_id(foreign.id, foreign._id)
        if not found:
            raise FormatError(source.path, row.where, "lacks the field id (or _id, as BEIR has it)")
        place = Place(row.start, len(row.raw), cast(int, row.where))
        yield place, Passage(found, foreign.text, foreign.title or "")


_COLUMNS = ("id", "text", "title")


def _is_header(cells: list[str]) -> bool:
    """A header may give the columns in another order, or leave out the title."""
    return {"id", "text"} <= set(cells) <= set(_COLUMNS)


def _tsv_passages(source: Source, columns: Sequence[str] | None) -> Iterator[tuple[Place, Passage]]:
    for place, cells in _tsv_rows(source):
        if columns is None:
            columns = cells if _is_header(cells) else _COLUMNS
            if columns is cells:
                continue
        if len(cells) != len(columns):
            wanted = f"{len(columns)} ({', '.join(columns)})"
            problem = f"{len(cells)} tab-separated columns where there should be {wanted}"
            raise FormatError(source.path, place.line, problem)
        passage = Passage(**dict(zip(columns, cells, strict=True)))
        if not passage.id:
            raise FormatError(source.path, place.line, "the id is empty")
        yield place, passage


def _tsv_rows(source: Source) -> Iterator[tuple[Place, list[str]]]:
    """csv's rows with their places: a quoted cell may span lines."""
    csv.field_size_limit(sys.maxsize)
    pulled: list[Row] = []  # the lines that the row at hand is made of

    def pull() -> Iterator[str]:
        for row in read_all_lines(source):
            line = decode(row.raw, source.path, row.where)
            if pulled or line.strip():  # between rows, blank lines are passed over
                pulled.append(row)
                yield line + "\n"

    rows = csv.reader(pull(), delimiter="\t", strict=True)
    while True:
        pulled.clear()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise FormatError(source.path, pulled[0].where, f"broken quotes: {error}") from None
        if cells is None:
            return
        start, end = pulled[0].start, pulled[-1].start + len(pulled[-1].raw)
        yield Place(start, end - start, cast(int, pulled[0].where)), cells


PASSAGES_HEADER = b"id\ttext\ttitle\n"


def passage_line(passage: Passage) -> bytes:
    """A passage as a row of DPR's tsv: the text always in csv quotes, the rest where needed."""
    id_, title = _cell(passage.id), _cell(passage.title)
    return f"{id_}\t{_quoted(passage.text)}\t{title}\n".encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _cell(text: str) -> str:
    return _quoted(text) if any(sign in text for sign in '\t\n\r"') else text


# --- questions ------------------------------------------------------------------------------------


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
        found = _first_id(foreign.id, foreign._id)
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
    return (_passage(foreign.positive_ctxs[0]).id,)


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
        file.write(f"{_cell(text)}\t{_cell(str(list(question.answers)))}\n".encode())
        return
    gold = {"passage_ids": question.gold} if question.gold else {}
    json_lines(file).write(_named(question) | gold)


def _named(question: Question) -> dict[str, Any]:
    return {"id": question.id, "question": question.question, "answers": question.answers}


def json_lines(file: BinaryIO) -> jsonlines.Writer:
    """A writer of one JSON object a line."""
    return jsonlines.Writer(file, dumps=msgspec.json.encode)


# --- rankings -------------------------------------------------------------------------------------


def read_results(path: Path | str) -> Iterator[Ranking]:
    """The rankings of a results.jsonl, or of DPR's JSON array, in the file's order."""
    source = open_source(path)
    decode_ranking = decoder(_ForeignRanking)
    for number, row in enumerate(read_json_rows(source)):
        foreign = decode_ranking(row, path)
        question = Question(
            _first_id(foreign.id) or str(number),
            foreign.question,
            tuple(foreign.answers),
            tuple(str(one).removeprefix(DPR_WIKI_PREFIX) for one in foreign.gold),
        )
        try:
            yield Ranking(question, tuple(map(_hit, foreign.ctxs)))
        except ValueError as error:
            raise FormatError(path, row.where, f"a score is no number: {error}") from None


def _hit(foreign: _ForeignHit) -> Hit:
    """DPR writes scores as strings and puts a prefix before the ids of Wikipedia passages."""
    return Hit(
        str(foreign.id).removeprefix(DPR_WIKI_PREFIX),
        float(foreign.score) if foreign.score is not None else 0.0,
        foreign.title or "",
        foreign.text or "",
        foreign.has_answer,
    )


def write_ranking(ranking: Ranking, file: BinaryIO) -> None:
    """Write a ranking as a line of results.jsonl."""
    ctxs = [
        {"id": h.id, "title": h.title, "text": h.text, "score": h.score}
        | ({} if h.has_answer is None else {"has_answer": h.has_answer})
        for h in ranking.hits
    ]
    question = ranking.question
    gold = {"gold": question.gold} if question.gold else {}
    json_lines(file).write(_named(question) | gold | {"ctxs": ctxs})
