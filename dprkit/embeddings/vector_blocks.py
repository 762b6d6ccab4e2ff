"""The vectors of an encoded corpus as float32, block by block or row by row, in bounded memory.

The pages of a memory map that were touched count as resident memory. So the first part of the
corpus is mapped, and stays, and what is beyond a budget is read into memory that is used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.embeddings.quantized import Chosen, Quantized
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
    kept: np.ndarray
    """What the file has of them, mapped: no row beyond the budget may be touched."""
    offset: int
    """Bytes before the first row: the header."""
    mapped: int
    """Its rows within the budget."""
    quantized: Quantized | None
    """What makes float32 of numbers in 8 bits or 1 bit."""

    @property
    def width(self) -> int:
        """Bytes of a row in the file."""
        return int(self.kept.shape[1]) * self.kept.itemsize


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
        plain = shard.mapped if shard.kept.dtype == np.float32 else 0
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
        start, stop = block.start - shard.start, block.stop - shard.start
        raw = self._raw(shard, start, stop)
        if raw.dtype == np.float32:
            return raw
        return _floats(shard, raw, slice(start, stop), self._floats[: len(raw)])

    def _raw(self, shard: _Shard, start: int, stop: int) -> np.ndarray:
        if stop <= shard.mapped:
            return shard.kept[start:stop]
        into = self._bytes[: (stop - start) * shard.width]
        with reading(shard.path), shard.path.open("rb", buffering=0) as file:
            file.seek(shard.offset + start * shard.width)
            _fill(file.readinto(into.data), into.nbytes, shard)
        return into.view(shard.kept.dtype).reshape(stop - start, -1)

    def check(self, block: Block) -> None:
        """Raise InputError if the block holds what is no number."""
        shard = self._shards[block.shard]
        first, last = block.start - shard.start, block.stop - shard.start - 1
        # float16's infinity becomes a number where it is widened; a scale in 8 bits may be none.
        raw = self.read(block) if shard.quantized else self._raw(shard, first, last + 1)
        if not np.isfinite(raw).all():
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


def _floats(shard: _Shard, raw: np.ndarray, rows: Chosen, into: np.ndarray) -> np.ndarray:
    """What the file has of `rows`, (R, ...), as float32 (R, D), written to `into` or new."""
    return shard.quantized.floats(raw, rows) if shard.quantized else widen(raw, into)


def _shards(embeddings: Embeddings, resident_bytes: int) -> Iterator[_Shard]:
    start, left = 0, resident_bytes
    for number, vectors in enumerate(embeddings.vectors()):
        path = embeddings.directory / shard_names(number)[0]
        quantized = vectors if isinstance(vectors, Quantized) else None
        kept = quantized.kept if quantized else vectors[:]
        offset = path.stat().st_size - kept.nbytes
        mapped = min(len(kept), left // max(1, kept.shape[1] * kept.itemsize))
        shard = _Shard(path, start, len(kept), kept, offset, mapped, quantized)
        yield shard
        start, left = start + len(kept), left - mapped * shard.width


def _take(shard: _Shard, rows: np.ndarray, into: np.ndarray) -> None:
    near = int(np.searchsorted(rows, shard.mapped))
    if near:
        _spread(shard, shard.kept[rows[:near]], rows[:near], into[:near])
    if near == len(rows):
        return
    far = np.empty((len(rows) - near, shard.kept.shape[1]), shard.kept.dtype)
    with reading(shard.path), shard.path.open("rb", buffering=0) as file:
        for row, vector in zip(rows[near:].tolist(), far, strict=True):
            file.seek(shard.offset + row * shard.width)
            _fill(file.readinto(vector.data.cast("B")), shard.width, shard)
    _spread(shard, far, rows[near:], into[near:])


def _spread(shard: _Shard, kept: np.ndarray, rows: np.ndarray, into: np.ndarray) -> None:
    """Write what the file has of `rows` to `into`, (R, D) float32."""
    into[:] = shard.quantized.floats(kept, rows) if shard.quantized else kept


def _fill(got: int | None, wanted: int, shard: _Shard) -> None:
    if got != wanted:
        raise InputError(f"{shard.path}: was cut short while it was searched; encode again")
