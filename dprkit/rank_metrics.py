"""Success and reciprocal rank of a question, from the ranks of the passages that it asks for.

A rank counts from 1, and infinity is the rank of what was not found. Arrays are of numpy or torch,
float64, one value a question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def first_ranks(hits: np.ndarray) -> np.ndarray:
    """(Q,) the rank of the first True in each row of (Q, K)."""
    import numpy as np

    if not hits.shape[1]:
        return np.full(len(hits), np.inf)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)


def success(ranks: Any, k: int) -> Any:
    """(Q,) whether a passage is among the best `k`.

    With "a passage that holds an answer", its mean is answer recall, the field's top-k accuracy
    (Karpukhin et al. 2020, section 5.1).
    """
    return ranks <= k


def reciprocal(ranks: Any, k: int) -> Any:
    """(Q,) 1 / rank, and 0 beyond `k`; its mean is MRR (Voorhees 1999, TREC-8)."""
    return (ranks <= k) / ranks
