"""Tables of figures: drawn for people, with a bar a row where a terminal has room, or as CSV.

A command shows its figures by `table`, and gives the same figures whole as a `Sheet` for --csv.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, NamedTuple

from dprkit.errors import SettingsError

if TYPE_CHECKING:
    import msgspec

BAR = 20
"""Characters of the bar that stands for a share of 1."""
SHORTEST_BAR = 5
"""Characters below which no bar is drawn."""
PIPE = 10_000
"""Columns of a table where no terminal shows it: enough for any line."""
EIGHTHS = " ▏▎▍▌▋▊▉█"
GAP = 2
"""Spaces between two columns."""


# --- for programs ---------------------------------------------------------------------------------


class Sheet(NamedTuple):
    """What --csv prints: names of columns, and rows of whole values; None is an empty cell."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


def sheet_of(structs: Sequence[msgspec.Struct], leave: Iterable[str] = ()) -> Sheet:
    """A row for each of `structs`, a column for each field, but for those to `leave` out."""
    fields = structs[0].__struct_fields__ if structs else ()
    names = [name for name in fields if name not in set(leave)]
    return Sheet(names, [[getattr(one, name) for name in names] for one in structs])


def print_csv(sheet: Sheet) -> None:
    """Print a sheet on stdout, in UTF-8 whatever the terminal's encoding."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet.header)
    writer.writerows([_cell(value) for value in row] for row in sheet.rows)
    sys.stdout.buffer.write(text.getvalue().encode())


def _cell(value: Any) -> Any:
    """A value as CSV has it: true and false in small letters, several with blanks between."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(str(_cell(one)) for one in value)
    return value


def refuse_two_forms(as_json: bool, as_csv: bool) -> None:
    """Raise SettingsError where both --json and --csv are given."""
    if as_json and as_csv:
        raise SettingsError("--json and --csv both choose what stdout is; give one of them")


# --- for people -----------------------------------------------------------------------------------


def columns() -> int:
    """Columns that a line on stdout may have."""
    return get_terminal_size().columns if sys.stdout.isatty() else PIPE


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    shares: Sequence[float | None] = (),
    words: int = 2,
) -> list[str]:
    """Lines of a table; its first columns are `words`, the others figures.

    shares: of each row, from 0 to 1, for a bar behind it where a terminal has room; None draws no
    bar. In a pipe there are neither bars nor colours, and each row is one line. On a terminal that
    is too narrow for the table each figure has a line of its own below the first cell of its row,
    after the header's word.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    width = sum(widths) + GAP * (len(widths) - 1)
    if width > columns():
        blocks = [[first, *map("    {}: {}".format, header[1:], rest)] for first, *rest in rows]
        return [line for block in blocks for line in block]
    room = min(BAR, columns() - width - GAP) if shares and sys.stdout.isatty() else 0
    bars = [bar(share, room) for share in shares] if room >= SHORTEST_BAR else []
    return _drawn(header, rows, bars, words) if sys.stdout.isatty() else _plain(header, rows, words)


def bar(share: float | None, width: int) -> str:
    """A bar `width` characters long for a share of 1, to an eighth of a character.

    Where the terminal's encoding has no such signs it is made of # and whole characters.
    """
    full = min(max(share or 0.0, 0.0), 1.0) * width
    if "utf" not in (sys.stdout.encoding or "").lower():
        return "#" * round(full)
    whole, eighths = divmod(round(full * 8), 8)
    return (EIGHTHS[8] * whole + EIGHTHS[eighths]).rstrip()


def _plain(header: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> list[str]:
    """The table for a pipe: by hand, for rich would take longer than all else."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if number < words else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return (" " * GAP).join(padded).rstrip()

    return [line(header), *map(line, rows)]


def _drawn(
    header: Sequence[str], rows: Sequence[Sequence[str]], bars: Sequence[str], words: int
) -> list[str]:
    """The table for a terminal, in its colours; NO_COLOR and TERM=dumb leave them out."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for number, name in enumerate(header):
        grid.add_column(name, justify="right" if number >= words else "left", no_wrap=True)
    if bars:
        grid.add_column("", style="cyan", no_wrap=True)
    for number, row in enumerate(rows):
        grid.add_row(*row, *bars[number : number + 1])
    console = Console(width=PIPE, markup=False, emoji=False, highlight=False)
    if console.no_color:  # which rich takes for colours alone
        console = Console(width=PIPE, markup=False, emoji=False, highlight=False, color_system=None)
    with console.capture() as drawn:
        console.print(grid)
    return [line.rstrip() for line in drawn.get().splitlines()]
