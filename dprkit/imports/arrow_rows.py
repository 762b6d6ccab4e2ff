"""Rows of parquet and Arrow files, read a batch at a time: memory is that of a batch.

Of parquet, a row group's pages are unpacked as they are needed; of an Arrow file, a batch is what
its writer made of one. Both need pyarrow (extra `datasets`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dprkit.errors import FormatError, loading, need_extra, reading

BATCH_ROWS = 4096
BATCH_BYTES = 8 << 20
"""Of a batch, unpacked, about."""
BUFFER = 1 << 20
"""Bytes of each column that are read from the file at once."""
_PARQUET, _FILE, _STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"


def is_arrow(path: Path) -> bool:
    """Whether a file is one of parquet or Arrow, by its first bytes."""
    if not path.is_file():
        return False
    with reading(path), path.open("rb") as file:
        return file.read(8).startswith((_PARQUET, _FILE, _STREAM))


class ArrowFile:
    """A parquet or Arrow file. `schema` is pyarrow's: names and types of its columns."""

    def __init__(self, path: Path) -> None:
        """Read the head (or the foot) of the file. Raises InputError where it is broken."""
        need_extra("datasets", "pyarrow")
        self.path = path
        with reading(path), path.open("rb") as file:
            self._parquet = file.read(4) == _PARQUET
        with _whole(path):
            self.schema: Any = self._opened().schema_arrow if self._parquet else _ipc(path)[0]

    def rows(self, names: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
        """The number of each row, counted from 1, and its values of the columns `names`.

        Raises InputError for a part that is broken, and FormatError for text that is not UTF-8.
        """
        number = 0
        for batch in self._batches(names):
            columns = [self._values(batch.column(name), number) for name in names]
            for cells in zip(*columns, strict=True):
                number += 1
                yield number, cells

    def _values(self, column: Any, before: int) -> list[Any]:
        """A column of a batch as Python's values; `before`: the rows before the batch."""
        try:
            values: list[Any] = column.to_pylist()
        except UnicodeDecodeError as error:
            where = f"row {before + 1} or behind it"
            raise FormatError(
                self.path, where, f"a text that is not UTF-8 ({error.reason})"
            ) from None
        return values

    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        with _whole(self.path):
            batches = self._groups(names) if self._parquet else _ipc(self.path)[1]
        while True:
            with _whole(self.path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _opened(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False)

    def _groups(self, names: Sequence[str]) -> Iterator[Any]:
        """The batches of each row group. The file is opened for each: what it unpacked is freed."""
        groups = self._opened().metadata.num_row_groups
        for number in range(groups):
            with self._opened() as file:
                group = file.metadata.row_group(number)
                row_bytes = group.total_byte_size // max(1, group.num_rows) + 1
                size = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
                yield from file.iter_batches(
                    size, row_groups=[number], columns=list(names), use_threads=False
                )


def _ipc(path: Path) -> tuple[Any, Iterator[Any]]:
    """The schema of an Arrow file and its batches: a stream, as datasets saves it, or a file."""
    from pyarrow import OSFile, ipc

    source = OSFile(str(path))
    if source.read(6) == _FILE:
        reader = ipc.open_file(OSFile(str(path)))
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))
    stream = ipc.open_stream(OSFile(str(path)))
    return stream.schema, iter(stream)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    with reading(path), loading(path, "not a whole parquet or Arrow file; fetch it again"):
        yield
