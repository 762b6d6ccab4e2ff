"""Whether the disk has room for what is to be written."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.filesize import decimal

from dprkit.errors import OutputError


def check_room(path: Path, needed: int) -> None:
    """Raise OutputError where fewer than `needed` bytes are free where `path` is or will be."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise OutputError(
            f"{path}: needs {decimal(needed)} and {decimal(free)} are free there; "
            "free some, or choose another --output-dir"
        )
