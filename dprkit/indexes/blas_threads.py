"""Holding numpy's matrix library to one thread, where dprkit has threads of its own.

A matrix product that is small is not worth the library's threads: they meet at the end of each,
and on a busy machine the last one is waited for, every time. Products of blocks run side by side
instead, one thread each.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Builds of OpenBLAS differ in the names of what they export: numpy's wheels, plain, 64-bit.
_NAMES = [
    (f"{before}openblas_get_num_threads{after}", f"{before}openblas_set_num_threads{after}")
    for before in ("scipy_", "")
    for after in ("64_", "_64", "")
] + [("MKL_Get_Max_Threads", "MKL_Set_Num_Threads")]
_MAPS = Path("/proc/self/maps")


class _Library(NamedTuple):
    threads: Callable[[], int]
    set_threads: Callable[[int], object]


class _Held:
    """How many searches hold the library now, and what its number of threads was before."""

    lock = threading.Lock()
    holders = 0
    before = 1


@contextmanager
def one_thread_each() -> Iterator[bool]:
    """Within it each matrix product of numpy's runs in the thread that asks for it.

    Yields False where the library is one that cannot be told so; it then has its own threads.
    """
    library = _library()
    if library is None:
        yield False
        return
    with _Held.lock:
        if not _Held.holders:
            _Held.before = library.threads()
            library.set_threads(1)
        _Held.holders += 1
    try:
        yield True
    finally:
        with _Held.lock:
            _Held.holders -= 1
            if not _Held.holders:
                library.set_threads(_Held.before)


@cache
def _library() -> _Library | None:
    for path in _candidates():
        with suppress(OSError):
            loaded = ctypes.CDLL(str(path))
            for get, set_ in _NAMES:
                if hasattr(loaded, get) and hasattr(loaded, set_):
                    return _Library(getattr(loaded, get), getattr(loaded, set_))
    return None


def _candidates() -> list[Path]:
    """The libraries that numpy's wheel brought; else (Linux) those that this process has loaded."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        if found := sorted(folder.glob("*openblas*")):
            return found
    if not _MAPS.exists():
        return []
    loaded = {line.split()[-1] for line in _MAPS.read_text().splitlines() if ".so" in line}
    return [Path(p) for p in sorted(loaded) if "openblas" in p or "mkl_rt" in p]
