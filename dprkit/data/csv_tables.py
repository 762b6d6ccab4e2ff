"""Tables: rows of cells, separated by tabs, commas or semicolons, in csv quotes or without.

Commas and semicolons are told by a header, and their cells are quoted as RFC 4180 says. A tsv may
be quoted (as DPR writes it) or not (as MS MARCO's collection.tsv is, where a quote is a character).
The first cell that begins with a quote decides: closed at the end of a cell, all cells are read as
csv reads them; else quotes are characters. Up to that cell both readings are the same. What
contradicts the first decision later on is refused.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from itertools import chain, dropwhile, islice
from pathlib import Path
from typing import NamedTuple, cast

from dprkit.data.streams import LONGEST, Place, RawRow, Stream, decode, read_all_lines, too_long
from dprkit.errors import FormatError

DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}
csv.field_size_limit(sys.maxsize)
LINE_BYTES = 256
"""What a line takes in memory beside its text."""
AHEAD = 10_000
"""Lines that a quoted cell may span before any other cell was seen to be quoted."""

_CLOSED = re.compile(r'"(?:[^"]|"")*"')
_NAME = re.compile(r"[^\W\d][\w .-]{0,39}")
_EXCEL = re.compile(rb'\s*"?sep=.?"?\s*', re.IGNORECASE)
"""Excel's own first line, which names the delimiter."""
_AS_CHARACTERS = (
    "if quotes are characters there, put every cell in quotes: "
    r"""sed 's/"/""/g; s/[^\t]*/"&"/g' FILE > quoted.tsv"""
)
_DOUBLED = "a quote within a cell is written twice, and a cell with quotes stands in quotes"


class Form(NamedTuple):
    """How the rows of a table are written."""

    columns: tuple[str, ...]
    text: str
    """The column of texts."""
    delimiter: str = "\t"
    quoted: bool | None = None
    """None: no cell begins with a quote, so far."""
    header: bool = False
    """The first row has the names of the columns."""
    checked: bool = False
    """`quoted` is that of the whole table, which was read before."""
    spaced: bool = False
    """A space may stand behind a delimiter, before the quote."""
    escaped: bool = False
    """A quote within a cell has a backslash before it, and is not doubled."""


