"""Passages: DPR's psgs_w100.tsv (the text in csv quotes), MS MARCO's collection.tsv (without), csv
with a header, jsonl, BEIR's corpus.jsonl, a JSON array.

Every reader is a generator of records; memory is one record. What a file breaks is a FormatError
with its path and line (or byte, in an array).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from dprkit.data.csv_tables import (
    DELIMITERS,
    Form,
    Table,
    first_row,
    header_names,
    is_id,
    place_of,
    split,
)
from dprkit.data.json_decoding import decoder, first_id
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import Place, Stream, open_stream
from dprkit.errors import FormatError
from dprkit.records import Passage


class _ForeignPassage(msgspec.Struct, frozen=True):
    """A line of a passages jsonl or of BEIR's corpus.jsonl."""

    text: str
    title: str | None = None
    id: str | int | None = None
    _id: str | int | None = None


def read_passages(path: Path | str) -> Iterator[Passage]:
    """The passages of a DPR tsv, a jsonl or a BEIR corpus, in the file's order.

    Titles may be missing. Ids may occur twice: data/passage_file.py looks for that.
    """
    return (passage for _, passage in placed_passages(open_stream(path)))


def placed_passages(stream: Stream, form: Form | None = None) -> Iterator[tuple[Place, Passage]]:
    """The passages of `stream` with their places.

    `form`: that of a table that is read from any row on.
    """
    if stream.first in (b"{", b"["):
        return _json_passages(stream)
    return _table_passages(Table(stream, form) if form else _table(stream))


def passage_form(stream: Stream) -> Form | None:
    """How the table in `stream` is written, as far as its first row tells; None: it is JSON."""
    return None if stream.first in (b"{", b"[") else _table(stream).form


# --- JSON -----------------------------------------------------------------------------------------

_decode_passage = decoder(_ForeignPassage)


def _json_passages(stream: Stream) -> Iterator[tuple[Place, Passage]]:
    for row in read_json_rows(stream):
        foreign = _decode_passage(row, stream.path)
        found = first_id(foreign.id, foreign._id)
        if not found:
            raise FormatError(stream.path, row.where, "lacks the field id (or _id, as BEIR has it)")
        yield place_of(row), Passage(found, foreign.text, foreign.title or "")


# --- tables ---------------------------------------------------------------------------------------

_COLUMNS = ("id", "text", "title")
_KNOWN = {
    **dict.fromkeys(("id", "_id", "pid", "docid", "doc_id", "passage_id", "psg_id"), "id"),
    **dict.fromkeys(("text", "passage", "contents", "content"), "text"),
    "title": "title",
}
_OTHERS = {
    **dict.fromkeys(("question", "query", "answers", "answer"), "questions"),
    **dict.fromkeys(("query-id", "corpus-id", "query_id", "corpus_id"), "judgements"),
}


def _table(stream: Stream) -> Table:
    """The table that `stream` is, behind its header if it has one."""
    cells, line, lines = first_row(stream)
    for delimiter in DELIMITERS:
        names = header_names(split(line, delimiter), _KNOWN)
        names = tuple(_KNOWN.get(name, name) for name in names)
        if columns := _header(names, stream.path):
            next(lines)
            quoted = True if delimiter != "\t" or line[:1] == '"' else None
            return Table(stream, Form(columns, "text", delimiter, quoted), lines)
    _refuse_no_columns(cells, line, stream.path)
    return Table(stream, Form(_COLUMNS[: len(cells)], "text"), lines)


def _header(names: tuple[str, ...], path: Path | str) -> tuple[str, ...]:
    """The columns, if `names` are a header: in any order, maybe without a title, maybe with more.

    Raises FormatError for a header of something else.
    """
    if other := next((_OTHERS[name] for name in names if name in _OTHERS), ""):
        raise FormatError(path, 1, f"the header is one of {other}; name the file of the passages")
    if len(names) < 2 or not set(names) & set(_COLUMNS):
        return ()
    for name in _COLUMNS[:2]:
        if names.count(name) != 1:
            many = f"has {names.count(name)} columns {name}" if name in names else f"lacks {name}"
            raise FormatError(
                path, 1, f"the header {many}; it has to name id, text and maybe title"
            )
    return names


def _refuse_no_columns(cells: list[str], line: str, path: Path | str) -> None:
    """Raise FormatError where no header tells the columns and their number does not either."""
    advice = "begin the file with a header such as id<tab>text<tab>title"
    if len(cells) == 2 and not is_id(cells[0]):
        problem = f"two columns, of which the first ({cells[0][:40]!r}) is no id"
        raise FormatError(path, 1, f"{problem}; {advice}")
    if len(cells) not in (2, 3):
        wanted = "where there should be 3 (id, text, title)"
        if comma := next((c for c in ",;" if len(cells) == 1 and c in line), ""):
            advice = f"if it is a csv, begin it with a header such as {comma.join(_COLUMNS)}"
        problem = f"{len(cells)} tab-separated columns {wanted}; {advice}"
        raise FormatError(path, 1, problem)


def _table_passages(table: Table) -> Iterator[tuple[Place, Passage]]:
    path, columns = table.stream.path, table.form.columns
    id_at, text_at = columns.index("id"), columns.index("text")
    title_at = columns.index("title") if "title" in columns else None
    for place, cells in table.rows():
        if not cells[id_at]:
            raise FormatError(path, place.line, "the id is empty")
        title = "" if title_at is None else cells[title_at]
        yield place, Passage(cells[id_at], cells[text_at], title)


PASSAGES_HEADER = b"id\ttext\ttitle\n"


def passage_line(passage: Passage) -> bytes:
    """A passage as a row of DPR's tsv: the text always in csv quotes, the rest where needed."""
    id_, title = cell(passage.id), cell(passage.title)
    return f"{id_}\t{_quoted(passage.text)}\t{title}\n".encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def cell(text: str) -> str:
    return _quoted(text) if any(sign in text for sign in '\t\n\r"') else text
