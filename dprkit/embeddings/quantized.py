"""Vectors that are kept in 8 bits or in 1 bit a number, and read as float32.

A shard has its vectors in one or two arrays, the columns, with a line for each passage:

    float32, float16   vectors (N, D)
    int8               vectors (N, D) int8, scales (N,) float32: a vector is its numbers times its
                       scale, and the number that is largest is 127 or -127
    binary             vectors (N, ceil(D / 8)) uint8: a bit a number, 1 where it is above 0, the
                       first in the highest bit, as numpy.packbits and sentence-transformers'
                       "ubinary" have them; read as 1 / sqrt(D) and -1 / sqrt(D), of norm 1

A scale for each vector finds as much as one for each dimension (docs/log.md), and a vector in 8
bits depends on no other one: a shard is written as it comes, by any process.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dprkit.models.token_vectors import in_8_bits

Columns = tuple[np.ndarray, ...]
"""What is kept of N vectors: arrays with N lines each."""
Chosen = slice | np.ndarray
_SCALES = {"int8": "vector", "binary": "1/sqrt(dim)"}


def column_names(number: int, dtype: str) -> tuple[str, ...]:
    """The files of the columns of a shard."""
    kinds = ("vectors", "scales")[: 2 if dtype == "int8" else 1]
    return tuple(f"{kind}-{number:05d}.npy" for kind in kinds)


def column_types(dtype: str, dim: int) -> list[tuple[str, tuple[int, ...]]]:
    """The number type of each column, and the shape of a line."""
    if dtype == "int8":
        return [("i1", (dim,)), ("<f4", ())]
    return [("u1", (-(-dim // 8),))] if dtype == "binary" else [(dtype, (dim,))]


def scale_of(dtype: str) -> dict[str, str]:
    """What the manifest counts: by what a number on disk is to be multiplied, if by anything."""
    return {"scale": _SCALES[dtype]} if dtype in _SCALES else {}


def bytes_a_vector(dtype: str, dim: int) -> int:
    """Bytes on disk of a vector."""
    types = column_types(dtype, dim)
    return sum(np.dtype(kind).itemsize * int(np.prod(shape)) for kind, shape in types)


def largest(dtype: str) -> float:
    """The largest number that can be kept."""
    return float(np.finfo("float16" if dtype == "float16" else "float32").max)


def columns_of(vectors: np.ndarray, dtype: str) -> Columns:
    """What is kept of vectors (N, D) of floats."""
    if dtype == "int8":
        return in_8_bits(np.asarray(vectors, np.float32))
    if dtype == "binary":
        return (np.packbits(vectors > 0, axis=1),)
    return (vectors.astype(dtype, copy=False),)


class Vectors(Protocol):
    """The vectors of a shard: an array (N, D), or what gives parts of one as float32."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of what is given."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, rows: Chosen, /) -> np.ndarray:
        """Some rows, (n, D)."""


class Quantized:
    """The vectors of a shard in 8 bits or 1 bit a number."""

    dtype: np.dtype[np.generic] = np.dtype(np.float32)

    def __init__(self, columns: Columns, dim: int) -> None:
        self.kept, *scales = columns
        self.scales = scales[0] if scales else None
        self.shape = len(self.kept), dim

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, rows: Chosen, /) -> np.ndarray:
        """Rows as float32, (n, D)."""
        return self.floats(self.kept[rows], rows)

    def floats(self, kept: np.ndarray, rows: Chosen) -> np.ndarray:
        """What was kept of `rows`, (n, D) int8 or (n, ceil(D / 8)) uint8, as float32 (n, D)."""
        if self.scales is not None:
            return kept * self.scales[rows, None]
        bits = np.unpackbits(kept, axis=1, count=self.shape[1])
        unit = np.float32(self.shape[1] ** -0.5)
        return np.array([-unit, unit], np.float32)[bits]
