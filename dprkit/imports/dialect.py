"""How a foreign table is written: its delimiter, its quotes, and the names of its columns.

The delimiter and the header are told by the first lines, never by the name of the file. A table
without a header has the numbers of its columns for names.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice, product

from dprkit.data.csv_tables import (
    DELIMITERS,
    Form,
    csv_rows,
    first_line,
    is_excel,
    is_id,
    split,
)
from dprkit.data.json_rows import head
from dprkit.data.streams import Stream
from dprkit.errors import FormatError
from dprkit.imports.columns import NAMES, Asked, known

ALIKE = 20
"""Rows that are looked at."""
_NAME = re.compile(r"(?:[^\W\d][\w .:/-]{0,39})?")
_ID = re.compile(r'[^\s"]*\d[^\s"]*')


def dialect(stream: Stream, asked: Asked = None) -> Form:
    """How the table that `stream` is was written; the stream stays unread.

    The form's columns have their names in the header, or else their numbers, counted from 1.
    """
    if form := _with_header(stream, asked):
        return form
    delimiter, width = _delimiter(stream)
    columns = tuple(str(number) for number in range(1, width + 1))
    return Form(columns, columns[-1], delimiter, None if delimiter == "\t" else True)


def named(form: Form, asked: Asked) -> Asked:
    """What --columns says, by the names in the header where it says numbers."""
    if not (form.header and asked):
        return asked
    width = range(1, len(form.columns) + 1)
    return {
        held: form.columns[name - 1] if isinstance(name, int) and name in width else name
        for held, name in asked.items()
    }


def _with_header(stream: Stream, asked: Asked) -> Form | None:
    """By the delimiter that makes most known names of the first line; None: it is no header."""
    line = first_line(stream)
    found: list[tuple[int, Form]] = []
    for delimiter in DELIMITERS:
        names = [cell.strip() for cell in split(line, delimiter)]
        count = known(names, asked)
        if count and (count > 1 or all(map(_NAME.fullmatch, names))):
            quoted = True if delimiter != "\t" or line[:1] == '"' else None
            form = Form(tuple(names), _text(names), delimiter, quoted, header=True)
            found.append((count, form))
    return _with_quotes(stream, max(found, key=lambda one: one[0])[1]) if found else None


def _with_quotes(stream: Stream, form: Form) -> Form:
    """The form with the way of quoting by which the first rows have a cell for each column."""
    lines = _whole_lines(stream)
    escapes = (False, True) if any('\\"' in line for line in lines) else (False,)
    for escaped, spaced in product(escapes, (False, True)):
        tried = form._replace(spaced=spaced, escaped=escaped)
        with suppress(csv.Error):
            if all(len(row) == len(form.columns) for row in islice(csv_rows(lines, tried), ALIKE)):
                return tried
    return form


def _text(names: Sequence[str]) -> str:
    """The column that most likely has the longest texts: see Table."""
    longest = (*NAMES["text"], *NAMES["positive"], *NAMES["question"])
    lower = [name.lower() for name in names]
    return next((names[lower.index(name)] for name in longest if name in lower), names[-1])


def _delimiter(stream: Stream) -> tuple[str, int]:
    """The delimiter by which the first rows have the same number of cells, and that number."""
    whole = _whole_lines(stream)
    for delimiter in DELIMITERS:
        widths = set(_widths(whole, delimiter))
        if len(widths) == 1 and (width := widths.pop()) > 1:
            return delimiter, width
    raise FormatError(
        stream.path,
        1,
        "no table: the first lines have no known column, and neither "
        f"{', '.join(DELIMITERS.values())} parts them into as many cells each; begin the file with "
        "a header such as question,positive",
    )


def _whole_lines(stream: Stream) -> list[str]:
    """The first lines that are not blank, without the last one where it may be cut off."""
    lines = [line for line in head(stream).splitlines(keepends=True) if line.strip()]
    begin = int(bool(lines) and is_excel(lines[0]))
    cut = len(lines) > begin + 1 and not lines[-1].endswith(b"\n")
    kept = lines[begin:-1] if cut else lines[begin:]
    return [line.decode(errors="replace") for line in kept]


def _widths(lines: Sequence[str], delimiter: str) -> list[int]:
    if delimiter == "\t" and not any('"' in line for line in lines[:ALIKE]):
        return [line.count("\t") + 1 for line in lines[:ALIKE]]
    with suppress(csv.Error):
        rows = csv_rows(lines, Form((), "", delimiter))
        return [len(row) for row in islice(rows, ALIKE)]
    return [line.count(delimiter) + 1 for line in lines[:ALIKE]] if delimiter == "\t" else []


def by_content(rows: Sequence[Sequence[str]], asked: Asked, path: object) -> dict[str, int]:
    """What the columns of a table without a header hold, as its first `rows` tell.

    An id, a text and maybe a title, as in DPR's and MS MARCO's files, or a question and a list of
    answers, as in DPR's qa.csv. An id has a digit: else a header of unknown names looks like a row
    with an id. Raises FormatError for others.
    """
    cells = rows[0]
    if len(cells) in (2, 3) and all(_ID.fullmatch(row[0]) and not is_id(row[1]) for row in rows):
        return dict(zip(("id", "text", "title"), range(1, len(cells) + 1), strict=False))
    if len(cells) == 2 and all(row[1][:1] == "[" and row[1][-1:] == "]" for row in rows):
        return {"question": 1, "answers": 2}
    shown = " | ".join(cell[:30] for cell in cells[:4])
    names = [name for name in (asked or {}).values() if isinstance(name, str)]
    lacking = f"; {' and '.join(names)}, as --columns has it, is not there" if names else ""
    raise FormatError(
        str(path),
        1,
        f"the first row ({shown}) does not tell what its columns hold{lacking}; if it is a header, "
        "say it by the names, as in --columns question=NAME,positive=NAME, and else by the "
        "numbers, as in --columns question=1,positive=2",
    )
