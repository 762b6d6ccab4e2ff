"""The earlier files of an artifact's folder: moved away before a new artifact, and put back.

    .previous/   the finished artifact that the new one replaces; deleted when the new one is whole
    aside-1/     files that nobody knows as dprkit's, or that cannot be read; never deleted

A run may be killed between any two of these steps. Each step leaves the folder so that the same
steps, taken again, come to the same end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec

from dprkit.store.atomic_files import delete, prune
from dprkit.store.manifests import MANIFEST, PREVIOUS, PROGRESS, ProgressRecord, write_progress


def move(directory: Path, into: Path, name: str) -> None:
    """Move the file or folder `name` of `directory` to the same name below `into`."""
    (into / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).rename(into / name)


def remove(directory: Path, names: Iterable[str]) -> None:
    """Remove files and folders of an artifact, and the folders that are empty then."""
    for name in names:
        delete(directory / name)
        prune(directory, [name])


def aside_name(directory: Path) -> str:
    """A free name of a folder for what is moved aside."""
    return next(name for n in count(1) if not (directory / (name := f"aside-{n}")).exists())


def keep_as_previous(directory: Path, names: Iterable[str]) -> None:
    """Move a finished artifact into .previous, so that a failed remake loses nothing.

    The manifest goes first: from then on the folder is half done, and the next run of one that is
    killed here puts everything back.
    """
    for name in [MANIFEST, *names]:
        if os.path.lexists(directory / name):
            move(directory, directory / PREVIOUS, name)
    prune(directory, names)


def undo(directory: Path, record: ProgressRecord) -> None:
    """Throw away a half-done artifact, and only what it made; put back what was there before."""
    remove(directory, record.claimed)
    # From here on nothing is claimed: if this process is killed, the next run must not remove
    # files that are back in their place.
    write_progress(directory, ProgressRecord(record.kind, {}, {}, aside=record.aside))
    for folder in (PREVIOUS, record.aside):
        if folder:
            _put_back(directory, directory / folder)
    tidy(directory, ())
    if record.aside:
        with suppress(FileNotFoundError):
            (directory / record.aside / PROGRESS).replace(directory / PROGRESS)
        prune(directory, [f"{record.aside}/{PROGRESS}"])


def _put_back(directory: Path, folder: Path) -> None:
    """Move the files below `folder` back to where they were.

    The manifest is the last: with it the artifact counts as finished. progress.json stays, since
    the one in its place says until the end that this is not done yet.
    """
    names = [
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()
    ]
    for name in sorted(set(names) - {PROGRESS}, key=lambda name: name == MANIFEST):
        move(folder, directory, name)
    prune(folder, names)


def tidy(directory: Path, files: Iterable[str]) -> None:
    """Remove what served the making of a finished artifact and is none of its `files`.

    progress.json is the last: while it is there, the next run tidies up.
    """
    needed = {str(path) for name in files for path in (Path(name), *Path(name).parents)}
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        left = msgspec.json.decode((directory / PROGRESS).read_bytes(), type=ProgressRecord)
        remove(directory, [name for name in left.claimed if name not in needed])
    shutil.rmtree(directory / PREVIOUS, ignore_errors=True)
    (directory / PROGRESS).unlink(missing_ok=True)
