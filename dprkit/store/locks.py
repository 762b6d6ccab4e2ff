"""Locks: one process at a time makes an artifact, or fetches a file.

A lock is a file that the kernel ties to its holder (flock), so it ends with the holder's process,
however that ends. The file says who holds it: process, host and time. Work that many processes
share out among themselves is marked by leases instead (dprkit.store.leases).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from dprkit.errors import LockedError, writing
from dprkit.store.atomic_files import umask_mode

LOCK = ".lock"
TRIES = 100
"""How often the lock file may be gone, with its holder, before it can be held."""


@contextmanager
def lock(directory: Path, patience: float = 0) -> Iterator[None]:
    """Hold `directory` for this process, which is made where it is missing.

    It goes at the end where nothing else is in it, and so do the folders above that were missing.
    Raises LockedError where another process holds it for more than `patience` seconds.
    """
    missing = [folder for folder in directory.parents if not folder.exists()]
    try:
        with lock_file(directory / LOCK, directory, patience):
            yield
    finally:
        with suppress(OSError):
            for folder in (directory, *missing):
                folder.rmdir()  # refused where there is anything in it


@contextmanager
def lock_file(path: Path, held: Path, patience: float = 0) -> Iterator[None]:
    """Hold `held` by means of a lock file at `path`, which is gone at the end."""
    from filelock import FileLock, Timeout  # 10 ms; an up-to-date check takes no lock

    # Without fallback_to_soft=False, where the file system has no flock, filelock would take the
    # file itself for the lock, and that of a killed process would stay.
    mode, sign = umask_mode(0o666), partial(_sign, path)
    holding = FileLock(path, patience, mode, fallback_to_soft=False, on_acquired=sign)
    with writing(held):
        for tries in range(TRIES):
            try:
                # filelock would make the folder behind a link that leads nowhere
                path.parent.mkdir(parents=True, exist_ok=True)
                holding.acquire()
                break
            except (FileExistsError, FileNotFoundError):  # its last holder removes the folder
                if tries + 1 == TRIES:
                    raise
            except Timeout:
                raise LockedError(f"{held}: in use by {_holder(path)}; try again later") from None
    try:
        yield
    finally:
        # Removed before it is released: a process that locks the removed file notices in `_sign`.
        with suppress(OSError):
            path.unlink()
        holding.release()


def _sign(path: Path, handle: int) -> None:
    """Write the holder into the lock file. Raises FileNotFoundError where that is not at `path`.

    NFS keeps a file that is removed while it is open, so that its links tell nothing.
    """
    if not os.path.samestat(path.stat(), os.fstat(handle)):
        raise FileNotFoundError(path)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.truncate(handle, 0)
    os.write(handle, f"pid {os.getpid()} on {socket.gethostname()} since {since}\n".encode())


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")[:200].strip() or "another run"
    return "another run"
