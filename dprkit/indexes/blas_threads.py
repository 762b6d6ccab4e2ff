"""Holding numpy's matrix library (BLAS) to one thread, where dprkit has threads of its own.

A matrix product that is small is not worth the library's threads: they meet at the end of each,
and on a busy machine the last one is waited for, every time. Products of blocks run side by side
instead, one thread each.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")


class _Held:
    """How many searches hold the library now, and what gives it its threads back.

    They are counted because the limit is the whole process's: the last one must lift it.
    """

    lock = threading.Lock()
    holders = 0
    limit: Any = None


@contextmanager
def one_thread_each() -> Iterator[bool]:
    """Within it each matrix product of numpy's runs in the thread that asks for it.

    Yields False where the library is one that cannot be told so; it then has its own threads.
    """
    if not _blas():
        yield False
        return
    with _Held.lock:
        if not _Held.holders:
            _Held.limit = _blas().limit(limits=1)
        _Held.holders += 1
    try:
        yield True
    finally:
        with _Held.lock:
            _Held.holders -= 1
            if not _Held.holders:
                _Held.limit.restore_original_limits()


@cache
def _blas() -> Any:
    """The matrix libraries that are loaded, numpy's among them."""
    return ThreadpoolController().select(user_api="blas")


def together(
    scan: Callable[[], T], work: Iterator[object], threads: int, pool: ThreadPoolExecutor
) -> list[T]:
    """What `scan` gives on so many threads, this one among them, that share the `work`."""
    try:
        others = [pool.submit(scan) for _ in range(threads - 1)]
        return [scan(), *(other.result() for other in others)]
    finally:  # after an error, or Ctrl-C, nothing is left for the other threads
        deque(work, maxlen=0)
