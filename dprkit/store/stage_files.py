"""The files that a stage will read and write, told by its settings before anything is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dprkit.errors import InputError, OutputError, SettingsError, reading
from dprkit.store.manifests import read_manifest

STREAM = "-"


class StageFiles(NamedTuple):
    """The files and folders that a stage reads and writes."""

    reads: Mapping[str, Iterable[str]]
    """setting -> files and folders."""
    folder: str | None = None
    """The artifact that it makes."""
    files: tuple[str, ...] = ()
    """Files that others may read one by one, in the folder or elsewhere."""
    kinds: Mapping[str, str] = {}
    """setting of `reads` -> the kind of artifact that it must be."""
    advice: Mapping[str, str] = {}
    """setting of `reads` -> what to do where no stage writes the file and it is not there."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Its artifact, if it makes one, and its files."""
        return (*([self.folder] if self.folder else ()), *self.files)


def check_files(stages: Mapping[str, StageFiles]) -> None:
    """Refuse stages, in the order in which they would run, that cannot all do their work.

    An input must be there or be written by a stage before. No two stages may write the same path,
    and none may write what it or a stage before it reads. Raises InputError, OutputError,
    SettingsError.
    """
    writers: dict[str, str] = {}
    for stage, files in stages.items():
        for path in filter(lambda path: path != STREAM, files.writes):
            if (other := writers.setdefault(os.path.abspath(path), stage)) != stage:
                raise SettingsError(
                    f"{path}: {other} and {stage} would both write it; give each its own output"
                )
    begun: set[str] = set()
    for stage, files in stages.items():
        for name, path in ((name, path) for name, paths in files.reads.items() for path in paths):
            writer = _writer(path, writers, stages)
            if writer is None and path != STREAM:
                _check_input(stage, name, path, files, writers)
            elif writer is not None and writer not in begun:
                before = "" if writer == stage else f"put {writer} before {stage}, or "
                raise SettingsError(
                    f"{path}: {stage} reads it and {writer} would write it; "
                    f"{before}choose another output for {writer}"
                )
        for path in filter(lambda path: path != STREAM, files.writes):
            _check_output(path, path == files.folder)
        begun.add(stage)


def _writer(path: str, writers: Mapping[str, str], stages: Mapping[str, StageFiles]) -> str | None:
    """The stage that writes `path`; in the folder of one that names no files it may be any."""
    here = Path(os.path.abspath(path))
    for above in (here, *here.parents):
        stage = writers.get(str(above))
        if stage and (above == here or not stages[stage].files):
            return stage
    return None


def _check_input(
    stage: str, name: str, path: str, files: StageFiles, written: Mapping[str, str]
) -> None:
    with reading(path):
        there = os.path.exists(path)
        if there and not os.access(path, os.R_OK):
            raise PermissionError
    if not there:
        way_out = _way_out(path, files.advice.get(name, ""), written)
        raise InputError(f"{stage}.{name}: {path}: is not there{way_out}")
    if name in files.kinds:
        read_manifest(path, files.kinds[name])


def _way_out(path: str, advice: str, written: Mapping[str, str]) -> str:
    """The advice of the stage, or the files that an earlier stage makes in the same folder."""
    folder = os.path.dirname(os.path.abspath(path))
    beside = [p for p in written if os.path.dirname(p) == folder and os.path.splitext(p)[1]]
    if beside and not advice:
        names = ", ".join(os.path.basename(p) for p in beside)
        return f"; {written[beside[0]]} writes {names} there"
    return f", and no stage before writes it; {advice or 'check the path'}"


def _check_output(path: str, folder: bool) -> None:
    if folder and os.path.exists(path) and not os.path.isdir(path):
        raise OutputError(f"{path}: is a file; an output folder is needed")
    if os.path.isdir(path) and not folder:
        raise OutputError(f"{path}: is a folder; an output file is needed")
    above = next(p for p in (Path(path), *Path(path).parents) if os.path.lexists(p))
    if above != Path(path) and not os.path.isdir(above):
        raise OutputError(f"{path}: a part of this path is a file; choose another output")
    if os.path.isdir(above) and not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: not writable; choose another output or fix its permissions")
