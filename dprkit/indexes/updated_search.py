"""Searching an updated index: removed passages are left out, added ones compared exactly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from dprkit.embeddings.shards import Embeddings
from dprkit.errors import SettingsError
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.hits_and_tie_order import DenseIndex, Hits, best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.settings import IndexSettings

SPARE = 1024
"""Removed rows up to which so many more are asked for; beyond, the rows that are left are named."""


class UpdatedIndex:
    """A base index, with passages that were removed from it and added to it. Inner product.

    The rows of added passages follow those of the base. Scores of product codes are too far off to
    stand beside exact ones: what is found by them is scored again by the true vectors.
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
        """The best `depth` rows of the base, none of which was removed."""
        if allowed is not None:
            return self.base.search(vectors, depth, allowed)
        if len(self.removed) > SPARE:
            return self.base.search(vectors, depth, self._left)
        # At most R hits are removed rows, so depth + R hits hold the best `depth` other rows.
        hits = self.base.search(vectors, depth + len(self.removed))
        gone = np.isin(hits.rows, self.removed)
        hits.rows[gone], hits.scores[gone] = -1, -np.inf
        return hits

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows of the base that were not removed."""
        return np.delete(np.arange(self.base_rows), self.removed)


def open_folder(folder: IndexFolder, depths: Mapping[str, int]) -> UpdatedIndex:
    """The updated index in a folder; `depths` are those of its base."""
    base = folder.base
    assert base
    added = exact_base = None
    if "added" in folder.inputs:
        added = ExactIndex(folder.embeddings("added"))
        if "PQ" in base.counts.get("factory", ""):
            exact_base = base.embeddings()
    return UpdatedIndex(base.open_dense(depths), base.rows, folder.removed, added, exact_base)


def check_settings(settings: IndexSettings) -> None:
    """Raise SettingsError: `dprkit index` makes none."""
    raise SettingsError(f"--type: an {settings.type} index is made by dprkit update-index")


def _scores(embeddings: Embeddings, questions: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(Q, K) inner products of questions (Q, D) with rows (Q, K); -inf where a row is -1."""
    scores = np.full(rows.shape, -np.inf, np.float32)
    for question, asked, into in zip(questions, rows, scores, strict=True):
        order = np.argsort(asked)
        order = order[asked[order] >= 0]
        into[order] = embeddings.take(asked[order]) @ question
    return scores
