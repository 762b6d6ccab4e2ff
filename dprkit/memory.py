"""The memory of this process: its peak, errors that mean too little memory, room for libraries."""

from __future__ import annotations

import ctypes
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from dprkit.cpu_cores import thread_count
from dprkit.errors import MemoryShortage

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of mallopt: bytes at the top that are given back, bytes of a block with pages of its own."""
_MOST = (1 << 31) - 1
_SHORT = (
    "allocate memory",  # torch, the operating system
    "out of memory",  # CUDA
    "bad_alloc",  # FAISS
    "failed to map segment",  # the loader of shared libraries
    "start new thread",
    "resource temporarily unavailable",  # threads, of a library in Rust
)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory did not suffice: libraries have no common type for it."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SHORT)


def status_bytes(name: str) -> int:
    """Bytes that Linux says this process holds (VmRSS) or ever held (VmHWM); elsewhere 0."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    line = next((one for one in lines.splitlines() if one.startswith(f"{name}:")), "0 0")
    return int(line.split()[1]) * 1024


def peak_bytes() -> int:
    """The most memory that this process has held.

    What getrusage calls its peak may be that of the process that started it: the kernel keeps the
    figure through fork and exec.
    """
    return status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak() -> None:
    """Let `peak_bytes` begin anew from what is held now, where Linux allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available_bytes() -> int:
    """Memory that can still be taken on this machine, within its control group."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    limit, used = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
    if limit.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


@contextmanager
def keeping_freed() -> Iterator[None]:
    """Have the C library keep what the block frees, and give it back at the end (glibc).

    Else large tensors are pages of zeros from the kernel each time: an eighth of a training step.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _MOST)
    libc.mallopt(_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)  # what glibc comes to by itself
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)


# --- limits that are too low --------------------------------------------------------------------

NEEDS = {"numpy": 130 << 20, "scipy": 130 << 20, "faiss": 350 << 20, "torch": 1300 << 20}
"""Bytes of addresses that a library takes at the least; torch with transformers behind it."""


@contextmanager
def room_for_libraries() -> Iterator[None]:
    """Raise MemoryShortage where the block imports a library for which there is no room.

    Below that the loader, Python and libraries in C++ and Rust fail each in a way of its own:
    some end the process at once, and OpenBLAS sends it a SIGINT.
    """
    finder = _Room()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Room(MetaPathFinder):
    """Finds no module: it is asked for each that is imported."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name not in NEEDS:
            return
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY and limit - status_bytes("VmSize") < NEEDS[name]:
            raise MemoryShortage(
                f"the limit on this process's memory is {limit >> 20} MB (ulimit -v), too low for "
                f"{name}; raise it to 2,000 MB or more"
            )
        if not _can_start(thread_count() - 1):  # this one is there already
            raise MemoryShortage(
                f"the system lets this process start no more threads, which {name} needs; raise "
                "the limit (ulimit -u) or set OMP_NUM_THREADS=1"
            )


def _can_start(count: int) -> bool:
    """Whether `count` threads can live at a time; trying costs 50 microseconds each."""
    end, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
        return True
    except RuntimeError:  # "can't start new thread"
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
