"""The examples of a training file, read and decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.data.examples import example_keys, parse_example
from dprkit.data.json_rows import read_json_rows
from dprkit.data.row_index import FIELDS, IndexedFile, RowKind
from dprkit.data.streams import Place, RawRow, Stream
from dprkit.errors import InputError
from dprkit.progress import Note, silent
from dprkit.records import Example, Passage

if TYPE_CHECKING:
    import numpy as np

NAMED = 5
"""Places named in a message about rows that are left out."""


class ExampleFile(Sequence[Example]):
    """The rows of a training file that have a positive, numbered from 0.

    A positive without text is none. Memory is 36 bytes a row: see data/row_index.py.
    """

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Raises what RowFile raises, and InputError where no row has a positive."""
        import numpy as np

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
        """(N,) uint64: equal where the first positives are (data.examples.example_keys)."""
        return self._file.keys[self._rows]

    @property
    def questions(self) -> np.ndarray:
        """(N,) uint64: equal where the questions are (records.same_question)."""
        return self._file.questions[self._rows]

    def key(self, index: int) -> int:
        return int(self._file.keys[self._rows[index]])

    def where(self, index: int) -> str:
        """The place of an example for a message: `train.jsonl:17`, `train.json:byte 1024`."""
        return self._place(int(self._rows[index]))

    def _place(self, row: int) -> str:
        return f"{Path(self.path).name}:{self._file.where(row)}"


def _has_text(passage: Passage) -> bool:
    return bool(passage.text.strip())


# --- rows as they lie ----------------------------------------------------------------------------


def _example_rows(stream: Stream) -> Iterator[tuple[Place, int, int]]:
    for row in read_json_rows(stream):
        line = row.where if isinstance(row.where, int) else 0
        yield Place(row.start, len(row.raw), line), *example_keys(row, stream.path)


EXAMPLES = RowKind("examples", _example_rows, fields=[*FIELDS, ("question", "<u8")])


class RowFile:
    """The rows of a DPR examples file, read when they are asked for. Memory is 32 bytes a row."""

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Open `path`, making its index if there is none; `note` is told what takes long.

        Raises InputError for what cannot be read at random (a pipe) and FormatError, with line
        or byte, for the first row that is no example.
        """
        self._file = IndexedFile(path, EXAMPLES, note)
        self.path, self.sha256 = self._file.path, self._file.sha256
        self._table: np.ndarray = self._file.table[:]
        self.keys: np.ndarray = self._table["key"]
        """(N,) uint64, of `example_keys`: equal where first positives are; 0: none has a text."""
        self.questions: np.ndarray = self._table["question"]
        """(N,) uint64, of `example_keys`: equal where questions are."""

    def __len__(self) -> int:
        return len(self._table)

    def row(self, i: int) -> RawRow:
        """RawRow `i`, counted from 0. Raises InputError where the file is not what was indexed."""
        start, length, *_ = self._table[i].item()
        return RawRow(self._file.read(start, length), self.where(i), start)

    def where(self, i: int) -> int | str:
        """The place of row `i` for a message: its line, or "byte N" in an array."""
        start, _, line, *_ = self._table[i].item()
        return int(line) or f"byte {start}"
