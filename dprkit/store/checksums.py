"""The sha256 of files, which is remembered: a large file is read again only after a change.

A file of at most SMALL bytes is hashed each time. For a larger one the hash is kept in the cache
folder ($DPRKIT_CACHE, or $XDG_CACHE_HOME/dprkit) under the file's real path, with the file's inode,
size and times. It counts while these are the same. A program that writes to a file and sets its
time of change (mtime) back still changes ctime.

A cache that is absent, damaged or not writable costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from dprkit.errors import OutputError
from dprkit.store.atomic_files import atomic_write, cache_folder

SMALL = 1 << 20
"""Bytes: hashing them takes 0.6 to 3 ms, no longer than it takes to find a remembered hash safe."""
SETTLED = 2 * 10**9
"""Nanoseconds for which a file must be unchanged before its hash is remembered.

Clocks of file systems tick in steps of up to two seconds. A file that is written, hashed and
written again within a step has the same times after the second writing as after the first.
"""


class Stamp(NamedTuple):
    """What changes when the content of a file does. Times are in nanoseconds."""

    inode: int
    size: int
    mtime: int
    ctime: int

    def settled(self, now: int | None = None) -> bool:
        """Whether a change from now on would give another stamp; `now` is the file system's."""
        wanted = time.time_ns() - SETTLED if now is None else now
        return max(self.mtime, self.ctime) < wanted


class _Remembered(msgspec.Struct, frozen=True):
    stamp: Stamp
    sha256: str


_kept: dict[str, _Remembered] = {}
"""What this process remembers, whether or not the cache can be written."""


def stamp(path: Path | str | int) -> Stamp:
    """The stamp of a file, which may be given by an open handle. Raises OSError."""
    return stamp_of(os.stat(path))


def stamp_of(info: os.stat_result) -> Stamp:
    return Stamp(info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def sha256(path: Path | str, again: bool = False) -> str:
    """The sha256 of a file, remembered or worked out. Raises OSError where it cannot be read.

    `again`: read the file even if its hash is remembered.
    """
    if not again and (found := remembered(path)):
        return found
    with open(path, "rb") as file:
        before = stamp(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if before == stamp(file.fileno()) and before.settled():
            remember(path, before, digest)
    return digest


def remembered(path: Path | str) -> str | None:
    """The sha256 of a large file that did not change since it was hashed; None: not known."""
    now = stamp(path)
    if now.size <= SMALL:
        return None
    here = os.path.realpath(path)
    kept = _kept.get(here)
    if kept is None or kept.stamp != now:
        kept = _load(here)  # another process may have hashed it since
    return kept.sha256 if kept and kept.stamp == now else None


def remember(path: Path | str, at: Stamp, digest: str) -> None:
    """Keep the hash of a large file that had the stamp `at`, which must be settled."""
    if at.size <= SMALL:
        return
    here = os.path.realpath(path)
    _kept[here] = _Remembered(at, digest)
    content = msgspec.json.encode(_kept[here])
    with suppress(OSError, OutputError), atomic_write(_place(here), durable=False) as file:
        file.write(content + _seal(here, content))


def _place(path: str) -> Path:
    """The file of the cache for `path`, a real path."""
    return cache_folder() / "checksums" / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _seal(path: str, content: bytes) -> bytes:
    """A hash that tells a record that was damaged, or is of another path."""
    return hashlib.sha256(os.fsencode(path) + content).hexdigest().encode()


def _load(path: str) -> _Remembered | None:
    with suppress(OSError, msgspec.MsgspecError):
        raw = _place(path).read_bytes()
        content, seal = raw[:-64], raw[-64:]
        if seal == _seal(path, content):
            return msgspec.json.decode(content, type=_Remembered)
    return None
