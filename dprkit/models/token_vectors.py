"""Token vectors: what late interaction keeps of texts, several vectors a text.

The numpy side of dprkit.models.rows.Rows: what is stored, read, scored and handed to users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


class _EndToEnd:
    """Token vectors of N texts in one array: text i has values[bounds[i] : bounds[i + 1]]."""

    values: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        """N, the texts."""
        return len(self.bounds) - 1

    @property
    def dim(self) -> int:
        """D."""
        return int(self.values.shape[1])

    @property
    def counts(self) -> np.ndarray:
        """(N,) int64: the token vectors of each text."""
        return np.diff(self.bounds)


@dataclass(frozen=True, eq=False)
class TokenVectors(_EndToEnd):
    """The token vectors of N texts, laid end to end: text i has values[bounds[i] : bounds[i + 1]].

    A text may have none.
    """

    values: np.ndarray
    """(T, D) float32; as some shards keep them, float16."""
    bounds: np.ndarray
    """(N + 1,) int64, from 0 to T."""

    @classmethod
    def of(cls, texts: Sequence[np.ndarray], dim: int = 0) -> TokenVectors:
        """Of N arrays (L, D), one a text. `dim`: D where there is no text."""
        values = np.concatenate(texts) if len(texts) else np.empty((0, dim))
        return cls.of_counts(values, np.array([len(text) for text in texts], np.int64))

    @classmethod
    def of_counts(cls, values: np.ndarray, counts: np.ndarray) -> TokenVectors:
        """Of values (T, D), of which text i has counts[i], (N,)."""
        return cls(np.ascontiguousarray(values, np.float32), bounds_of(counts))

    def __getitem__(self, text: int) -> np.ndarray:
        """(L, D): the token vectors of a text, without a copy."""
        place = range(len(self))[text]
        return self.values[self.bounds[place] : self.bounds[place + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[text] for text in range(len(self)))

    def span(self, begin: int, end: int) -> TokenVectors:
        """Those of texts `begin` to `end`, without a copy."""
        bounds = self.bounds[begin : end + 1]
        return TokenVectors(self.values[bounds[0] : bounds[-1]], bounds - bounds[0])

    def take(self, texts: np.ndarray | Sequence[int]) -> TokenVectors:
        """Those of texts (M,), in that order; a text may come several times."""
        chosen = np.asarray(texts, np.int64)
        rows = places(self.bounds, chosen)
        return TokenVectors(self.values[rows], bounds_of(self.counts[chosen]))

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, L, D) with zeros behind each text, and a mask (N, L): True where a vector is."""
        counts = self.counts
        mask = np.arange(int(counts.max(initial=0))) < counts[:, None]
        padded = np.zeros((*mask.shape, self.dim), np.float32)
        padded[mask] = self.values
        return padded, mask

    def means(self) -> np.ndarray:
        """(N, D) float32: one vector a text, the mean of its token vectors, of norm 1.

        Zeros where a text has no token vector, or where they cancel out. A text's mean does not
        depend on the texts beside it.
        """
        means = np.zeros((len(self), self.dim), np.float32)
        some = self.counts > 0  # `reduceat` would take the next text's first for an empty one
        if some.any():
            values, begins = self.values, self.bounds[:-1][some]
            means[some] = np.add.reduceat(values, begins, axis=0, dtype=np.float32)
        norms = np.sqrt(np.square(means, dtype=np.float64).sum(1, keepdims=True))
        np.divide(means, norms, out=means, where=norms > 0, casting="same_kind")
        return means


@dataclass(frozen=True, eq=False)
class Int8Tokens(_EndToEnd):
    """The token vectors of N texts in 8 bits, laid end to end as in TokenVectors.

    A vector is its numbers times its scale.
    """

    values: np.ndarray
    """(T, D) int8."""
    scales: np.ndarray
    """(T,) float32."""
    bounds: np.ndarray
    """(N + 1,) int64, from 0 to T."""

    def floats(self) -> TokenVectors:
        """The same token vectors as float32, as near as 8 bits come to what they were."""
        return TokenVectors(self.values * self.scales[:, None], self.bounds)


def quantized(vectors: TokenVectors) -> Int8Tokens:
    """The token vectors in 8 bits: of each, the number that is largest becomes 127 or -127."""
    return Int8Tokens(*in_8_bits(np.asarray(vectors.values, np.float32)), vectors.bounds)


def in_8_bits(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (N, D) float32 as (N, D) int8 and the scales (N,) by which they are multiplied.

    Of each vector the number that is largest becomes 127 or -127.
    """
    scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
    return np.rint(vectors / divisors).astype(np.int8), scales


def bounds_of(counts: np.ndarray) -> np.ndarray:
    """(N,) counts -> (N + 1,) int64 bounds."""
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    return bounds


def places(bounds: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """The places (R,), among the rows that bounds (N + 1,) cut, of those of texts (M,).

    Text after text.
    """
    counts = bounds[texts + 1] - bounds[texts]
    begins = bounds_of(counts)
    # Row r of the answer is row r - begins[i] of its text i, which begins at bounds[texts[i]].
    return np.repeat(bounds[texts] - begins[:-1], counts) + np.arange(begins[-1])
