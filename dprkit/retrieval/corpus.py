"""The passages that an index finds: those of one file, or of several less those removed since."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.data.passage_file import PassageFile
from dprkit.data.rows import Note, silent
from dprkit.errors import InputError, MismatchError
from dprkit.manifests import Input, Manifest, is_artifact, is_whole, read_manifest
from dprkit.records import Passage

NO_ROWS = np.empty(0, np.int64)
REMOVED = "removed.npy"
"""In an updated index (dprkit.retrieval.updating): (R,) int64 rows, ascending."""


class Parts(NamedTuple):
    """What makes up the passages of an index."""

    files: list[Input]
    """The corpora, one after the other."""
    removed: np.ndarray
    """(R,) int64 rows that count no more, ascending."""

    def __str__(self) -> str:
        less = f" less {len(self.removed):,} passages" if len(self.removed) else ""
        return " and ".join(part.path for part in self.files) + less


def parts_of(index: Path | str) -> Parts:
    """What the passages of an index are made of. Raises as `below` does."""
    manifest = read_manifest(index, "index")
    if "index" not in manifest.inputs:
        return Parts([manifest.inputs["passages"]], NO_ROWS)
    below(index, manifest)
    files, removed = parts_of(manifest.inputs["index"].path)
    if "added" in manifest.inputs:
        files = [*files, manifest.inputs["added_passages"]]
    return Parts(files, np.union1d(removed, removed_rows(index, manifest)))


def below(index: Path | str, manifest: Manifest) -> Manifest:
    """The manifest of the index that an updated one stands on.

    Raises InputError where that is gone and MismatchError where it was made anew.
    """
    known = manifest.inputs["index"]
    if not is_artifact(known.path):
        raise InputError(
            f"{index}: stands on {known.path}, which is gone; put it back, or say where it lies: "
            "dprkit update-index --index"
        )
    found = read_manifest(known.path, "index")
    if found.identity != known.identity:
        raise MismatchError(
            f"{index}: stands on {known.path}, which was made anew; run dprkit update-index again"
        )
    return found


def removed_rows(index: Path | str, manifest: Manifest) -> np.ndarray:
    """(R,) int64, ascending: rows of the index below an updated one that count no more."""
    if not is_whole(Path(index), manifest, REMOVED):
        raise InputError(
            f"{Path(index) / REMOVED}: missing or damaged; run dprkit update-index again"
        )
    rows: np.ndarray = np.load(Path(index) / REMOVED, allow_pickle=False)
    return rows


class Corpus:
    """The passages of an index by row. Rows go through the files in their order."""

    def __init__(
        self, paths: Sequence[Path], removed: np.ndarray = NO_ROWS, note: Note = silent
    ) -> None:
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
        homes = [bisect_right(self._starts, row) - 1 for row in rows]
        found: dict[int, Passage] = {}
        for number, (file, start) in enumerate(zip(self.files, self._starts, strict=True)):
            own = sorted({row for row, home in zip(rows, homes, strict=True) if home == number})
            found.update(zip(own, file.at([row - start for row in own]), strict=True))
        return [found[row] for row in rows]

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The row of each of `ids`; those that no passage has (any more) are left out."""
        wanted = set(ids)
        found: dict[str, int] = {}
        for file, start in zip(self.files, self._starts, strict=True):
            for id_, row in file.rows_of(wanted).items():
                at = int(np.searchsorted(self.removed, start + row))
                if at == len(self.removed) or self.removed[at] != start + row:
                    found[id_] = start + row
        return found
