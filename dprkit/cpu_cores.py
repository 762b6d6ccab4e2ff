"""The number of cores that this process may use, and how its threads share them with other work.

What counts, and it is the user's word: OMP_NUM_THREADS, which torch, FAISS, numpy's BLAS and all
threads of dprkit's own heed. It must be set before those libraries are loaded, so `settle` is the
first thing that the command does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

VARIABLE = "OMP_NUM_THREADS"
GIVEN = VARIABLE in os.environ
"""Whether the user, or the process that started this one, chose a number of threads."""
_GROUPS, _MEMBERSHIP = "/sys/fs/cgroup", "/proc/self/cgroup"


def settle() -> None:
    """Choose what the libraries' threads do where the user did not.

    A thread that waits for others soon sleeps: by default OpenMP's spin long, and what they spin
    for is the work of threads that have no core meanwhile. Sleeping at once would cost small models
    a tenth of their speed on a quiet machine (docs/performance.md, "Beside other work").
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if not GIVEN and cores() < _allowed():
        os.environ[VARIABLE] = str(cores())


def thread_count() -> int:
    """Threads for one piece of work: OMP_NUM_THREADS, else one for each of `cores`."""
    given = os.environ.get(VARIABLE, "").partition(",")[0].strip()
    return int(given) if given.isdigit() and int(given) else cores()


@contextmanager
def shared_among(size: int) -> Iterator[int]:
    """Processes started in the block get an even share of the cores; yields its threads.

    A number that the user chose is that of each process.
    """
    share = thread_count() if GIVEN else max(1, cores() // size)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(share)
    try:
        yield share
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def cores() -> int:
    """Cores that this process may use, by its affinity and the quota of its control group."""
    return min([_allowed(), *_quotas()])


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """How many cores' time, rounded up, the control groups of this process grant, where they say.

    Version 2 has "200000 100000" (microseconds of each period) or "max 100000", version 1 has two
    files and -1.
    """
    for folder in _group_folders():
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with suppress(OSError, ValueError):
                quota, period = " ".join(_text(f"{folder}/{name}") for name in names).split()
                if int(quota) > 0:
                    yield -(-int(quota) // int(period))


def _group_folders() -> Iterator[str]:
    """The folders of the control groups that this process is in, and of those above them.

    Lines are `0::/path` (version 2) or `4:cpu,cpuacct:/path`. In a container the path may be the
    host's, which is not there; the topmost folder is then the container's own.
    """
    lines: list[str] = []
    with suppress(OSError):
        lines = _text(_MEMBERSHIP).splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            base = f"{_GROUPS}/{controllers}"
            names = [name for name in path.split("/") if name]
            yield from ("/".join([base, *names[:depth]]) for depth in range(len(names) + 1))


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
