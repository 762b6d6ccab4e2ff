"""Searching an index with what was added to it and removed since (dprkit.indexes.update)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dprkit.embeddings.shards import Embeddings
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.hits import DenseIndex, Hits, best

SPARE = 1024
"""Removed rows up to which so many more are asked for; to leave more out, the rest is named."""


class UpdatedIndex:
    """An index with what was added to it and removed since. Inner product.

    Scores of product codes are too far off to stand beside exact ones: what is found by them is
    scored again by the vectors it was made from.
    """

    def __init__(
        self,
        base: DenseIndex,
        base_rows: int,
        removed: np.ndarray,
        added: ExactIndex | None,
        exact_base: Embeddings | None,
    ) -> None:
        """`removed`: (R,) int64 rows of `base` that count no more, ascending. `exact_base`: the
        vectors of `base`, where it answers with scores of product codes."""
        self.base, self.base_rows, self.removed = base, base_rows, removed
        self.added, self.exact_base = added, exact_base
        self.count = base.count - len(removed) + (added.count if added else 0)
        self.dim = base.dim

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows by inner product with (Q, D) question vectors.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A.
        """
        in_base = in_added = None
        depth = min(topk, self.count)
        if allowed is not None:
            allowed = np.setdiff1d(allowed, self.removed, assume_unique=True)
            depth = min(topk, len(allowed))
            in_base, in_added = np.split(allowed, [np.searchsorted(allowed, self.base_rows)])
            in_added = in_added - self.base_rows
        rows, scores = self._search_base(vectors, depth, in_base)
        if self.exact_base:
            scores = _scores(self.exact_base, vectors, rows)
        if self.added:
            new = self.added.search(vectors, depth, in_added)
            rows = np.hstack([rows, new.rows + self.base_rows])
            scores = np.hstack([scores, new.scores])
        return best(rows, scores, depth)

    def _search_base(self, vectors: np.ndarray, depth: int, allowed: np.ndarray | None) -> Hits:
        if allowed is not None:
            return self.base.search(vectors, depth, allowed)
        if len(self.removed) > SPARE:
            return self.base.search(vectors, depth, self._left)
        found = self.base.search(vectors, depth + len(self.removed))
        gone = np.isin(found.rows, self.removed)
        found.rows[gone], found.scores[gone] = -1, -np.inf
        return found

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows of the index below that were not removed."""
        return np.delete(np.arange(self.base_rows), self.removed)


def _scores(embeddings: Embeddings, questions: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(Q, K) inner products of questions (Q, D) with rows (Q, K); -inf where a row is -1."""
    scores = np.full(rows.shape, -np.inf, np.float32)
    for question, own, into in zip(questions, rows, scores, strict=True):
        order = np.argsort(own)
        order = order[own[order] >= 0]
        into[order] = embeddings.take(own[order]) @ question
    return scores
