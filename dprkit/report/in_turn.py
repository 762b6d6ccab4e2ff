"""Rankings of a file in the order in which they are asked for.

Where the file has them in that order they are read one by one. Those that come before their turn
wait in a file without a name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from dprkit.records import Ranking


class InTurn:
    """The rankings of a file, asked for by the ids of their questions in any order, each once."""

    def __init__(self, rankings: Iterator[Ranking], folder: Path | None = None) -> None:
        self._rankings, self._folder = rankings, folder
        self._early: dict[str, tuple[int, int]] = {}
        """Question -> where its ranking waits in the file, and how long it is."""
        self._file: IO[bytes] | None = None

    def of(self, question: str) -> Ranking | None:
        """The ranking of a question; None: there is none."""
        if question in self._early and self._file:
            offset, size = self._early.pop(question)
            self._file.seek(offset)
            return msgspec.msgpack.decode(self._file.read(size), type=Ranking)
        for ranking in self._rankings:
            if ranking.question.id == question:
                return ranking
            self._keep(ranking)
        return None

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _keep(self, ranking: Ranking) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        offset, data = self._file.seek(0, 2), msgspec.msgpack.encode(ranking)
        self._file.write(data)
        self._early[ranking.question.id] = offset, len(data)
