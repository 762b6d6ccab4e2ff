"""Searching an updated index: removed passages are left out, added ones compared exactly.

It searches what its base does: vectors by inner product, or token vectors by MaxSim.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_shards import TokenShards, is_tokens
from dprkit.errors import SettingsError
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.hits_and_tie_order import Hits, RowIndex, best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.settings import IndexSettings

Asked = TypeVar("Asked")
SPARE = 1024
"""Removed rows up to which so many more are asked for; beyond, the rows that are left are named."""


class UpdatedIndex(Generic[Asked]):
    """A base index, with passages that were removed from it and added to it.

    The rows of added passages follow those of the base. Scores of product codes are too far off to
    stand beside exact ones: what is found by them is scored again by the true vectors.
    """

    def __init__(
        self,
        base: RowIndex[Asked],
        base_rows: int,
        removed: np.ndarray,
        added: RowIndex[Asked] | None,
        exact_base: Embeddings | None,
    ) -> None:
        """`removed`: (R,) int64 rows of `base` that count no more, ascending. `exact_base`: the
        vectors of `base`, where it answers with scores of product codes."""
        self.base, self.base_rows, self.removed = base, base_rows, removed
        self.added, self.exact_base = added, exact_base
        self.count = base.count - len(removed) + (added.count if added else 0)
        self.dim = base.dim

    def search(self, asked: Asked, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows for Q questions, as the base takes them.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A.
        """
        in_base = in_added = None
        depth = min(topk, self.count)
        if allowed is not None:
            allowed = np.setdiff1d(allowed, self.removed, assume_unique=True)
            depth = min(topk, len(allowed))
            in_base, in_added = np.split(allowed, [np.searchsorted(allowed, self.base_rows)])
            in_added = in_added - self.base_rows
        rows, scores = self._search_base(asked, depth, in_base)
        if self.exact_base:
            assert isinstance(asked, np.ndarray)
            scores = _scores(self.exact_base, asked, rows)
        if self.added:
            new = self.added.search(asked, depth, in_added)
            rows = np.hstack([rows, new.rows + self.base_rows])
            scores = np.hstack([scores, new.scores])
        return best(rows, scores, depth)

    def _search_base(self, asked: Asked, depth: int, allowed: np.ndarray | None) -> Hits:
        """The best `depth` rows of the base, none of which was removed."""
        if allowed is not None:
            return self.base.search(asked, depth, allowed)
        if len(self.removed) > SPARE:
            return self.base.search(asked, depth, self._left)
        # At most R hits are removed rows, so depth + R hits hold the best `depth` other rows.
        hits = self.base.search(asked, depth + len(self.removed))
        gone = np.isin(hits.rows, self.removed)
        hits.rows[gone], hits.scores[gone] = -1, -np.inf
        return hits

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows of the base that were not removed."""
        return np.delete(np.arange(self.base_rows), self.removed)


def open_folder(folder: IndexFolder, depths: Mapping[str, int]) -> UpdatedIndex[Any]:
    """The updated index in a folder; `depths` are those of its base."""
    base = folder.base
    assert base
    added: RowIndex[Any] | None = None
    exact_base = None
    if "added" in folder.inputs:
        added = _compared(folder.embeddings("added"))
        if "PQ" in base.counts.get("factory", ""):
            exact_base = base.embeddings()
    return UpdatedIndex(base.open(depths), base.rows, folder.removed, added, exact_base)


def _compared(embeddings: Embeddings) -> RowIndex[Any]:
    """The index that compares all of these embeddings."""
    if not is_tokens(embeddings.manifest):
        return ExactIndex(embeddings)
    from dprkit.indexes.late_exact import LateExactIndex

    return LateExactIndex(TokenShards(embeddings))


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
