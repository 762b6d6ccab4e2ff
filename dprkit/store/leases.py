"""Leases: which process works on which part, among processes and hosts that share only a folder.

A lease is a file NAME.held with its holder's host, process and start, whose time of change is the
holder's last sign of life. It is taken and given back while the folder is locked. A lease is dead
when its process is gone (seen at once on the same host) or gave no sign for LIFETIME.

A lease is no lock, and filelock is no substitute for it: a lock is held by an open file for as long
as one decides something, and one that a lost host held stays until a file server gives it up. A
lease lasts as long as the work, others can read whose it is, and it ends by itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from uuid import uuid4

import msgspec

LIFETIME = 60.0
"""Seconds without a sign of life after which a lease is dead."""
BEAT = 5.0
HELD = ".held"


class Holder(msgspec.Struct, frozen=True):
    host: str
    table: str
    """The process table that `pid` is of: two containers may call themselves the same host."""
    pid: int
    started: str
    """When the process was started, as the kernel counts: a number is given to many processes."""


def _me() -> Holder:
    return Holder(socket.gethostname(), _table(), os.getpid(), _start_of(os.getpid()))


def _table() -> str:
    """What tells this process table from all others ("": the system does not tell)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """When a process of this host was started ("": there is none, or the system does not tell)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]


class Lease:
    """A lease that this process holds, kept alive by a thread until `give_back`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(msgspec.json.encode(_me()))
        self._ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def give_back(self) -> None:
        """End the lease, unless it was taken over as dead."""
        self._ended.set()
        if holder(self.path) == _me():
            self.path.unlink(missing_ok=True)


def take(folder: Path, name: str) -> Lease | None:
    """The lease `name`, or None while somebody else who is alive has it. Lock the folder first."""
    path = folder / f"{name}{HELD}"
    return None if _lives(path) else Lease(path)


def any_alive(folder: Path) -> bool:
    """Whether anybody is at work in `folder`. Lock it first."""
    return any(_lives(path) for path in folder.glob(f"*{HELD}"))


def holder(path: Path) -> Holder | None:
    """Who has the lease at `path`; None: nobody, or a file that was cut short."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _lives(path: Path) -> bool:
    who = holder(path)
    if who is None:
        return False
    here = (who.host, who.table) == (socket.gethostname(), _table())
    if here and _start_of(who.pid) != who.started:
        return False
    try:
        return _now(path.parent) - path.stat().st_mtime < LIFETIME
    except FileNotFoundError:
        return False


def _now(folder: Path) -> float:
    """The time as the folder's file system has it, which may lie on another host."""
    probe = folder / f".now-{uuid4().hex}"
    probe.write_bytes(b"")
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
