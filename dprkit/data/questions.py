"""Questions read and written: DPR's qa.csv, jsonl, BEIR's, KILT's, MS MARCO's, csv, plain lines.

DPR's qa.csv is tab-separated and has answers as a Python list. MS MARCO's queries.tsv has an id and
a question. KILT calls them input and output, BEIR _id and text. DPR's examples are questions too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from dprkit.data.csv_tables import (
    Form,
    Table,
    first_line,
    headers,
    is_id,
    refuse_carriage_return,
    split,
)
from dprkit.data.examples import Context, context_id
from dprkit.data.formats import Format, is_any, is_json, read_records
from dprkit.data.ids import first_id
from dprkit.data.json_decoding import decoder, json_lines
from dprkit.data.json_rows import read_json_rows
from dprkit.data.passages import cell
from dprkit.data.streams import Stream, open_stream, read_text_lines
from dprkit.data.written_lists import lacks_comma, written_list
from dprkit.errors import FormatError
from dprkit.records import Question

LACKING = "lacks a question; give it one, or remove it"
ALIKE = 3
"""Lines in a row that are taken for a csv where they have as many cells."""


class _ForeignQuestion(msgspec.Struct, frozen=True):
    """A line of any questions jsonl; which keys are there tells whose it is."""

    question: str | None = None
    query: str | None = None
    text: str | None = None
    input: str | None = None
    answers: list[str] | str | None = None
    answer: list[str] | str | None = None
    output: list[dict[str, Any]] = []
    id: str | int | None = None
    _id: str | int | None = None
    qid: str | int | None = None
    question_id: str | int | None = None
    query_id: str | int | None = None
    passage_id: str | int | None = None
    passage_ids: list[str | int] = []
    positive_ctxs: list[Context] = []
    dataset: str | None = None
    tags: list[str] | str | None = None
    pages: list[list[str | int]] = []


def read_questions(path: Path | str) -> Iterator[Question]:
    """The questions of any file the field uses (see the top of this module).

    A question without an id of its own gets its number, counted from 0.
    """
    question = None
    for question in read_records(open_stream(path), FORMATS):
        yield question
    if question is None:
        raise FormatError(path, 1, "holds no question; name the file of the questions")


_decode_question = decoder(_ForeignQuestion)


def _json_questions(stream: Stream) -> Iterator[Question]:
    for number, row in enumerate(read_json_rows(stream)):
        foreign = _decode_question(row, stream.path)
        texts = foreign.question, foreign.query, foreign.input, foreign.text
        text = next((text for text in texts if text), None)
        if not (text and text.strip()):
            raise FormatError(stream.path, row.where, LACKING)
        id_ = first_id(foreign.id, foreign._id, foreign.qid, foreign.question_id, foreign.query_id)
        yield Question(
            id_ or str(number),
            text,
            _answers(foreign),
            _gold(foreign),
            foreign.dataset or "",
            tags_of(foreign.tags),
            _pages(foreign),
        )


def tags_of(tags: Sequence[str] | str | None) -> tuple[str, ...]:
    """The tags of a question, each once, which files have as a list or as one text."""
    return (tags,) if isinstance(tags, str) else tuple(dict.fromkeys(tags or ()))


def _answers(foreign: _ForeignQuestion) -> tuple[str, ...]:
    said = foreign.answer if foreign.answers is None else foreign.answers
    if said is not None:
        return (said,) if isinstance(said, str) else tuple(said)
    answers = (output.get("answer") for output in foreign.output)
    return tuple(answer for answer in answers if isinstance(answer, str))


def _gold(foreign: _ForeignQuestion) -> tuple[str, ...]:
    """The passages named as gold; of DPR's positives that is the first one."""
    named = [foreign.passage_id] if foreign.passage_id is not None else foreign.passage_ids
    if named or not foreign.positive_ctxs:
        return tuple(map(str, named))
    return (context_id(foreign.positive_ctxs[0]),)


def _pages(foreign: _ForeignQuestion) -> tuple[tuple[str, ...], ...]:
    """The sets of pages, or those of each of KILT's outputs that names some."""
    if foreign.pages:
        return tuple(tuple(map(str, pages)) for pages in foreign.pages)
    found = [
        tuple(str(page["wikipedia_id"]).strip() for page in provenance if "wikipedia_id" in page)
        for output in foreign.output
        if isinstance(provenance := output.get("provenance"), list)
    ]
    return tuple(filter(None, found))


# --- tables ---------------------------------------------------------------------------------------

_NAMES = {
    "question": ("question", "query", "input", "text"),
    "answers": ("answers", "answer"),
    "id": ("id", "_id", "qid", "question_id", "query_id"),
    "gold": ("passage_ids", "passage_id"),
}
"""What a column is called in a header; the first of a kind that is there counts."""
_KNOWN = {name for names in _NAMES.values() for name in names}


def _form(stream: Stream) -> Form | None:
    """How the table that `stream` is was written; None: it is no table."""
    for names, form in headers(stream, _KNOWN):
        kinds = [kind for kind in _NAMES if _column(names, kind) is not None]
        at = _column(names, "question")
        if at is not None and (names[at] in ("question", "query") or len(kinds) > 1):
            if twice := next((n for n in names if n in _KNOWN and names.count(n) > 1), ""):
                problem = f"the header names {twice} {names.count(twice)} times"
                raise FormatError(stream.path, 1, problem)
            return form._replace(text=names[at])
    id_, *rest = split(first_line(stream), "\t")
    if len(rest) != 1 or not is_id(id_) or not re.search(r"\d", id_):
        return None
    is_question = rest[0].lstrip()[:1] not in (
        "",
        "[",
        "(",
    )  # [ or ( begins a list of answers: DPR's qa.csv
    return Form(("id", "question"), "question") if is_question else None


