"""Every error a user of dprkit can cause, and the exit code each one ends with.

    DprkitError            1
    ├── SettingsError
    ├── InputError
    │   ├── FormatError
    │   └── DamagedError
    ├── OutputError
    ├── MismatchError
    ├── EmptyAnswer
    ├── DownloadError
    │   └── ChecksumError
    ├── DivergedError
    ├── MemoryShortage
    ├── ProcessError
    ├── MissingExtra
    ├── GateError          3
    └── LockedError        75

The other exit codes: 0 done, 2 bad usage (an unknown option), 70 a bug, which keeps its
traceback, 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM. A bug is never a DprkitError.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

EXIT_BUG = 70
EXIT_TERMINATED = 143


class DprkitError(Exception):
    """Base class. The message says what is wrong, where, and what to do next, in one line."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes, whatever their constructors take."""
        return _rebuilt, (type(self), str(self), self.__dict__)


def _rebuilt(kind: type[DprkitError], message: str, attributes: dict[str, Any]) -> DprkitError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(attributes)
    return error


class SettingsError(DprkitError):
    """An option, a --set or a recipe asks for something impossible."""


class InputError(DprkitError):
    """A file or folder is missing or cannot be read."""


class FormatError(InputError):
    """A file that breaks its format at a place one can go to.

    `where` is a line number (1-based) or, in a file that has no useful lines, "byte N".
    """

    def __init__(self, path: Path | str, where: int | str, problem: str) -> None:
        self.path, self.where, self.problem = str(path), where, problem
        super().__init__(f"{path}:{where}: {problem}")


class DamagedError(InputError):
    """An artifact is not what its manifest says, or its manifest is none."""


class OutputError(DprkitError):
    """A result cannot be written: no space, no permission."""


class MismatchError(DprkitError):
    """Things that do not belong together: another retriever, another corpus."""


class EmptyAnswer(DprkitError):
    """An answer without a token, which would match every passage."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        super().__init__(
            f"the answer {answer!r} has no letter, digit or sign and would match every passage; "
            "remove it"
        )


class DownloadError(DprkitError):
    """A server did not give the file that was asked for."""


class ChecksumError(DownloadError):
    """A server gave another file than a catalog or an earlier download knows."""


class DivergedError(DprkitError):
    """Training cannot go on: the loss is no number."""


class MemoryShortage(DprkitError):
    """The memory does not suffice for the work."""


class MissingExtra(DprkitError):
    """An optional library is needed and absent."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; run: pip install 'dprkit[{extra}]'")


def need_extra(extra: str, *modules: str) -> None:
    """Raises MissingExtra for the first of the extra's modules that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra(module, extra)


class ProcessError(DprkitError):
    """A process that works with others died."""


class GateError(DprkitError):
    """A comparison or a gate failed."""

    exit_code = 3


class LockedError(DprkitError):
    """Another run holds the output (cron may try again)."""

    exit_code = 75


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived.

    Like KeyboardInterrupt it is not an Exception: only the CLI's edge ends it.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known name most like `name`, or `""`."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn the operating system's refusals to read `path` into an InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: {_absence(path)}; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory; name a file in it") from None
    except NotADirectoryError:
        raise InputError(f"{path}: a part of this path is a file; check the path") from None
    except PermissionError:
        raise InputError(f"{path}: {UNREADABLE}") from None
    except OSError as error:
        raise InputError(f"{path}: {reason(error.errno) or error}; check the path") from None


UNREADABLE = "not readable; check its permissions"


def _absence(path: Path | str) -> str:
    """Why `path` was not found. safetensors says so of a file that it may not read, too."""
    if link := _dead_link(path):
        return link
    return "not readable" if os.path.isfile(path) else "no such file"


def _dead_link(path: Path | str) -> str:
    """The first part of `path` that is a link to nothing, in words, or `""`."""
    for part in (*reversed(Path(path).parents), Path(path)):
        if os.path.islink(part) and not os.path.exists(part):
            name = "" if part == Path(path) else f"{part} is "
            return f"{name}a link that leads nowhere ({os.readlink(part)})"
    return ""


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust panicked. Each has a type of its own for that, no Exception."""
    return type(error).__name__ == "PanicException"


@contextmanager
def loading(path: Path | str, problem: str) -> Iterator[None]:
    """Turn whatever a library raises while it loads a foreign thing into an InputError.

    What is loaded decides which error that is: an ImportError for a quantized model, a KeyError
    for a word that the library does not know. Only the library's call belongs inside.
    """
    try:
        yield
    except (DprkitError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = 2 if lines and lines[0].endswith(":") else 1
        why = " ".join(lines[:told])[:300] or type(error).__name__
        if isinstance(error, KeyError):
            why = f"{why} is unknown"
        raise InputError(f"{path}: {problem}: {why}") from None


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into an OutputError."""
    try:
        yield
    except (BrokenPipeError, DprkitError):
        raise
    except Exception as error:
        if (number := _refusal(error)) is None:
            raise
        named = error.filename if isinstance(error, OSError) else None
        if named and not _about(_absolute(os.fsdecode(named)), _absolute(path), number):
            raise  # it came up while something else was read
        raise OutputError(f"{path}: {_why_not_written(path, number)}") from None


def _why_not_written(path: Path | str, number: int) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the device; free some and run again"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "not writable; choose another output or fix its permissions"
    if number in (errno.EEXIST, errno.ENOTDIR):
        return f"{_dead_link(path) or 'a part of this path is a file'}; choose another output"
    what = "cannot be made there" if number == errno.ENOENT else reason(number)
    return f"{what}; choose another output"


def _refusal(error: Exception) -> int | None:
    """The operating system's number of an error. Libraries in Rust put it into their words."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def _about(named: Path, path: Path, number: int) -> bool:
    """Whether a refusal that names `named` is one to write `path`.

    It is where `named` is `path`, above it, below it, or beside it, as a temporary file is. What
    lies below or beside and is not there was to be read.
    """
    above = named in (path, *path.parents)
    if number == errno.ENOENT:
        return above
    return above or path in named.parents or path.parent == named.parent


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))


def reason(number: int | None) -> str:
    """The operating system's words for an error's number, or `""`."""
    if number == errno.ENOSPC:
        return "no space left on the device"
    return os.strerror(number).lower() if number else ""
