"""Batches made ahead of the device, in the background or by worker processes.

    workers 0    one thread; the tokenizer lets go of the interpreter while it works
    workers n    n processes, each of which opens the files itself and imports no torch

What comes out is the same: a batch is a pure function of its step. Worker processes end when
their parent does, however that ends; one that dies ends the run at once.
"""

from __future__ import annotations

import multiprocessing
import os
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
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from dprkit.errors import ProcessError
from dprkit.interrupts import die_with_parent, leave_signals_to_parent
from dprkit.models.tokens import Ids

T_co = TypeVar("T_co", covariant=True)


class Batch(NamedTuple):
    """The batch of an optimizer step, ready for the model."""

    step: int
    sides: tuple[Ids, ...]
    """The token ids of the texts of each side, such as questions and passages; long texts last."""
    targets: dict[str, np.ndarray]
    """What the objective is told by name beside the rows of each side."""
    places: list[str]
    """Where each question comes from, for messages: `train.jsonl:17`."""


class Source(Protocol[T_co]):
    """What makes the batch of a step: a pure function of the step."""

    def __call__(self, step: int, /) -> T_co: ...

    def describe(self) -> Callable[[], Callable[[int], T_co]]:
        """What makes the same source again in another process: a function that pickles."""


class Feed(Iterator[T_co]):
    """Iterates over the batches of steps begin, ..., end - 1, in order, made ahead.

    To be used in a `with` block, whose end stops the workers. `next` raises what making the batch
    raised, and ProcessError at once when a worker process died.
    """

    def __init__(
        self, source: Source[T_co], begin: int, end: int, workers: int = 0, ahead: int = 3
    ) -> None:
        """`ahead`: how many batches may lie ready, besides one in the making for each worker."""
        self._steps = iter(range(begin, end))
        self._room = max(workers, 1) + ahead
        self._waiting: deque[Future[T_co]] = deque()
        self._make: Callable[[int], T_co] = _made if workers else source
        self._pool = _processes(source.describe(), workers) if workers else ThreadPoolExecutor(1)
        self.waited = 0.0
        """Seconds that `next` has waited for batches."""
        self._fill()

    def __next__(self) -> T_co:
        began = time.perf_counter()
        try:
            if not self._waiting:
                raise StopIteration
            first = self._waiting.popleft()
            self._fill()
            return first.result()
        except BrokenExecutor:
            raise ProcessError(
                "a worker process died (out of memory?); lower --num-workers"
            ) from None
        finally:
            self.waited += time.perf_counter() - began

    def _fill(self) -> None:
        while len(self._waiting) < self._room and (step := next(self._steps, None)) is not None:
            self._waiting.append(self._pool.submit(self._make, step))

    def __enter__(self) -> Feed[T_co]:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the batches that were not taken and end the workers, after what they are at."""
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)


# --- in a worker process --------------------------------------------------------------------------

_opened: Callable[[], Callable[[int], Any]]


def _processes(source: Callable[[], Callable[[int], Any]], workers: int) -> Executor:
    # Not forked: a fork of a process that has threads (torch, tokenizers) may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _begin, (source,))


def _begin(source: Callable[[], Callable[[int], Any]]) -> None:
    """Make ready, without opening anything: here, an error would break the pool untold."""
    global _opened
    _opened = cache(source)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    leave_signals_to_parent()
    die_with_parent()  # one that is killed leaves its workers waiting for work that never comes


def _made(step: int) -> Any:
    return _opened()(step)