class Table:
    """A table. `form.quoted` is found out while rows are read, and left in the stream's traits."""

    def __init__(self, stream: Stream, form: Form) -> None:
        self.stream, self.form = stream, form
        self.lines: Iterator[RawRow] = islice(_from_first_row(stream), int(form.header), None)

    def rows(self) -> Iterator[tuple[Place, list[str]]]:
        """The rows with their places, each with as many cells as the table has columns."""
        width = len(self.form.columns)
        for place, cells in chain(self._plain_rows(), self._quoted_rows()):
            if len(cells) != width:
                raise _wrong_width(self.stream.path, place.line, cells, self.form)
            yield place, cells

    def _first_quote(self, row: RawRow, line: str, before: str) -> None:
        """Find out whether the table is quoted: set `form.quoted`, and give the lines back."""
        pulled = [row]
        try:
            next(csv_rows(self.pull(pulled, AHEAD), self.form))
            closed = not self._swallows(pulled, before)
        except (csv.Error, FormatError):
            lines = sum(not pulled_row.raw.isspace() for pulled_row in pulled)
            more = list(islice(self.lines, 1))
            pulled += more
            closed = not before and lines == 1 and not more
        quoted = closed or len(line.split(self.form.delimiter)) != len(self.form.columns)
        self.form = self.form._replace(quoted=quoted)
        self.stream.traits["quoted"] = quoted
        self.lines = chain(pulled, self.lines)

    def pull(self, pulled: list[RawRow], most: int = sys.maxsize) -> Iterator[str]:
        """The lines in `pulled` and those behind, which are put there, as csv wants them.

        Between rows, where `pulled` is empty, blank lines are passed over.
        """
        size = 0
        for row in tuple(pulled):
            yield decode(row.raw, self.stream.path, row.where) + "\n"
        for row in self.lines:
            size = size + len(row.raw) + LINE_BYTES if pulled else 0
            pulled.append(row)
            if len(pulled) > most:
                raise csv.Error("no end of a quoted cell")
            if size > LONGEST:
                raise too_long(self.stream.path, pulled[0].where, "a cell whose quotes do not end,")
            line = decode(row.raw, self.stream.path, row.where)
            if len(pulled) == 1 and not line.strip():
                pulled.clear()
            else:
                yield line + "\n"

    def _quoted_rows(self) -> Iterator[tuple[Place, list[str]]]:
        """csv's rows: a quoted cell may span lines. None where quotes are characters."""
        path, before = self.stream.path, ""
        pulled: list[RawRow] = []  # the lines that the row at hand is made of
        rows = csv_rows(self.pull(pulled), self.form)
        while True:
            pulled.clear()
            try:
                cells = next(rows, None)
            except csv.Error as error:
                for row in pulled:
                    line = decode(row.raw, path, row.where)
                    refuse_carriage_return(line.rstrip(), path, row.where)
                advice = _AS_CHARACTERS if self.form.delimiter == "\t" else _DOUBLED
                problem = f"broken quotes: {error}; {advice}"
                raise FormatError(path, pulled[0].where, problem) from None
            if cells is None:
                return
            if len(pulled) > 1 and self._swallows(pulled, before):
                problem = (
                    f"a quoted cell goes on for {len(pulled)} lines that look like rows; "
                    f"{_AS_CHARACTERS}"
                )
                raise FormatError(path, pulled[0].where, problem)
            yield _spanned(pulled), cells
            before = pulled[0].raw.decode()

    def _swallows(self, pulled: list[RawRow], before: str) -> bool:
        """Whether lines that make up a row look like rows of their own, all of them.

        Where texts are in quotes, as in the row `before` them, lines of a text are no rows.
        """
        if len(pulled) == 1 or self.form.checked or self.form.delimiter != "\t":
            return False
        lines = [row.raw.decode(errors="replace").removesuffix("\r") for row in pulled]
        split = [line.split("\t") for line in lines if line.strip()]
        columns = self.form.columns
        text = columns.index(self.form.text)
        styles = [split[0], before.split("\t")] if before else [split[0]]
        if all(2 < len(cells) > text and cells[text][:1] == '"' for cells in styles):
            return False
        key = columns.index("id") if "id" in columns else 0
        return all(len(cells) == len(columns) and is_id(cells[key]) for cells in split)

    def _plain_rows(self) -> Iterator[tuple[Place, list[str]]]:
        """Rows in which quotes are characters, or that stand before the first quote."""
        balance, before = 0, ""
        while not self.form.quoted and (row := next(self.lines, None)):
            line = decode(row.raw, self.stream.path, row.where)
            if not line.strip():
                continue
            if self.form.quoted is None and _has_quoted(line, self.form.delimiter):
                self._first_quote(row, line, before)  # the row comes again, by either reading
                continue
            cells, before = self._cells(line, row.where), line
            # A quote left open shows that this file quotes no cells. If rows with closed quotes
            # outnumber such rows, the open quote was a mistake in its row.
            if not self.form.checked and _has_quoted(line, self.form.delimiter):
                balance += self._balance(cells, row.where)
                if balance < 0:
                    raise _mixed(self.stream.path, row.where)
            yield row.place, cells

    def _cells(self, line: str, where: int | str) -> list[str]:
        """The cells of a line in which quotes are characters."""
        line = line.removesuffix("\r")
        refuse_carriage_return(line, self.stream.path, where)
        return line.split(self.form.delimiter)

    def _balance(self, cells: Iterable[str], where: int | str) -> int:
        """1 for a row that only a table without quoting has, -1 for one that looks quoted."""
        starting = [cell for cell in cells if cell[:1] == '"']
        closed = [cell for cell in starting if _CLOSED.fullmatch(cell)]
        if any('""' in cell[1:-1] for cell in closed):
            raise _mixed(self.stream.path, where)
        return -1 if len(closed) == len(starting) else 1


