"""The files of a folder or of a zip archive, by their names there; a zip is never unpacked."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from dprkit.data.streams import CHUNK, Stream, open_stream, stream_of
from dprkit.errors import InputError, loading, reading

DAMAGED = "a zip archive that cannot be read; fetch it again, or unpack it with another tool"
_DEPTH = 3
"""Folders below one another that are looked into."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    with reading(path), open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


class Tree:
    """The files below a folder or in a zip archive."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for what is neither, and for a zip with paths that lead out of it."""
        self.path = path
        self._is_zip = not path.is_dir()
        self.names = sorted(filter(_is_wanted, self._zipped() if self._is_zip else self._below()))
        """Names with slashes, as `qrels/test.tsv`."""

    def _below(self) -> Iterator[str]:
        with reading(self.path):
            for folder, below, files in os.walk(self.path):
                place = Path(folder).relative_to(self.path)
                if len(place.parts) >= _DEPTH:
                    below.clear()
                yield from ((place / name).as_posix() for name in files)

    def _zipped(self) -> list[str]:
        with loading(self.path, DAMAGED), zipfile.ZipFile(self.path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        if out := next(filter(_climbs_out, names), None):
            raise InputError(
                f"{self.path}: the archive has a file {out!r}, whose path leads out of it; such "
                "archives are made to overwrite files: get this one from its publisher"
            )
        return names

    @contextmanager
    def open(self, name: str) -> Iterator[Stream]:
        """A file as a stream, unpacked."""
        if not self._is_zip:
            yield open_stream(self.path / name)
            return
        with loading(self.path, DAMAGED):
            archive = zipfile.ZipFile(self.path)
            file = archive.open(name)
        with archive, file, io.BufferedReader(_Entry(file, self.path), CHUNK) as entry:
            yield stream_of(entry, f"{self.path}/{name}")


class _Entry(io.RawIOBase):
    """A file of an archive, whose damages are InputErrors."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path = file, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with loading(self.path, DAMAGED):
            count: int = self.file.readinto(buffer)  # type: ignore[attr-defined]
        return count


def _climbs_out(name: str) -> bool:
    windows = PureWindowsPath(name)
    return bool(windows.root or windows.drive) or ".." in windows.parts


def _is_wanted(name: str) -> bool:
    """Not what macOS puts into archives, and not hidden."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
