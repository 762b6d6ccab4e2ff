"""What the passages of an index are made of: the corpora that it names, less what was removed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.errors import InputError, MismatchError
from dprkit.indexes.corpus import NO_ROWS, REMOVED, Corpus
from dprkit.indexes.lineage import input_path, places
from dprkit.progress import Note, silent
from dprkit.store.integrity import Verifier, is_whole
from dprkit.store.manifests import Input, Manifest, is_artifact, read_manifest


class Part(NamedTuple):
    """A corpus, and the index that names it."""

    home: Path | str
    file: Input


class Parts(NamedTuple):
    """What makes up the passages of an index."""

    files: list[Part]
    """The corpora, one after the other."""
    removed: np.ndarray
    """(R,) int64 rows that count no more, ascending."""

    @property
    def identities(self) -> list[str]:
        """Of the corpora."""
        return [part.file.identity for part in self.files]

    def __str__(self) -> str:
        less = f" less {len(self.removed):,} passages" if len(self.removed) else ""
        return " and ".join(part.file.path for part in self.files) + less


def parts_of(index: Path | str) -> Parts:
    """What the passages of an index are made of.

    Raises InputError where an index below is gone, MismatchError where it was made anew.
    """
    manifest = read_manifest(index, "index")
    if "index" not in manifest.inputs:
        return Parts([Part(index, manifest.inputs["passages"])], NO_ROWS)
    files, removed = parts_of(base_of(index, manifest)[0])
    if "added" in manifest.inputs:
        files = [*files, Part(index, manifest.inputs["added_passages"])]
    return Parts(files, np.union1d(removed, removed_rows(index, manifest)))


def base_of(index: Path | str, manifest: Manifest) -> tuple[Path, Manifest]:
    """The index that an updated one stands on, and its manifest.

    Raises InputError where that is gone and MismatchError where it was made anew.
    """
    known = manifest.inputs["index"]
    there = [here for here in places(index, known) if is_artifact(here)]
    if not there:
        raise InputError(
            f"{index}: stands on {known.path}, which is gone; put it back, or say where it lies: "
            "dprkit update-index --index"
        )
    for here in there:
        found = read_manifest(here, "index")
        if found.identity == known.identity:
            return here, found
    raise MismatchError(
        f"{index}: stands on {known.path}, which was made anew; run dprkit update-index again"
    )


def removed_rows(index: Path | str, manifest: Manifest) -> np.ndarray:
    """(R,) int64, ascending: rows of the index below an updated one that count no more."""
    if not is_whole(Path(index), manifest, REMOVED):
        raise InputError(
            f"{Path(index) / REMOVED}: missing or damaged; run dprkit update-index again"
        )
    rows: np.ndarray = np.load(Path(index) / REMOVED, allow_pickle=False)
    return rows


def open_corpus(
    index: Path | str,
    passages: Path | str | None = None,
    note: Note = silent,
    check: Verifier | None = None,
) -> Corpus:
    """The passages that an index finds; `passages` says where its (first) corpus lies now.

    Raises InputError where a file is missing, MismatchError where it is another.
    """
    (first, *added), removed = parts_of(index)
    paths = [input_path(first.home, first.file, passages, "--passages", check)]
    paths += [input_path(part.home, part.file, None, None, check) for part in added]
    return Corpus(paths, removed, note)


def row_count(index: Manifest) -> int:
    """The rows of an index, those included that were removed."""
    return int(index.counts.get("rows", index.counts["passages"]))
