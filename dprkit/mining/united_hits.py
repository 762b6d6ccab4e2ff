"""What several indexes of one corpus find for a question, united; and what they give one passage.

A passage's rank is its best one in any index. So the best of each index come first, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.search.engine import Engine, HybridEngine


class Found(NamedTuple):
    """The C passages found for one question, best first. E indexes were asked."""

    rows: np.ndarray
    """(C,) int64, rows of the corpus."""
    ranks: np.ndarray
    """(C,) counted from 1, ascending."""
    sources: np.ndarray
    """(C,) the number of the index that gave the rank, the first of several."""
    all_scores: np.ndarray
    """(E, C) float32 by each index; NaN where it did not find the passage."""

    @property
    def scores(self) -> np.ndarray:
        """(C,) by the index that gave the rank."""
        own: np.ndarray = self.all_scores[self.sources, np.arange(len(self.rows))]
        return own


def united(hits: Sequence[Hits]) -> list[Found]:
    """What E indexes found for each of Q questions: `hits` of each index, Hits (Q, K)."""
    questions = len(hits[0].rows)
    return [_united([Hits(h.rows[q], h.scores[q]) for h in hits]) for q in range(questions)]


def _united(hits: Sequence[Hits]) -> Found:
    """For one question: Hits (K,) of each index."""
    hits = [Hits(h.rows[h.rows >= 0], h.scores[h.rows >= 0]) for h in hits]
    counts = [len(h.rows) for h in hits]
    rows = np.concatenate([h.rows for h in hits])
    ranks = np.concatenate([np.arange(1, count + 1) for count in counts])
    sources = np.repeat(np.arange(len(hits)), counts)
    order = np.lexsort((sources, ranks))
    _, first, which = np.unique(rows[order], return_index=True, return_inverse=True)
    kept = np.sort(first)  # of each passage the place where it comes first
    place_of = np.searchsorted(kept, first)[which]  # in what is kept
    all_scores = np.full((len(hits), len(kept)), np.nan, np.float32)
    all_scores[sources[order], place_of] = np.concatenate([h.scores for h in hits])[order]
    best = order[kept]
    return Found(rows[best], ranks[best], sources[best], all_scores)


def scores_of(
    engines: Sequence[Engine], questions: Sequence[str], rows: np.ndarray, found: Sequence[Found]
) -> np.ndarray:
    """(Q, E) float32: the score of one passage for each question by each engine, NaN for none.

    `rows`: (Q,) the passages; -1 for none. A passage that was not found is scored by searching
    among such passages alone, so no passage is encoded. Fused scores say nothing without the
    others of their ranking; by a HybridEngine it has none then.
    """
    scores = np.full((len(questions), len(engines)), np.nan, np.float32)
    for q, (row, one) in enumerate(zip(rows.tolist(), found, strict=True)):
        place = np.flatnonzero(one.rows == row)
        if row >= 0 and len(place):
            scores[q] = one.all_scores[:, place[0]]
    for number, engine in enumerate(engines):
        left = np.flatnonzero((rows >= 0) & np.isnan(scores[:, number]))
        if len(left) and not isinstance(engine, HybridEngine):
            wanted = np.unique(rows[left])
            hits = engine.search([questions[q] for q in left.tolist()], len(wanted), wanted)
            same = hits.rows == rows[left, None]
            has = same.any(1)
            scores[left[has], number] = hits.scores[same]
    return scores
