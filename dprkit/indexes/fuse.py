"""Hits of several indexes put together, by ranks or by scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dprkit.errors import SettingsError
from dprkit.indexes.hits_and_tie_order import Hits, best

Method = Literal["rrf", "weighted"]
RRF_K = 60
"""What Cormack et al. used; they found it to matter little."""


def fuse(
    rankings: Sequence[Hits],
    topk: int,
    weights: Sequence[float] | None = None,
    method: Method = "rrf",
    rrf_k: int = RRF_K,
) -> Hits:
    """The best passages for Q questions of those that any of the indexes found, (Q, K).

    K is at most `topk`, and no more than the question with the most passages has. A passage's new
    score is the sum, over the indexes that found it, of the index's weight times

        rrf         1 / (rrf_k + rank), rank counted from 1: reciprocal rank fusion (Cormack,
                    Clarke and Büttcher 2009, https://doi.org/10.1145/1571941.1572114)
        weighted    its score there, moved and stretched for each question so that the lowest that
                    the index found is 0 and the highest 1 (all 1 where all are the same): a
                    weighted CombSUM (Fox and Shaw 1994, "Combination of Multiple Searches") of
                    min-max normalised scores (Lee 1997, "Analyses of Multiple Evidence
                    Combination")

    so one that an index did not find counts there as the lowest it found. Raises SettingsError
    where there is not a weight of 0 or more for each index, and one above 0.
    """
    given = np.ones(len(rankings)) if weights is None else np.asarray(weights, np.float64)
    usable = np.isfinite(given).all() and (given >= 0).all() and (given > 0).any()
    if given.shape != (len(rankings),) or not usable:
        raise SettingsError(
            f"weights {given.tolist()} for {len(rankings)} indexes: "
            "expected one of 0 or more for each, and one above 0"
        )
    parts = [_reciprocal(hits, rrf_k) if method == "rrf" else _stretched(hits) for hits in rankings]
    rows = np.concatenate([hits.rows for hits in rankings], axis=1)
    scores = np.concatenate([w * part for w, part in zip(given, parts, strict=True)], axis=1)
    fused = best(*_summed(rows, scores), topk)
    filled = (fused.rows >= 0).any(axis=0)
    return Hits(fused.rows[:, filled], fused.scores[:, filled])


def _reciprocal(hits: Hits, rrf_k: int) -> np.ndarray:
    ranks = np.arange(1, hits.rows.shape[1] + 1)
    return np.broadcast_to(1 / (rrf_k + ranks), hits.rows.shape)


def _stretched(hits: Hits) -> np.ndarray:
    """(Q, K) scores from 0 to 1; anything where nothing was found."""
    filled = hits.rows >= 0
    scores = hits.scores.astype(np.float64)
    low = scores.min(axis=1, initial=np.inf, where=filled, keepdims=True)
    high = scores.max(axis=1, initial=-np.inf, where=filled, keepdims=True)
    width = high - low
    flat = ~(width > 0)  # one score only, or none
    stretched: np.ndarray = np.where(
        filled, np.where(flat, 1, (np.where(filled, scores, 0) - low) / np.where(flat, 1, width)), 0
    )
    return stretched


def _summed(rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Q, C) rows, each once, with the sum of its scores; the places left over hold row -1."""
    order = np.argsort(rows, axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, 1)
    scores = np.take_along_axis(scores, order, 1)
    first = np.ones(rows.shape, bool)
    first[:, 1:] = rows[:, 1:] != rows[:, :-1]
    sums = np.full(rows.shape, -np.inf, np.float32)
    if rows.size:
        sums[first] = np.add.reduceat(scores.ravel(), np.flatnonzero(first))
    kept = first & (rows >= 0)
    return np.where(kept, rows, -1), np.where(kept, sums, np.float32(-np.inf))
