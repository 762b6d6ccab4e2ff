"""The passages that an index finds, by row: those of one file, or of several less removed ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from dprkit.data.corpus_by_row import PassageFile
from dprkit.progress import Note, silent
from dprkit.records import Passage


class IndexedPassages:
    """The passages of an index by row. Rows go through the files in their order."""

    def __init__(self, paths: Sequence[Path], removed: np.ndarray, note: Note = silent) -> None:
        """`removed`: (R,) int64 rows, ascending. `note` is told what takes long.

        The files are opened when something of them is wanted; errors are those of PassageFile.
        """
        self.paths, self.removed, self.note = paths, removed, note

    @cached_property
    def files(self) -> list[PassageFile]:
        return [PassageFile(path, self.note) for path in self.paths]

    @cached_property
    def _starts(self) -> list[int]:
        """The row that each file begins with."""
        return [0, *accumulate(len(file) for file in self.files[:-1])]

    def at(self, rows: Sequence[int]) -> list[Passage]:
        """The passages at `rows`, in that order."""
        if len(self.files) == 1:
            return self.files[0].at(rows)
        by_row: dict[int, Passage] = {}
        homes = [bisect_right(self._starts, row) - 1 for row in rows]
        for number, (file, start) in enumerate(zip(self.files, self._starts, strict=True)):
            wanted = sorted({row for row, home in zip(rows, homes, strict=True) if home == number})
            by_row.update(zip(wanted, file.at([row - start for row in wanted]), strict=True))
        return [by_row[row] for row in rows]

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The row of each of `ids`; ids of no passage, and of removed ones, are left out."""
        wanted = set(ids)
        rows: dict[str, int] = {}
        for file, start in zip(self.files, self._starts, strict=True):
            for id_, row in file.rows_of(wanted).items():
                at = int(np.searchsorted(self.removed, start + row))
                if at == len(self.removed) or self.removed[at] != start + row:
                    rows[id_] = start + row
        return rows
