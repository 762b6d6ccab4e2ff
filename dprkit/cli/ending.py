"""How a command ends: the one place that turns errors and signals into exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dprkit.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    DprkitError,
    Terminated,
)


@contextmanager
def ending() -> Iterator[None]:
    """Run a command's body; whatever ends it becomes an exit code (see errors.py)."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
        sys.stdout.flush()
    except DprkitError as error:
        _say(f"Error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _let_go_of_stdout()  # whoever read our output has had enough: a good end
    except KeyboardInterrupt:
        _say("Interrupted; run the same command again to go on.")
        sys.exit(EXIT_INTERRUPTED)
    except Terminated:
        _say("Terminated; run the same command again to go on.")
        sys.exit(EXIT_TERMINATED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _bug()
        _say(f"Error: {error.filename or 'output'}: no space left on the device")
        sys.exit(DprkitError.exit_code)
    except Exception:
        _bug()
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _bug() -> None:
    traceback.print_exc()
    _say("This is a bug in dprkit; please report it with the lines above.")
    sys.exit(EXIT_BUG)


def _say(line: str) -> None:
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody can be told; the exit code still tells


def _let_go_of_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
