"""What every kind of index answers with, and the order in which it does."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Hits(NamedTuple):
    """The best passages for Q questions, as rows of the corpus counted from 0.

    Both are (Q, K): `rows` int64, `scores` float32. Score descending, then row ascending. Where an
    index finds fewer than K, the rest of a line is row -1 with score -inf.
    """

    rows: np.ndarray
    scores: np.ndarray


class DenseIndex(Protocol):
    """An opened index of vectors."""

    count: int
    """Passages in it."""
    dim: int
    """The width of its vectors."""

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows by inner product with (Q, D) question vectors.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A.
        """
        ...


def best(rows: np.ndarray, scores: np.ndarray, topk: int) -> Hits:
    """The `topk` best of (Q, C) candidates, in the order of `Hits`."""
    if rows.shape[1] <= topk and (scores[:, 1:] < scores[:, :-1]).all():
        return Hits(rows, scores)  # in order, as most engines answer
    order = np.lexsort((rows, -scores), axis=1)[:, :topk]
    return Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))
