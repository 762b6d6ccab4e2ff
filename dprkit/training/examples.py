"""The examples of a training file, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from dprkit.data.formats import parse_example
from dprkit.data.rows import Note, RowFile, silent
from dprkit.errors import InputError
from dprkit.records import Example, Passage

NAMED = 5
"""Places named in a message about rows that are left out."""


class ExampleFile(Sequence[Example]):
    """The rows of a training file that have a positive, numbered from 0.

    A positive without text is none. Memory is 28 bytes a row: see data/rows.py.
    """

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Raises what RowFile raises, and InputError where no row has a positive."""
        self.path = path
        self._file = RowFile(path, note)
        self.sha256 = self._file.sha256
        self._rows = np.flatnonzero(self._file.keys).astype(np.uint32)
        dropped = np.flatnonzero(self._file.keys == 0)
        self.dropped = len(dropped)
        """How many rows have no positive and are left out."""
        self.dropped_where = [self._place(row) for row in dropped[:NAMED].tolist()]
        if not len(self):
            raise InputError(
                f"{path}: no row has a question with a positive; nothing to learn from"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        example = parse_example(self._file.row(int(self._rows[index])), self.path)
        if all(map(_has_text, example.positives)):
            return example
        return msgspec.structs.replace(
            example, positives=tuple(filter(_has_text, example.positives))
        )

    @property
    def keys(self) -> np.ndarray:
        """(N,) uint64: equal where the first positives are (data.formats.example_key)."""
        return self._file.keys[self._rows]

    def key(self, index: int) -> int:
        return int(self._file.keys[self._rows[index]])

    def where(self, index: int) -> str:
        """The place of an example for a message: `train.jsonl:17`, `train.json:byte 1024`."""
        return self._place(int(self._rows[index]))

    def _place(self, row: int) -> str:
        return f"{Path(self.path).name}:{self._file.where(row)}"


def _has_text(passage: Passage) -> bool:
    return bool(passage.text.strip())
