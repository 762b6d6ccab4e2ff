"""Where the rows of a written file stood in their sources, for messages that name these."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from dprkit.imports.items import Place, shown


class SourceLines:
    """The places of rows, as runs of lines that follow each other. Memory: 24 bytes a run."""

    def __init__(self) -> None:
        self._rows = 0
        self._starts = array("Q")
        """The first row of each run."""
        self._runs: list[tuple[object, int]] = []
        """Its source, and the line there; 0: the source tells none."""

    def add(self, place: Place) -> None:
        """Note the place of the next row."""
        path, line = place[0], place[1] if isinstance(place[1], int) else 0
        if not self._runs or (path, line) != self._next():
            self._starts.append(self._rows)
            self._runs.append((path, line))
        self._rows += 1

    def of(self, row: int) -> str:
        """The place of a row, counted from 0: path:line, or the path alone."""
        run = bisect_right(self._starts, row) - 1
        path, line = self._runs[run]
        return shown((path, line + row - self._starts[run])) if line else str(path)

    def _next(self) -> tuple[object, int]:
        """The place that carries the last run on."""
        path, line = self._runs[-1]
        return path, line + self._rows - self._starts[-1] if line else 0
