"""Random access to the examples of a training file, each decoded when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.data.examples import example_keys, parse_example
from dprkit.data.folds import Fold
from dprkit.data.json_rows import read_json_rows
from dprkit.data.row_index import FIELDS, IndexedFile, RowKind
from dprkit.data.streams import Place, Stream
from dprkit.errors import InputError
from dprkit.progress import Note, silent
from dprkit.records import Example, Passage

if TYPE_CHECKING:
    import numpy as np

NAMED = 5
"""Places named in a message about rows that are left out."""


class ExampleFile(Sequence[Example]):
    """The rows of a training file that have a positive, numbered from 0.

    A positive without text is none. Rows of a fold that is left out are as if not there.
    Memory is 36 bytes a row: see data/row_index.py.
    """

    def __init__(
        self, path: Path | str, note: Note = silent, leave_out: Fold | None = None
    ) -> None:
        """Raises what IndexedFile raises, and InputError where no row has a positive."""
        import numpy as np

        self.path = path
        self._file = IndexedFile(path, EXAMPLES, note)
        self._file.table = self._table = self._file.table[:]
        self.sha256 = self._file.sha256
        has_positive = self._table["key"] != 0
        kept = np.ones(len(self._table), bool)
        if leave_out:
            kept = ~leave_out.holds(self._table["question"])
        self.leave_out, self.left_out = leave_out, int(np.count_nonzero(has_positive & ~kept))
        """The fold that is left out, and how many rows with a positive are of it."""
        self._rows = np.flatnonzero(has_positive & kept).astype(np.uint32)
        dropped = np.flatnonzero(~has_positive & kept)
        self.dropped = len(dropped)
        """How many rows have no positive and are left out."""
        self.dropped_where = [self._place(row) for row in dropped[:NAMED].tolist()]
        if not len(self) and self.left_out:
            raise InputError(
                f"{path}: all {self.left_out} rows with a positive are of fold {leave_out}, which "
                "is left out; name a file with more questions, or leave --leave-out out"
            )
        if not len(self):
            raise InputError(
                f"{path}: no row has a question with a positive; name a file with positive passages"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        return self.with_raw(index)[0]

    def with_raw(self, index: int) -> tuple[Example, bytes]:
        """An example, and its row as it lies in the file."""
        row = self._file.row(int(self._rows[index]))
        example = parse_example(row, self.path)
        positives = tuple(filter(_has_text, example.positives))
        return msgspec.structs.replace(example, positives=positives), row.raw

    @property
    def keys(self) -> np.ndarray:
        """(N,) uint64: equal where the first positives are (data.examples.example_keys)."""
        keys: np.ndarray = self._table["key"][self._rows]
        return keys

    @property
    def questions(self) -> np.ndarray:
        """(N,) uint64: equal where the questions are (records.same_question)."""
        keys: np.ndarray = self._table["question"][self._rows]
        return keys

    def where(self, index: int) -> str:
        """The place of an example for a message: `train.jsonl:17`, `train.json:byte 1024`."""
        return self._place(int(self._rows[index]))

    def _place(self, row: int) -> str:
        return f"{Path(self.path).name}:{self._file.place(row).where}"


def _has_text(passage: Passage) -> bool:
    return bool(passage.text.strip())


def _example_rows(stream: Stream) -> Iterator[tuple[Place, int, int]]:
    for row in read_json_rows(stream):
        yield row.place, *example_keys(row, stream.path)


EXAMPLES = RowKind("examples", _example_rows, fields=[*FIELDS, ("question", "<u8")])