def csv_rows(lines: Iterable[str], form: Form) -> Iterator[list[str]]:
    """The rows of lines in csv quotes, as `form` has them. Raises csv.Error for broken quotes."""
    escape = "\\" if form.escaped else None
    return csv.reader(
        lines,
        delimiter=form.delimiter,
        skipinitialspace=form.spaced,
        escapechar=escape,
        doublequote=not form.escaped,
        strict=True,
    )


def _spanned(pulled: list[RawRow]) -> Place:
    start, end = pulled[0].start, pulled[-1].start + len(pulled[-1].raw)
    return Place(start, end - start, cast(int, pulled[0].where))


def is_id(text: str) -> bool:
    """Whether `text` can be an id by its look: not empty, without a space or a quote."""
    return bool(text) and not re.search(r'[\s"]', text)


def refuse_carriage_return(line: str, path: Path | str, where: int | str) -> None:
    """Raise a FormatError where lines end with a carriage return alone, as on old Macs."""
    if "\r" in line:
        problem = "a carriage return within a line; make line ends of them: tr '\\r' '\\n'"
        raise FormatError(path, where, problem)


def _has_quoted(line: str, delimiter: str) -> bool:
    return line[:1] == '"' or f'{delimiter}"' in line


def _wrong_width(path: Path | str, line: int, cells: list[str], form: Form) -> FormatError:
    wanted = f"{len(form.columns)} ({', '.join(form.columns)})"
    problem = f"{len(cells)} {DELIMITERS[form.delimiter]}-separated columns where there should be "
    return FormatError(path, line, problem + wanted)


def _mixed(path: Path | str, where: int | str) -> FormatError:
    problem = "a cell in csv quotes in a file in which quotes were characters before; "
    return FormatError(path, where, problem + _AS_CHARACTERS)


# --- headers --------------------------------------------------------------------------------------


def first_line(stream: Stream) -> str:
    """The first line that is not blank; the stream stays unread."""
    row = next(_from_first_row(stream.ahead()))
    return decode(row.raw, stream.path, row.where).removesuffix("\r")


def first_cells(stream: Stream) -> list[str]:
    """The cells of the first row of a tsv; the stream stays unread."""
    line = first_line(stream)
    if not _has_quoted(line, "\t"):
        refuse_carriage_return(line, stream.path, 1)
        return line.split("\t")
    table = Table(stream.ahead(), Form((), ""))
    with suppress(csv.Error, FormatError):
        return next(csv_rows(table.pull([], AHEAD), table.form))
    return line.split("\t")


def _from_first_row(stream: Stream) -> Iterator[RawRow]:
    """The lines from the first one on that is neither blank nor Excel's own."""
    return dropwhile(lambda row: not row.raw.strip() or is_excel(row.raw), read_all_lines(stream))


def is_excel(line: bytes) -> bool:
    """Whether a line is the one by which Excel is told the delimiter, such as sep=;"""
    return _EXCEL.fullmatch(line) is not None


def split(line: str, delimiter: str) -> list[str]:
    """The cells of a line by itself, in csv quotes or without."""
    form = Form((), "", delimiter, spaced=delimiter != "\t")
    try:
        return next(csv_rows([line.strip("\r\n")], form))
    except (csv.Error, StopIteration):
        return line.strip("\r\n").split(delimiter)


def headers(stream: Stream, known: Container[str]) -> Iterator[tuple[list[str], Form]]:
    """The names in the first line, in small letters, by each delimiter by which it is a header.

    A header has two of the `known` names, or names alone, each once. The form lacks its text.
    """
    line = first_line(stream)
    for delimiter in DELIMITERS:
        names = [cell.strip().lower() for cell in split(line, delimiter)]
        only_names = len(set(names)) == len(names) and all(map(_NAME.fullmatch, names))
        if only_names or sum(name in known for name in names) > 1:
            quoted = True if delimiter != "\t" or line[:1] == '"' else None
            yield names, Form(tuple(names), "", delimiter, quoted, header=True)
