"""Hits, the result of a search in every index; and the interfaces of indexes of vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from dprkit.indexes.late_scores import LateQuestions


class Hits(NamedTuple):
    """The best passages for Q questions, as rows of the corpus counted from 0.

    Both are (Q, K): `rows` int64, `scores` float32, in the tie order (`in_order`).
    Where an index finds fewer than K, the rest of a line is row -1 with score -inf.
    """

    rows: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls, questions: int, depth: int) -> Hits:
        """(Q, K) places that hold nothing yet."""
        shape = questions, depth
        return cls(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))


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


Asked = TypeVar("Asked", contravariant=True)
"""Q questions as an index takes them: vectors (Q, D), or LateQuestions."""


class RowIndex(Protocol[Asked]):
    """An opened index that is asked by vectors."""

    count: int
    """Passages in it."""
    dim: int
    """The width of its vectors."""

    def search(self, asked: Asked, /, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows for each of Q questions.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A.
        """
        ...


DenseIndex = RowIndex[np.ndarray]
"""By inner product with one vector a question."""
if TYPE_CHECKING:
    TokenIndex = RowIndex[LateQuestions]
    """By MaxSim with the token vectors of a question."""
