"""Errors of the system and of libraries in one line: too little memory, files, broken packages."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from dprkit.errors import is_panic, reason
from dprkit.memory import ran_out


def foreign(error: BaseException) -> str:
    """What is wrong outside of dprkit, in a line, or `""` where `error` is a bug.

    What reads and writes files names them itself (errors.reading, errors.writing); this is for
    what comes up elsewhere.
    """
    for cause in _causes(error):
        if ran_out(cause):
            detail = (str(cause).strip() or "MemoryError").splitlines()[-1]
            return f"out of memory ({detail}); close other programs or raise the limit"
    if isinstance(error, OSError):
        if error.filename or error.errno == errno.ENOSPC:
            return f"{error.filename or 'output'}: {reason(error.errno) or error}"
        return error.strerror or str(error)
    if is_panic(error):
        return f"a library failed ({error}); its input may be damaged"
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        name = error.object.encode(errors="backslashreplace").decode()
        return f"{name}: not UTF-8; rename it"
    if isinstance(error, ImportError) and not (error.name or "").startswith("dprkit"):
        return f"{error.name or 'a library'} cannot be imported ({error}); install it again"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
