"""The tie order: score descending, then position in the corpus. Every index answers in it."""

from __future__ import annotations

import numpy as np

from dprkit.indexes.hits import Hits


def in_order(rows: np.ndarray, scores: np.ndarray, *first: np.ndarray) -> np.ndarray:
    """The places of (..., C) candidates in the tie order, line by line.

    `first`: (..., C) what counts before the scores, such as the number of the question.
    """
    return np.lexsort((rows, -scores, *first), axis=-1)


def best(rows: np.ndarray, scores: np.ndarray, topk: int) -> Hits:
    """The `topk` best of (Q, C) candidates, in the tie order."""
    if rows.shape[1] <= topk and (scores[:, 1:] < scores[:, :-1]).all():
        return Hits(rows, scores)  # in order, as most engines answer
    order = in_order(rows, scores)[:, :topk]
    return Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))
