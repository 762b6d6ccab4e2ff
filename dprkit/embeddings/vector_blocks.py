"""The vectors of an encoded corpus as float32, block by block or row by row, in bounded memory.

The pages of a memory map that were touched count as resident memory. So the first part of the
corpus is mapped, and stays, and what is beyond a budget is read into memory that is used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.embeddings.shards import Embeddings, shard_names
from dprkit.errors import InputError, reading

BLOCK_BYTES = 3 << 20
"""Of one block as float32: between the caches of a core and those that cores share."""
_LONG = 4
"""Times that is a block where nothing is copied and few questions are asked: fewer steps."""
_PIECE = 1 << 17
"""Numbers that are made float32 at a time: they stay in a core's cache."""


class Block(NamedTuple):
    """Rows `start` to `stop` of the corpus, all of one shard."""

    shard: int
    start: int
    stop: int


class _Shard(NamedTuple):
    path: Path
    start: int
    """Its first row in the corpus."""
    rows: int
    dtype: np.dtype[np.generic]
    offset: int
    """Bytes before the first row: the header."""
    mapped: np.ndarray
    """Its rows within the budget; none of them is beyond it."""


class Blocks:
    """The corpus of `embeddings`, of which `resident_bytes` stay mapped.

    Raises InputError for a shard that is not as long as the manifest says.
    """

    def __init__(self, embeddings: Embeddings, resident_bytes: int) -> None:
        self.count, self.dim = embeddings.count, embeddings.dim
        self.rows = max(1, BLOCK_BYTES // (4 * max(1, self.dim)))
        self._shards = list(_shards(embeddings, resident_bytes))
        self._starts = np.array([shard.start for shard in self._shards], np.int64)
        self.all = [block for n in range(len(self._shards)) for block in self._cut(n, self.rows)]
        self.long = [block for n in range(len(self._shards)) for block in self._cut_long(n)]
        """The same rows in blocks up to four times as long, where `Reader.read` copies nothing."""

    def _cut_long(self, number: int) -> Iterator[Block]:
        shard = self._shards[number]
        plain = len(shard.mapped) if shard.dtype == np.float32 else 0
        yield from self._cut(number, _LONG * self.rows, 0, plain)
        yield from self._cut(number, self.rows, plain)

    def _cut(
        self, number: int, rows: int, begin: int = 0, end: int | None = None
    ) -> Iterator[Block]:
        """Rows `begin` to `end` of a shard in blocks of `rows`."""
        shard = self._shards[number]
        last = shard.start + (shard.rows if end is None else end)
        for start in range(shard.start + begin, last, rows):
            yield Block(number, start, min(start + rows, last))

    def reader(self) -> Reader:
        """What one thread reads blocks with."""
        return Reader(self._shards, self.rows, self.dim)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (R, D) of any rows (R,), ascending. Quick if they are few or mapped."""
        taken = np.empty((len(rows), self.dim), np.float32)
        bounds = np.searchsorted(rows, self._starts)
        for shard, begin, end in zip(
            self._shards, bounds, [*bounds[1:].tolist(), len(rows)], strict=True
        ):
            if begin < end:
                _take(shard, rows[begin:end] - shard.start, taken[begin:end])
        return taken


class Reader:
    """Reads blocks into the same memory, one after the other."""

    def __init__(self, shards: list[_Shard], rows: int, dim: int) -> None:
        self._shards, self._dim = shards, dim
        self._bytes = np.empty(rows * dim * 8, np.uint8)  # no shard holds wider numbers
        self._floats = np.empty((rows, dim), np.float32)

    def read(self, block: Block) -> np.ndarray:
        """The vectors (B, D) float32 of a block, until the next one is read."""
        shard = self._shards[block.shard]
        raw = self._raw(shard, block.start - shard.start, block.stop - shard.start)
        return raw if raw.dtype == np.float32 else widen(raw, self._floats[: len(raw)])

    def _raw(self, shard: _Shard, start: int, stop: int) -> np.ndarray:
        if stop <= len(shard.mapped):
            return shard.mapped[start:stop]
        width = self._dim * shard.dtype.itemsize
        into = self._bytes[: (stop - start) * width]
        with reading(shard.path), shard.path.open("rb", buffering=0) as file:
            file.seek(shard.offset + start * width)
            _fill(file.readinto(into.data), into.nbytes, shard)
        return into.view(shard.dtype).reshape(stop - start, self._dim)

    def check(self, block: Block) -> None:
        """Raise InputError if the block holds what is no number."""
        shard = self._shards[block.shard]
        first, last = block.start - shard.start, block.stop - shard.start - 1
        if not np.isfinite(self._raw(shard, first, last + 1)).all():
            raise InputError(
                f"{shard.path}: holds NaN or infinity in rows {first} to {last}; encode again"
            )


def widen(numbers: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Write (R, D) numbers as float32 to `into`, exactly.

    numpy turns float16 into float32 one by one. Shifted into place, the bits of a float16 are a
    float32 that is too small by 2 to the 112th, which takes a fifth of the time (subnormals are
    right too). Infinity and NaN become numbers of 65,536 or more.
    """
    if numbers.dtype != np.float16:
        np.copyto(into, numbers)
        return into
    rows = max(1, _PIECE // max(1, numbers.shape[1]))
    for start in range(0, len(numbers), rows):
        part = into[start : start + rows]
        bits = part.view(np.int32)
        np.copyto(bits, numbers[start : start + rows].view(np.int16))  # the sign goes to the front
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, np.int32(-0x70002000), out=bits)
        np.multiply(part, np.float32(2.0**112), out=part)
    return into


def _shards(embeddings: Embeddings, resident_bytes: int) -> Iterator[_Shard]:
    start, left = 0, resident_bytes
    for number, vectors in enumerate(embeddings.vectors()):
        path = embeddings.directory / shard_names(number)[0]
        rows = min(len(vectors), left // max(1, vectors.shape[1] * vectors.itemsize))
        mapped = vectors[:rows] if rows else np.empty((0, embeddings.dim), vectors.dtype)
        offset = path.stat().st_size - vectors.nbytes
        yield _Shard(path, start, len(vectors), vectors.dtype, offset, mapped)
        start, left = start + len(vectors), left - mapped.nbytes


def _take(shard: _Shard, rows: np.ndarray, into: np.ndarray) -> None:
    near = int(np.searchsorted(rows, len(shard.mapped)))
    into[:near] = shard.mapped[rows[:near]]
    if near == len(rows):
        return
    far = np.empty((len(rows) - near, into.shape[1]), shard.dtype)
    width = far.shape[1] * far.itemsize
    with reading(shard.path), shard.path.open("rb", buffering=0) as file:
        for row, vector in zip(rows[near:].tolist(), far, strict=True):
            file.seek(shard.offset + row * width)
            _fill(file.readinto(vector.data.cast("B")), width, shard)
    into[near:] = far


def _fill(got: int | None, wanted: int, shard: _Shard) -> None:
    if got != wanted:
        raise InputError(f"{shard.path}: was cut short while it was searched; encode again")
