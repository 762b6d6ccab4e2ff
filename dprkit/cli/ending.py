"""How a command ends: the one place that turns errors and signals into exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dprkit.cli.display import say
from dprkit.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    DprkitError,
    Terminated,
)

SIGNALS = {
    signal.SIGINT: (KeyboardInterrupt, "Interrupted", EXIT_INTERRUPTED),
    signal.SIGTERM: (Terminated, "Terminated", EXIT_TERMINATED),
}


@contextmanager
def ending() -> Iterator[None]:
    """Run a command's body; whatever ends it becomes an exit code (see errors.py)."""
    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        raise SIGNALS[signal.Signals(number)][0]

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
    try:
        yield
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, Terminated) as error:
        # A library that is stopped while it is imported may make another error of the signal.
        _end(SIGNALS[signal.Signals(arrived[0])][0]() if arrived else error)
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(error: BaseException) -> None:
    for kind, word, code in SIGNALS.values():
        if isinstance(error, kind):
            say(f"{word}; run the same command again to go on.")
            sys.exit(code)
    if isinstance(error, DprkitError):
        say(f"Error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)
    if isinstance(error, BrokenPipeError):
        return _let_go_of_stdout()  # whoever read our output has had enough: a good end
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        say(f"Error: {error.filename or 'output'}: no space left on the device")
        sys.exit(DprkitError.exit_code)
    traceback.print_exception(error)
    say("This is a bug in dprkit; please report it with the lines above.")
    sys.exit(EXIT_BUG)


def _let_go_of_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
