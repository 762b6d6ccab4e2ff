"""encode-corpus --num-processes: more processes of this host that share the work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from traceback import extract_tb
from typing import Any, TypeVar

from dprkit.cpu_cores import shared_among, thread_count
from dprkit.errors import DprkitError, ProcessError
from dprkit.interrupts import blocked, die_with_parent, leave_signals_to_parent
from dprkit.progress import Note

T = TypeVar("T")
Ready = Callable[[], object]
"""Called when a process is ready; it returns when all are."""


@contextmanager
def helpers(work: Callable[[], object], size: int, warn: Note) -> Iterator[None]:
    """`size` - 1 processes that do `work` beside this one, until the block ends.

    The work must be shared out by leases: one that dies then costs what it had begun, no more.
    `warn` is told of each that failed or died.
    """
    with _others(partial(_alone, work), size) as others:
        yield
        for other in others:
            if other.pipe.poll():  # it has ended
                try:
                    other.hear()
                except ProcessError as error:
                    warn(f"{error}; the other processes did its share")


def together(work: Callable[[Ready], T], size: int) -> list[T]:
    """What `work` gives in each of `size` processes, of which this is one.

    Raises ProcessError where another one fails or dies.
    """
    with _others(work, size) as others:

        def ready() -> None:
            for other in others:
                other.hear()
            for other in others:
                other.pipe.send("go")

        return [work(ready), *(other.hear() for other in others)]


@contextmanager
def _others(work: Callable[[Ready], object], size: int) -> Iterator[list[_Other]]:
    """The other processes, among which and this one the cores are divided; they end with it."""
    with shared_among(size) as threads:
        others = [_Other(work, rank, size) for rank in range(1, size)]
    try:
        _divide(0, size, threads)
        yield others
    finally:
        for other in others:
            other.end()


class _Other:
    """Another process, and a pipe on which it says (whether all is well, what)."""

    def __init__(self, work: Callable[[Ready], object], rank: int, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = f"process {rank + 1} of {size}"
        self.pipe, its = context.Pipe()
        self.process = context.Process(target=_run, args=(work, rank, size, its), daemon=True)
        with blocked():
            self.process.start()
        its.close()

    def hear(self) -> Any:
        """What it says next. Raises ProcessError where it failed, or is gone."""
        try:
            well, said = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode
            how = f"was killed by signal {-code}" if code and code < 0 else f"ended with {code}"
            raise ProcessError(f"{self.name} {how} (out of memory?)") from None
        if not well:
            raise ProcessError(f"{self.name}: {said}")
        return said

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _run(work: Callable[[Ready], object], rank: int, size: int, pipe: Any) -> None:
    """What another process does."""
    die_with_parent()
    leave_signals_to_parent()  # it ends this process

    def ready() -> None:
        pipe.send((True, None))
        pipe.recv()

    try:
        _divide(rank, size, thread_count())
        pipe.send((True, work(ready)))
    except Exception as error:  # whatever it is, the parent waits for an answer
        pipe.send((False, _in_a_line(error)))


def _in_a_line(error: Exception) -> str:
    """What went wrong in another process; of what no user can cause also where in the code."""
    if isinstance(error, DprkitError):
        return str(error)
    place = extract_tb(error.__traceback__)[-1]
    why = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {why} ({place.filename}:{place.lineno})"


def _alone(work: Callable[[], object], _: Ready) -> None:
    work()


def _divide(rank: int, size: int, threads: int) -> None:
    """Share the host's GPUs or cores out among `size` processes."""
    if size == 1:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())
    torch.set_num_threads(threads)
