"""Blocks of a page as they get full: compressed by two threads, kept in a file till it is made.

The page begins with what is known only at the end: counts of texts, and how many blocks there are.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from dprkit.errors import writing
from dprkit.report.blocks import block, json_bytes, plain_block

THREADS = 2
_WAITING = 16
"""Blocks that wait to be compressed; each is some 100 kB."""


class Spool:
    """Blocks in the order in which they came. Memory is that of a few blocks."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.bytes = 0
        """Of the blocks that are in the file."""
        with writing(folder or tempfile.gettempdir()):
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._threads = ThreadPoolExecutor(THREADS)
        self._waiting: deque[Future[bytes]] = deque()

    def add(self, id_: str, data: bytes, compressed: bool = False) -> None:
        """Take what a block will hold, and compress it if it is not yet."""
        self._waiting.append(self._threads.submit(plain_block if compressed else block, id_, data))
        self._write(_WAITING)

    def add_json(self, id_: str, value: Any) -> None:
        """Take what a block of JSON will hold."""
        self.add(id_, json_bytes(value))

    def write_to(self, file: IO[bytes]) -> None:
        """Write all blocks to `file`."""
        self._write(0)
        self._file.seek(0)
        shutil.copyfileobj(self._file, file, 1 << 20)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._file.close()

    def _write(self, left: int) -> None:
        while len(self._waiting) > left:
            self.bytes += self._file.write(self._waiting.popleft().result())


class Blocks:
    """Values that fill blocks of a size: r0, r1, r2 …"""

    def __init__(self, prefix: str, size: int, add: Callable[[str, Any], None]) -> None:
        self.prefix, self.size, self._add = prefix, size, add
        self._open: list[Any] = []
        self.count = 0
        """Of values, in whole blocks and the one that is being filled."""

    def append(self, value: Any) -> int:
        """The number of the value."""
        self._open.append(value)
        self.count += 1
        if len(self._open) == self.size:
            self._flush()
        return self.count - 1

    def finish(self) -> int:
        """The number of blocks."""
        if self._open:
            self._flush()
        return -(-self.count // self.size)

    def _flush(self) -> None:
        self._add(f"{self.prefix}{(self.count - 1) // self.size}", self._open)
        self._open = []
