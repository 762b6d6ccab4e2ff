"""Candidates of an exact search: the rows that may be among the best, by scores with known errors.

What scores rows quickly is a little off. Here every row is kept that may be among the best K of a
question, given how far off the scores can be; at the end the kept rows are scored as they count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from dprkit.indexes.hits_and_tie_order import Hits, in_order

PAIRS = 1024
"""Questions and passages that are scored as it counts at a time."""
Error = float | np.ndarray
"""How far off scores can be: one number, or (Q,)."""


class _Bar(NamedTuple):
    """What a new row must reach. It is replaced, never changed: threads read it without the lock.

    `scores` (Q,): the K-th best of each question so far, -inf before there are K. `error`: the most
    that any of them is off, as a share of the norm of its question; one number, or one a question.
    """

    scores: np.ndarray
    error: Error


class Candidates:
    """Rows that may be among the best K of a question: of the rows seen so far, a few more than K.

    They are kept as triples (question, row, score) in flat arrays. Whenever there are too many
    they are thinned out: a row must then reach the question's bar, which is the K-th
    best score so far, less what both scores can be off.
    """

    def __init__(
        self,
        norms: np.ndarray,
        depth: int,
        score: Callable[[Triples], np.ndarray],
        smallest: float = 0.0,
        room: int = 2,
    ) -> None:
        """`norms`: (Q,), by which errors are multiplied. `score`: the scores (C,) that count.

        `smallest`: what a score can be off besides. `room`: so many times K rows are kept.
        """
        self.norms, self.depth, self.score, self.smallest = norms, depth, score, smallest
        self.bar = _Bar(np.full(len(norms), -np.inf, np.float32), 0.0)
        self.kept: list[Triples] = []
        self.size = 0
        self.limit = room * len(norms) * depth + 4096
        self.lock = threading.Lock()

    def add(self, rows: np.ndarray, scores: np.ndarray, error: Error) -> None:
        """Keep what may be among the best of (Q, B) scores of rows, (B,) or (Q, B).

        No score is further off than `error` times the norm of its question.
        """
        bar, largest = self.bar
        # The bar may come from scores that are further off than these.
        error = np.maximum(error, largest)
        # K rows of these alone set a bar while there is none, so that the first block is not kept
        # whole.
        if scores.shape[1] >= self.depth and bar.min() == -np.inf:
            bar = np.maximum(bar, np.partition(scores, -self.depth, axis=1)[:, -self.depth])
        passed = np.flatnonzero(scores >= self._passing(bar, error)[:, None])
        if not len(passed):
            return
        asked, at = np.divmod(passed, scores.shape[1])
        chosen = rows[at] if rows.ndim == 1 else rows.ravel()[passed]
        triples = Triples(asked.astype(np.int32), chosen, scores.ravel()[passed])
        with self.lock:
            self.bar = _Bar(np.maximum(self.bar.scores, bar), np.maximum(self.bar.error, error))
            self.kept.append(triples)
            self.size += len(passed)
            if self.size > self.limit:
                self._thin_out()

    def best(self, pool: ThreadPoolExecutor) -> Hits:
        """The best rows and their scores, (Q, K)."""
        best = self._cut(self._exactly(self._above_the_bar(), pool.map))
        shape = len(self.norms), self.depth
        return Hits(best.rows.reshape(shape), best.scores.reshape(shape))

    def complete(self, unseen: np.ndarray) -> bool:
        """Whether no row that was never added is among the best: these score at most `unseen`.

        `unseen`: (Q,). K rows have true scores of at least the bar less the error; the true score
        of a row that was never added is at most `unseen` plus the error. So below the bar less both
        it is out.
        """
        if self.kept:
            self._thin_out()
        return bool((unseen < self._passing(*self.bar)).all())

    def _passing(self, bar: np.ndarray, error: Error) -> np.ndarray:
        """The lowest scores (Q,) that may be among the best.

        The bar's true scores may be `error` lower and a row's `error` higher: hence twice.
        """
        lowest: np.ndarray = bar - 2 * (self.norms * error + self.smallest)
        return lowest.astype(np.float32)

    def _thin_out(self) -> None:
        left = self._above_the_bar()
        # So many rows are as good as equal in float32 that only their exact scores tell them apart.
        if len(left.rows) > self.limit:
            left = self._cut(self._exactly(left, map))
        self.kept, self.size = [left], len(left.rows)

    def _above_the_bar(self) -> Triples:
        """What was kept, ordered by question, less what cannot be among the best K."""
        kept = Triples(*map(np.concatenate, zip(*self.kept, strict=True)))
        kept = kept.at(np.argsort(kept.asked, kind="stable"))
        bar, error = self.bar
        bar = bar.copy()  # threads read the old one without the lock
        ends = np.searchsorted(kept.asked, np.arange(len(bar)), side="right").tolist()
        for question, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end - start >= self.depth:
                scores = kept.scores[start:end]
                bar[question] = max(bar[question], np.partition(scores, -self.depth)[-self.depth])
        self.bar = _Bar(bar, error)
        return kept.at(np.flatnonzero(kept.scores >= self._passing(bar, error)[kept.asked]))

    def _exactly(self, kept: Triples, each: Callable[..., Iterator[np.ndarray]]) -> Triples:
        """The same with the scores that count; in the order of rows."""
        kept = kept.at(np.argsort(kept.rows, kind="stable"))
        parts = [kept.at(slice(start, start + PAIRS)) for start in range(0, len(kept.rows), PAIRS)]
        each = each if len(parts) > 1 else map
        scores = np.concatenate(list(each(self.score, parts)))
        return kept._replace(scores=scores)

    def _cut(self, kept: Triples) -> Triples:
        """The best K of each question that has as many, in the tie order."""
        kept = kept.at(in_order(kept.rows, kept.scores, kept.asked))
        first = np.searchsorted(kept.asked, kept.asked)
        return kept.at(np.flatnonzero(np.arange(len(first)) - first < self.depth))


class Triples(NamedTuple):
    """Candidates, (C,) each: whose question's, which row, and its score."""

    asked: np.ndarray
    rows: np.ndarray
    scores: np.ndarray

    def at(self, places: np.ndarray | slice) -> Triples:
        return Triples(self.asked[places], self.rows[places], self.scores[places])
