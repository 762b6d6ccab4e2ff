"""What a function makes of items, in their order, made ahead in the background or by processes.

    workers 0    one thread; libraries that let go of the interpreter work beside the caller
    workers n    n processes, each of which opens for itself what it needs

What comes out is the same. Worker processes end when their parent does, however that ends; one that
dies ends the work at once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Protocol, TypeVar

from dprkit.errors import ProcessError
from dprkit.interrupts import blocked, die_with_parent, leave_signals_to_parent

Item_contra = TypeVar("Item_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)


class Source(Protocol[Item_contra, Made_co]):
    """What is made of an item: it depends on the item alone."""

    def __call__(self, item: Item_contra, /) -> Made_co: ...

    def describe(self) -> Callable[[], Callable[[Item_contra], Made_co]]:
        """What makes the same source again in another process: a function that pickles."""


class Ahead(Iterator[Made_co]):
    """Iterates over what is made of `items`, in their order, made ahead.

    To be used in a `with` block, whose end stops the workers. `next` raises what making it raised,
    and ProcessError at once when a worker process died.
    """

    def __init__(
        self,
        items: Iterator[Any],
        source: Source[Any, Made_co],
        workers: int = 0,
        ahead: int = 3,
        advice: str = "lower --num-workers",
    ) -> None:
        """`ahead`: how many may lie ready, besides one in the making for each worker.

        `advice` is for who has a worker that died.
        """
        self._items, self._advice = items, advice
        self._room = max(workers, 1) + ahead
        self._waiting: deque[Future[Made_co]] = deque()
        self._make: Callable[[Any], Made_co] = _made if workers else source
        self._pool = _processes(source, workers) if workers else ThreadPoolExecutor(1)
        self.waited = 0.0
        """Seconds that `next` has waited."""
        self._fill()

    def __next__(self) -> Made_co:
        began = time.perf_counter()
        try:
            if not self._waiting:
                raise StopIteration
            first = self._waiting.popleft()
            self._fill()
            return first.result()
        except BrokenExecutor:
            problem = f"a worker process died (out of memory?); {self._advice}"
            raise ProcessError(problem) from None
        finally:
            self.waited += time.perf_counter() - began

    def _fill(self) -> None:
        while len(self._waiting) < self._room:
            try:
                item = next(self._items)
            except StopIteration:
                return
            self._waiting.append(self._pool.submit(self._make, item))

    def __enter__(self) -> Ahead[Made_co]:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what was not taken and end the workers, after what they are at."""
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)


# --- in a worker process --------------------------------------------------------------------------

_opened: Callable[[], Callable[[Any], Any]]


def _processes(source: Source[Any, Any], workers: int) -> Executor:
    # Not forked: a fork of a process that has threads (torch, tokenizers) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (source.describe(),))
    with blocked(), _without_the_program(source):
        for _ in range(workers):  # each starts a process
            pool.submit(int)
    return pool


@contextmanager
def _without_the_program(source: object) -> Iterator[None]:
    """Processes that start in the block do not import the program that called, as they would:
    a script without `if __name__ == "__main__"` would start all over in each."""
    program = sys.modules["__main__"]
    if type(source).__module__.startswith("dprkit."):
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _begin(source: Callable[[], Callable[[Any], Any]]) -> None:
    """Make ready, without opening anything: here, an error would break the pool untold."""
    global _opened
    _opened = cache(source)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    leave_signals_to_parent()
    die_with_parent()  # one that is killed leaves its workers waiting for work that never comes


def _made(item: Any) -> Any:
    return _opened()(item)
