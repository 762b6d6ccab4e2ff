"""More processes of this host that take their share of the same work."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dprkit.cores import shared_among, thread_count
from dprkit.errors import DprkitError
from dprkit.interrupts import die_with_parent, leave_signals_to_parent


@contextmanager
def helpers(work: Callable[[], object], size: int) -> Iterator[None]:
    """`size` - 1 processes that do `work` beside this one, until the block ends.

    The work must be shared out by leases: one that dies then costs what it had begun, no more.
    """
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_help, args=(work, rank, size), daemon=True)
        for rank in range(1, size)
    ]
    with shared_among(size) as threads:
        for process in others:
            process.start()
    _divide(0, size, threads)
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.join()


def _help(work: Callable[[], object], rank: int, size: int) -> None:
    die_with_parent()
    leave_signals_to_parent()  # it ends this process
    _divide(rank, size, thread_count())
    try:
        work()
    except DprkitError as error:
        sys.stderr.write(f"process {rank + 1} of {size}: {error}\n")


def _divide(rank: int, size: int, threads: int) -> None:
    """Share the host's GPUs or cores out among `size` processes."""
    if size == 1:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())
    torch.set_num_threads(threads)
