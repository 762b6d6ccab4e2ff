"""How a command ends: errors and signals become a message and an exit code here, and only here."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from dprkit.cli import render
from dprkit.cli.display import say
from dprkit.cli.foreign_errors import foreign
from dprkit.errors import EXIT_BUG, DprkitError, Terminated
from dprkit.memory import room_for_libraries

SIGNALS: dict[int, tuple[type[BaseException], str]] = {
    signal.SIGINT: (KeyboardInterrupt, "Interrupted"),
    signal.SIGTERM: (Terminated, "Terminated"),
    signal.SIGHUP: (Terminated, "Hung up"),
}


@dataclass
class Ending:
    """What the last words of a command that fails or is stopped depend on."""

    as_json: bool
    """Print `report` with the error on stdout, as one JSON object, where something was done."""
    restart: bool
    """The command was given --restart, so the same command would not go on."""
    resumes: Callable[[], bool] = lambda: False
    """Whether a later run would go on where this one was stopped."""
    report: dict[str, Any] = field(default_factory=dict)
    """What was done before the error: the stages of `run`, the checks of `info`."""
    begin: float = field(default_factory=time.perf_counter)

    def print_json(self, report: Mapping[str, Any]) -> None:
        """Print a report on stdout, with the time and memory that the command took."""
        render.as_json(render.json_of(report, time.perf_counter() - self.begin))


@contextmanager
def ending(as_json: bool = False, restart: bool = False) -> Iterator[Ending]:
    """Run a command's body; whatever ends it becomes an exit code (see errors.py)."""
    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        raise SIGNALS[number][0]

    # A signal that is ignored from the start, as after nohup or &, stays ignored.
    heeded = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    told = sys.unraisablehook

    def again(lost: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised in a callback of a weak reference: send the signal again."""
        if isinstance(lost.exc_value, (KeyboardInterrupt, Terminated)) and arrived:
            threading.Timer(0.05, os.kill, (os.getpid(), arrived[-1])).start()
        else:
            told(lost)

    sys.unraisablehook = again
    end = Ending(as_json, restart)
    try:
        with room_for_libraries():
            yield end
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:  # a signal, or a panic of a library in Rust, is no Exception
        # A library that is stopped while it is imported may make another error of the signal.
        _end(end, SIGNALS[arrived[0]][0]() if arrived else error, arrived)
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(end: Ending, error: BaseException, arrived: list[int]) -> None:
    """Tell what ended the command, and exit."""
    if isinstance(error, BrokenPipeError):
        return let_go_of_stdout()  # whoever read our output has had enough: a good end
    problem, code = str(error), DprkitError.exit_code
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        raised = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        number = arrived[0] if arrived else raised
        problem, code = SIGNALS[number][1] + _how_to_go_on(end), 128 + number
    elif isinstance(error, DprkitError):
        problem, code = f"Error: {_line(problem)}", error.exit_code
    elif named := foreign(error):
        problem = f"Error: {_line(named)}"
        _let_go_if_full()
    else:
        traceback.print_exception(error)
        problem, code = "This is a bug in dprkit; please report it with the lines above.", EXIT_BUG
    say(problem)
    if end.as_json and end.report:
        told = {**end.report, "error": problem.removeprefix("Error: "), "exit_code": code}
        with suppress(OSError):
            end.print_json(told)
            sys.stdout.flush()
    sys.exit(code)


def _line(problem: str) -> str:
    """A problem in one line; a word that no reader needs whole, such as a value, is cut."""
    words = (word if len(word) <= 300 else f"{word[:200]}…" for word in problem.split())
    return " ".join(words)


def _how_to_go_on(end: Ending) -> str:
    with suppress(DprkitError):
        if end.resumes():
            same = "the same command without --restart" if end.restart else "the same command again"
            return f"; run {same} to go on."
    return "."


def _let_go_if_full() -> None:
    """What a full stdout did not take would fail again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        let_go_of_stdout()


def let_go_of_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