def _column(names: Sequence[str], kind: str) -> int | None:
    """Where the column of a kind is."""
    return next((names.index(name) for name in _NAMES[kind] if name in names), None)


def _table_questions(stream: Stream) -> Iterator[Question]:
    table = Table(stream, cast(Form, _form(stream)))
    path, names = stream.path, table.form.columns
    columns = [_column(names, kind) for kind in ("question", "answers", "id", "gold")]
    for number, (place, cells) in enumerate(table.rows()):
        question, answers, id_, gold = ("" if at is None else cells[at] for at in columns)
        if not question.strip():
            raise FormatError(path, place.line, LACKING)
        yield Question(
            id_ or str(number),
            question,
            _listed(answers, path, place.line),
            _listed(gold, path, place.line),
        )


_LISTS = ("[", "(", "{", "array(")
"""How the lists of Python and of other libraries begin; only those of texts are read."""


def _listed(text: str, path: Path | str, line: int) -> tuple[str, ...]:
    """What a cell lists: a Python list of texts, or one text, or nothing."""
    if text.startswith(_LISTS):
        return _literal(text, path, line)
    return (text,) if text.strip() else ()


# --- lines ----------------------------------------------------------------------------------------

_CSV_ROW = re.compile(
    r'"(?:[^"]|"")*"[,;]\S'  # a quoted cell and another one
    r'|.*\?"?(?:[,;]\S|,$)'  # a question mark right before a delimiter
    r'|.*\S,"(?:[^"]|"")*"$'  # a quoted cell at the end
)


_TREC = re.compile(r"\S+\s+(?:Q0|0)\s+\S+\s+-?\d+(?:\s+\S+\s+\S+)?\s*$")


def _line_questions(stream: Stream) -> Iterator[Question]:
    """Plain lines, or DPR's qa.csv: question, tab, Python list of answers."""
    path = stream.path
    lines = ((number, line) for number, line in read_text_lines(stream) if line.strip())
    alike: list[int] = []  # cells of the first lines, if they were comma-separated
    for index, (number, line) in enumerate(lines):
        cells = _cells(line, path, number) if "\t" in line else [_plain(line, path, number)]
        if len(cells) > 2:
            problem = (
                f"{len(cells)} tab-separated columns; a question and its answers are two; "
                "more need a header such as id<tab>question<tab>answers"
            )
            raise FormatError(path, number, problem)
        if not cells[0].strip():
            raise FormatError(path, number, LACKING)
        answers = _literal(cells[1], path, number) if len(cells) == 2 else ()
        if index < ALIKE:
            alike.append(1 if "\t" in line else _comma_cells(line))
        if len(alike) == ALIKE and alike[0] > 1 and len(set(alike)) == 1:
            raise _comma_separated(path, number)
        yield Question(str(index), cells[0], answers)


def _plain(line: str, path: Path | str, number: int) -> str:
    """A line that is a question as a whole."""
    refuse_carriage_return(line, path, number)
    if "\0" in line:
        raise FormatError(path, number, "a byte 0; name a file of text")
    if _TREC.match(line):
        problem = "a line of a TREC run or of judgements; name the file of the questions"
        raise FormatError(path, number, problem)
    if _CSV_ROW.match(line):
        raise _comma_separated(path, number)
    return line.strip()


def _comma_cells(line: str) -> int:
    """How many cells a line has if it is comma-separated: no space behind a comma."""
    for delimiter in ",;":
        cells = split(line, delimiter)
        if len(cells) > 1 and not any(cell[:1].isspace() or not cell for cell in cells[1:]):
            return len(cells)
    return 1


def _comma_separated(path: Path | str, number: int) -> FormatError:
    problem = "a row of a csv, not a question; begin the file with a header such as question,answer"
    return FormatError(path, number, problem)


def _cells(line: str, path: Path | str, number: int) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as error:
        raise FormatError(path, number, f"broken quotes: {error}") from None


def _literal(text: str, path: Path | str, number: int) -> tuple[str, ...]:
    """The strings of a Python list. Raises FormatError for what is none."""
    texts = None if lacks_comma(text) else written_list(text)
    if texts is None:
        problem = f"the answers are no Python list of strings: {text[:40]}"
        raise FormatError(path, number, problem)
    return texts


FORMATS = (
    Format("jsonl, BEIR's queries.jsonl, KILT, DPR's examples", is_json, _json_questions),
    Format("csv or tsv with a header, MS MARCO's queries.tsv", _form, _table_questions),
    Format("DPR's qa.csv, plain lines", is_any, _line_questions),
)


# --- written --------------------------------------------------------------------------------------


def write_question(question: Question, path: Path | str, file: BinaryIO) -> None:
    """Write a question: in DPR's tab-separated form for a `path` in .csv or .tsv, else as jsonl."""
    plain = str(path).removesuffix(".gz").removesuffix(".zst")
    if plain.endswith((".csv", ".tsv")):
        text = question.question.replace("\n", " ")  # a question is a line: see _line_questions
        file.write(f"{cell(text)}\t{cell(str(list(question.answers)))}\n".encode())
        return
    found = {"passage_ids": question.gold, "pages": question.pages}
    found_there = {name: value for name, value in found.items() if value}
    json_lines(file).write(named(question) | found_there)


def named(question: Question) -> dict[str, Any]:
    """A question as a JSON row, with `dataset` and `tags` where they are set."""
    row = {"id": question.id, "question": question.question, "answers": question.answers}
    more = {"dataset": question.dataset, "tags": question.tags}
    return row | {name: value for name, value in more.items() if value}
