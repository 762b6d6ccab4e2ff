"""Passages read and written: DPR's and MS MARCO's tsv, csv, jsonl, BEIR's corpus.jsonl.

DPR's psgs_w100.tsv has its texts in csv quotes, MS MARCO's collection.tsv has none (csv_tables.py).
Every reader is a generator of records; memory is one record. A broken row is a FormatError with its
path and line (or byte, in an array).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from dprkit.data.csv_tables import Form, Table, first_cells, first_line, headers, is_id
from dprkit.data.formats import Format, is_any, is_json, read_records
from dprkit.data.ids import first_id
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import Place, Stream, open_stream
from dprkit.errors import FormatError
from dprkit.records import Passage

PlacedPassage = tuple[Place, Passage]


class _ForeignPassage(msgspec.Struct, frozen=True):
    """A line of a passages jsonl or of BEIR's corpus.jsonl."""

    text: str
    title: str | None = None
    id: str | int | None = None
    _id: str | int | None = None


def read_passages(path: Path | str) -> Iterator[Passage]:
    """The passages of a DPR tsv, a jsonl or a BEIR corpus, in the file's order.

    Titles may be missing. Ids may occur twice: data/corpus_by_row.py looks for that.
    """
    return (passage for _, passage in placed_passages(open_stream(path)))


def placed_passages(stream: Stream, form: Form | None = None) -> Iterator[PlacedPassage]:
    """The passages of `stream` with their places.

    `form`: that of a table that is read from any row on.
    """
    return _table_passages(stream, form) if form else read_records(stream, FORMATS)


def passage_form(stream: Stream) -> Form | None:
    """How the table in `stream` is written, as far as its first row tells; None: it is JSON."""
    return None if is_json(stream) else _form(stream)


# --- JSON -----------------------------------------------------------------------------------------

_decode_passage = decoder(_ForeignPassage)


def _json_passages(stream: Stream) -> Iterator[PlacedPassage]:
    for row in read_json_rows(stream):
        foreign = _decode_passage(row, stream.path)
        id_ = first_id(foreign.id, foreign._id)
        if not id_:
            raise FormatError(stream.path, row.where, "lacks the field id (or _id, as BEIR has it)")
        yield row.place, Passage(id_, foreign.text, foreign.title or "")


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


def _form(stream: Stream) -> Form:
    """How the table that `stream` is was written."""
    for names, form in headers(stream, _KNOWN):
        columns = tuple(_KNOWN.get(name, name) for name in names)
        if _is_header(columns, stream.path):
            return form._replace(columns=columns, text="text")
    cells = first_cells(stream)
    _refuse_no_columns(cells, stream)
    return Form(_COLUMNS[: len(cells)], "text")


def _is_header(names: tuple[str, ...], path: Path | str) -> bool:
    """Whether `names` are a header: in any order, maybe without a title, maybe with more.

    Raises FormatError for a header of something else.
    """
    if other := next((_OTHERS[name] for name in names if name in _OTHERS), ""):
        raise FormatError(path, 1, f"the header is one of {other}; name the file of the passages")
    if len(names) < 2 or not set(names) & set(_COLUMNS):
        return False
    for name in _COLUMNS[:2]:
        if names.count(name) != 1:
            many = f"has {names.count(name)} columns {name}" if name in names else f"lacks {name}"
            raise FormatError(
                path, 1, f"the header {many}; it must name id and text, and may name title"
            )
    return True


def _refuse_no_columns(cells: list[str], stream: Stream) -> None:
    """Raise FormatError where no header tells the columns and their number does not either."""
    advice = "begin the file with a header such as id<tab>text<tab>title"
    if len(cells) == 2 and not is_id(cells[0]):
        problem = f"two columns, of which the first ({cells[0][:40]!r}) is no id"
        raise FormatError(stream.path, 1, f"{problem}; {advice}")
    if len(cells) not in (2, 3):
        wanted = "where there should be 3 (id, text, title)"
        if comma := next((c for c in ",;" if len(cells) == 1 and c in first_line(stream)), ""):
            advice = f"if it is a csv, begin it with a header such as {comma.join(_COLUMNS)}"
        problem = f"{len(cells)} tab-separated columns {wanted}; {advice}"
        raise FormatError(stream.path, 1, problem)


def _table_passages(stream: Stream, form: Form | None = None) -> Iterator[PlacedPassage]:
    table = Table(stream, form or _form(stream))
    columns = table.form.columns
    id_at, text_at = columns.index("id"), columns.index("text")
    title_at = columns.index("title") if "title" in columns else None
    for place, cells in table.rows():
        if not cells[id_at]:
            raise FormatError(
                stream.path, place.line, "the id is empty; give it one, or remove the line"
            )
        title = "" if title_at is None else cells[title_at]
        yield place, Passage(cells[id_at], cells[text_at], title)


FORMATS = (
    Format("jsonl, BEIR's corpus.jsonl, a JSON array", is_json, _json_passages),
    Format(
        "DPR's psgs_w100.tsv, MS MARCO's collection.tsv, csv with a header",
        is_any,
        _table_passages,
    ),
)


# --- written --------------------------------------------------------------------------------------

PASSAGES_HEADER = b"id\ttext\ttitle\n"


def passage_line(passage: Passage) -> bytes:
    """A passage as a row of DPR's tsv: the text always in csv quotes, the rest where needed."""
    id_, title = cell(passage.id), cell(passage.title)
    return f"{id_}\t{_quoted(passage.text)}\t{title}\n".encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def cell(text: str) -> str:
    return _quoted(text) if any(sign in text for sign in '\t\n\r"') else text
