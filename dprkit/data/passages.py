"""Passages: DPR's psgs_w100.tsv (the text in csv quotes), jsonl, BEIR's corpus.jsonl.

Every reader is a generator of records; memory is one record. What a file breaks is a FormatError
with its path and line.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import msgspec

from dprkit.data.decoding import decoder, first_id
from dprkit.data.streams import Place, Row, Source, decode, open_source, read_all_lines, read_lines
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
        found = first_id(foreign.id, foreign._id)
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
    id_, title = cell(passage.id), cell(passage.title)
    return f"{id_}\t{_quoted(passage.text)}\t{title}\n".encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def cell(text: str) -> str:
    return _quoted(text) if any(sign in text for sign in '\t\n\r"') else text
