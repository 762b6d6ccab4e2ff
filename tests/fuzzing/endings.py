"""How a command may end on a malformed input."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path


def is_line(message: str) -> bool:
    return bool(message.strip()) and len(message) < 1000


def wrong_end(code: int, stdout: str, stderr: str, out: Path) -> str:
    """What is wrong with how a command ended; `""`: it did its work, or refused in one line."""
    if "Traceback" in stdout + stderr or code not in (0, 1, 3):
        return f"exit code {code}: {stderr[-600:]}"
    if code == 0:
        return ""
    lines = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    if len(lines) != 1 or not is_line(lines[0]):
        return f"a refusal that is not one line: {stderr[-600:]!r}"
    if out.exists():
        return f"refused ({lines[0]}), and yet {out.name} is there"
    return ""


def remove(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True) if out.is_dir() else out.unlink(missing_ok=True)


def told(faults: Iterable[str]) -> None:
    faults = list(faults)
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:40])
