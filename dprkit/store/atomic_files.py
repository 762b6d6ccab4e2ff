"""Write files safely: a file appears whole or not at all.

Every file that dprkit writes is written beside its final name, fsynced and renamed, here.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from dprkit.errors import UNREADABLE, InputError, OutputError, reading, writing

TEMPORARY = ".tmp-"
DAY = 86400.0


class Hashing:
    """A binary file that hashes and counts what passes through it."""

    closed = False
    """pyarrow asks."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.count = file, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> int:
        self.digest.update(data)
        self.count += memoryview(data).nbytes
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


@contextmanager
def write_file(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends without an error.

    `-` is stdout. A name that ends in .gz or .zst is compressed. Whatever was at `path` stays
    there until the new file is whole. A link stays a link, and into a pipe or a device it is
    written straight.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(path)
    with writing(path):
        if path.is_dir():
            raise OutputError(f"{path}: is a directory; name a file in it")
        straight = path.exists() and not path.is_file()
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        _sweep(target)
        opened = path.open("wb") if straight else atomic_write(target)
        with opened as file, _compressing(file, path.suffix) as outer:
            yield cast(BinaryIO, outer)


def _sweep(target: Path) -> None:
    """Remove what killed runs left when they wrote `target`; a day later nobody writes it still."""
    tail = "[a-z0-9_]" * 8  # as tempfile has it
    for left in target.parent.glob(f"{TEMPORARY}{glob.escape(target.name[:40])}-{tail}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > DAY:
                left.unlink()


def _compressing(file: IO[bytes], suffix: str) -> contextlib.AbstractContextManager[Any]:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=6)
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return contextlib.nullcontext(file)


@contextmanager
def atomic_write(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """Write beside `path`, fsync, rename; leave nothing behind on an error.

    What is not `durable` is not worth the wait for the disk: a power cut may lose or empty it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{TEMPORARY}{path.name[:40]}-"  # a name may be as long as the system allows
        handle, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        try:
            with os.fdopen(handle, "wb", buffering=1 << 20) as file:
                yield file
                if durable:  # before the rename: else a power cut leaves an empty file
                    file.flush()
                    os.fsync(file.fileno())
            os.chmod(name, umask_mode(0o666))
            os.replace(name, path)
            if durable:
                sync(path.parent)  # the rename itself
        except BaseException:  # a signal too: nothing half-written stays
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def umask_mode(mode: int) -> int:
    """`mode` as the process's umask leaves it: tempfile makes private files."""
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask


def apply_umask(made: Path) -> None:
    """Give a file or a folder and all in it the modes that the umask leaves.

    tempfile makes private folders, and safetensors private files.
    """
    for path in (made, *made.rglob("*")):
        if path.is_dir():  # a folder that hands its group on goes on doing so
            os.chmod(path, path.stat().st_mode & stat.S_ISGID | umask_mode(0o777))
        else:
            os.chmod(path, umask_mode(0o666))


def check_readable(folder: Path | str) -> None:
    """Raise an InputError for a file of `folder` that may not be read.

    Libraries call such a file missing.
    """
    with reading(folder):
        names = sorted(os.listdir(folder))
    for path in (Path(folder) / name for name in names):
        if os.path.isfile(path) and not os.access(path, os.R_OK):
            raise InputError(f"{path}: {UNREADABLE}")


def cache_folder() -> Path:
    """Where lies what can be made again and has no place beside its source.

    $DPRKIT_CACHE, else $XDG_CACHE_HOME/dprkit, else ~/.cache/dprkit. A user without a home has /,
    as in a container, which is seldom writable.
    """
    if given := os.environ.get("DPRKIT_CACHE"):
        return Path(given)
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or Path("/" if home == "~" else home) / ".cache"
    return Path(cache) / "dprkit"


CACHE_ADVICE = "set XDG_CACHE_HOME to a folder that can be written"


def sync(path: Path) -> None:
    """Make a file, or the renames in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def delete(path: Path) -> None:
    """Remove a file or a folder, whichever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def prune(directory: Path, names: Iterable[str]) -> None:
    """Remove the folders in `directory` that held `names` and hold nothing any more."""
    folders = {directory / parent for name in names for parent in Path(name).parents}
    for folder in sorted(folders - {directory}, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
