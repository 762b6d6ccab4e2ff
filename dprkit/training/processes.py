"""The processes that train together: how they talk, and how they are started.

A process belongs to a group where torchrun, accelerate launch or `launch` below says so through
torch's environment variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from dprkit.cpu_cores import shared_among
from dprkit.errors import EXIT_TERMINATED, DprkitError, ProcessError, Terminated
from dprkit.interrupts import blocked, die_with_parent, leave_signals_to_parent
from dprkit.progress import SILENT, Progress, Run

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a process waits for another that lives: rank 0 may be saving. A dead one is noticed."""


@dataclass(frozen=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and tells the user."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor`, of any shape, summed over the processes, in place."""
        if self.size > 1:
            import torch.distributed as dist

            with _together():
                dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the `.grad` of each parameter over the processes; a missing one counts as 0."""
        if self.size == 1:
            return
        import torch

        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's `tensors`, in place."""
        if self.size > 1:
            import torch.distributed as dist

            with _together():
                for tensor in tensors:
                    dist.broadcast(tensor.data, 0)

    def agree(self, value: T) -> T:
        """The first process's `value`, on every process."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box: list[Any] = [value]
        with _together():
            dist.broadcast_object_list(box, 0)
        return cast(T, box[0])


ALONE = Group()


def joined() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> Group:
    """The group that the environment describes. Its first process may be on another machine."""
    if not joined():
        return ALONE
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        with _together():
            dist.init_process_group(backend, timeout=PATIENCE)
    return Group(dist.get_rank(), dist.get_world_size())


def leave(code: int) -> NoReturn:
    """End a process that was one of a group, without what the interpreter does at its end.

    A thread of gloo's may let go of a tensor only then, and without an interpreter that aborts a
    process which has done all its work (pytorch PR 179291). Destroying the process group does not
    help: other references keep its threads.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def code_of(end: SystemExit) -> int:
    """The exit code that the interpreter would give; a text that it would print counts as 1."""
    return end.code if isinstance(end.code, int) else int(end.code is not None)


@contextmanager
def _together() -> Iterator[None]:
    """Turn what the backend says of a process that is gone into a ProcessError."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if not any(sign in text for sign in ("gloo", "nccl", "connection", "socket", "timed out")):
            raise
        raise ProcessError(
            "another process of the group has ended; what was saved is kept: "
            "run the same command again to go on"
        ) from None


# --- starting them ------------------------------------------------------------------------------

GRACE = 40.0
"""Seconds that the first process has to save when another has died, or a signal came."""


class Messenger(Progress):
    """Sends what the first process tells to the one that started it."""

    def __init__(self, pipe: Connection) -> None:
        def send(kind: str, *content: Any) -> None:
            pipe.send((kind, content))

        for name in ("note", "warn", "start", "advance", "finish"):
            setattr(self, name, partial(send, name))


def launch(stage: Callable[[Any, Run], T], settings: Any, run: Run, size: int) -> T:
    """`stage(settings, run)` on `size` processes of this machine; the report of the first.

    `stage` is a module's function. It finds its group by `join`. Raises what the first process
    raises, or ProcessError when one dies; then, and on a signal, all have ended.
    """
    context = multiprocessing.get_context("spawn")
    pipe, far = context.Pipe()
    port = _free_port()
    quiet = replace(run, progress=SILENT)  # a display cannot be sent to another process
    ranks = [
        context.Process(target=_rank, args=(stage, settings, quiet, rank, size, port, far))
        for rank in range(size)
    ]
    try:
        with shared_among(size), blocked():
            for process in ranks:
                process.start()
        far.close()
        return cast(T, _attend(ranks, pipe, run.progress))
    except BaseException:  # Ctrl-C too: no rank may outlive its parent
        if ranks[0].pid is not None:
            ranks[0].terminate()
            _drain(ranks[0], pipe)
        raise
    finally:
        for process in ranks:
            if process.pid is not None:
                process.kill()
                process.join()


def _attend(ranks: list[SpawnProcess], pipe: Connection, progress: Progress) -> Any:
    """Pass on what the first process tells until it gives its report or an error.

    When another one ends, the first gets GRACE to save and to say what it knows of the cause.
    """
    sentinels = {process.sentinel: rank for rank, process in enumerate(ranks)}
    obituary, end = "", math.inf
    while time.monotonic() < end and (pipe or sentinels):
        ready = wait([pipe, *sentinels], 1)
        if pipe in ready:
            kind, content = _receive(pipe)
            if kind == "report":
                return content
            if kind == "error":
                raise _cause(content, obituary or _other_death(ranks))
            if kind == "closed":
                break
            getattr(progress, kind)(*content)
            continue
        for sentinel in [s for s in sentinels if s in ready]:
            rank = sentinels.pop(sentinel)
            code = ranks[rank].exitcode
            if code and not obituary:
                obituary, end = _obituary(rank, len(ranks), code), time.monotonic() + GRACE
            if rank == 0:
                end = time.monotonic()
    ranks[0].join(1)
    raise ProcessError(obituary or _obituary(0, len(ranks), ranks[0].exitcode))


def _cause(error: DprkitError, obituary: str) -> DprkitError:
    """The error of the first process, unless all it knows is that another one is gone."""
    return ProcessError(obituary) if obituary and isinstance(error, ProcessError) else error


def _other_death(ranks: list[SpawnProcess]) -> str:
    """The obituary of a process other than the first that has died or is about to, or `""`."""
    for rank, process in enumerate(ranks[1:], start=1):
        process.join(1)
        if process.exitcode:
            return _obituary(rank, len(ranks), process.exitcode)
    return ""


def _receive(pipe: Connection) -> tuple[str, Any]:
    try:
        kind, content = pipe.recv()
        return kind, content
    except (EOFError, ConnectionError):
        return "closed", None


def _drain(process: SpawnProcess, pipe: Connection) -> None:
    """Let the first process save: read on, so that it cannot block on its messages."""
    end = time.monotonic() + GRACE
    while process.is_alive() and time.monotonic() < end:
        if not (pipe.poll(0.1) and _receive(pipe)[0] != "closed"):
            time.sleep(0.05)


def _obituary(rank: int, size: int, code: int | None) -> str:
    how = f"was killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
    return (
        f"process {rank + 1} of {size} {how} (out of memory?); "
        "what was saved is kept: run the same command again to go on"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rank(*task: Any) -> None:
    try:
        _take_part(*task)
    except SystemExit as end:
        leave(code_of(end))
    except BaseException:  # whatever it was, the process ends by `leave`, or gloo may abort it
        if _stopped:  # a library may make another error of the signal
            leave(EXIT_TERMINATED)
        traceback.print_exc()
        leave(1)
    leave(0)


def _take_part(
    stage: Callable[[Any, Run], Any],
    settings: Any,
    run: Run,
    rank: int,
    size: int,
    port: int,
    pipe: Connection,
) -> None:
    """One process of the group; the first one talks to the parent."""
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if rank else _leave_at_once)
    leave_signals_to_parent()  # it sends SIGTERM
    # The parent tells of processes that are gone; torch would warn of each broken connection.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch.distributed  # noqa: F401  (its C++ aborts the process on an exception of a handler)

    if rank == 0:
        signal.signal(signal.SIGTERM, _terminated)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if rank:
        pipe.close()
    if rank == 0:
        run = replace(run, progress=Messenger(pipe))
    try:
        answer = ("report", stage(settings, run))
    except DprkitError as error:
        if rank:
            if not isinstance(error, ProcessError):  # else the parent knows which one has ended
                sys.stderr.write(f"process {rank + 1}: {error}\n")
            raise SystemExit(error.exit_code) from None
        answer = ("error", error)
    except Terminated:
        raise SystemExit(EXIT_TERMINATED) from None
    if rank == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all is saved; only the answer is left
        pipe.send(answer)


_stopped: list[int] = []
"""The signal that this process was sent, if any."""


def _leave_at_once(number: int, frame: object) -> None:
    leave(EXIT_TERMINATED)  # nothing to save yet


def _terminated(number: int, frame: object) -> None:
    _stopped.append(number)
    raise Terminated
