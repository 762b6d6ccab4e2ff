"""How a foreign table is written: its delimiter, its quotes, and the names of its columns.

The delimiter and the header are told by the first lines, never by the name of the file. A table
without a header has the numbers of its columns for names.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from dprkit.data.csv_tables import DELIMITERS, Form, first_line, is_id, split
from dprkit.data.json_rows import head
from dprkit.data.streams import Stream
from dprkit.errors import FormatError
from dprkit.imports.columns import NAMES, Asked, known

ALIKE = 20
"""Rows that are looked at."""
_NAME = re.compile(r"(?:[^\W\d][\w .:/-]{0,39})?")


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
    return max(found, key=lambda one: one[0])[1] if found else None


def _text(names: Sequence[str]) -> str:
    """The column that most likely has the longest texts: see Table."""
    longest = (*NAMES["text"], *NAMES["positive"], *NAMES["question"])
    lower = [name.lower() for name in names]
    return next((names[lower.index(name)] for name in longest if name in lower), names[-1])


def _delimiter(stream: Stream) -> tuple[str, int]:
    """The delimiter by which the first rows have the same number of cells, and that number."""
    lines = head(stream).decode(errors="replace").splitlines(keepends=True)
    lines = [line for line in lines if line.strip()]
    whole = lines[:-1] if len(lines) > 1 else lines  # the last one may be cut off
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


def _widths(lines: Sequence[str], delimiter: str) -> list[int]:
    if delimiter == "\t" and not any('"' in line for line in lines[:ALIKE]):
        return [line.count("\t") + 1 for line in lines[:ALIKE]]
    with suppress(csv.Error):
        rows = csv.reader(iter(lines), delimiter=delimiter, strict=True)
        return [len(row) for row in islice(rows, ALIKE)]
    return [line.count(delimiter) + 1 for line in lines[:ALIKE]] if delimiter == "\t" else []


def by_content(cells: Sequence[str], asked: Asked, path: object) -> dict[str, int]:
    """What the columns of a table without a header hold, as its first row tells.

    An id, a text and maybe a title, as in DPR's and MS MARCO's files, or a question and a list of
    answers, as in DPR's qa.csv. Raises FormatError for others.
    """
    if len(cells) in (2, 3) and is_id(cells[0]) and not is_id(cells[1]):
        return dict(zip(("id", "text", "title"), range(1, len(cells) + 1), strict=False))
    if len(cells) == 2 and cells[1][:1] == "[" and cells[1][-1:] == "]":
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
