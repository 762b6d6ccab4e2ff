"""Fusion: one ranking from those of several engines, by ranks or by scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from dprkit.errors import SettingsError
from dprkit.indexes.fuse import RRF_K, Method, fuse
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.rank_metrics import first_ranks, reciprocal, success


class Fusion(msgspec.Struct, frozen=True, kw_only=True):
    """How rankings are fused; goes through JSON unchanged."""

    method: Method = "rrf"
    weights: tuple[Annotated[float, Meta(ge=0)], ...] = ()
    """The weight of each engine, in their order; none: all the same."""
    rrf_k: Annotated[int, Meta(ge=0)] = RRF_K

    def of(self, rankings: Sequence[Hits], topk: int) -> Hits:
        """`fuse` with these settings."""
        return fuse(rankings, topk, self.weights or None, self.method, self.rrf_k)


# --- choosing -------------------------------------------------------------------------------------


class Trial(msgspec.Struct, frozen=True):
    """What a fusion reached on the questions it was tried with."""

    fusion: Fusion
    value: float


class Tuning(msgspec.Struct, frozen=True):
    """The best fusion, by `metric`, and all that were tried."""

    best: Trial
    metric: str
    trials: tuple[Trial, ...]


def tune(
    rankings: Sequence[Hits],
    gold_rows: Sequence[Sequence[int]],
    metric: str = "mrr@10",
    parts: int = 10,
) -> Tuning:
    """Choose method and weights by `mrr@K` or `recall@K` on Q questions with known passages.

    `rankings`: Hits (Q, K) of each index. `gold_rows`: for each of the Q, the rows of the passages
    that answer each question; one of them in the best K is a recall of 1, and none counts as not
    found. Weights are tried in steps of 1 / `parts`, an index alone among them. Of equals the one
    wins that is tried first: plain reciprocal rank fusion, then even weights before uneven ones.
    """
    match = re.fullmatch(r"(mrr|recall)@([1-9]\d*)", metric)
    if not match:
        raise SettingsError(f"{metric!r} is no measure to tune by; expected mrr@10 or recall@20")
    depth = int(match[2])
    gold = _padded(gold_rows)
    trials = []
    for fusion in _grid(len(rankings), parts):
        rows = fusion.of(rankings, depth).rows
        ranks = first_ranks((rows[:, :, None] == gold[:, None, :]).any(axis=2))
        value = (reciprocal if match[1] == "mrr" else success)(ranks, depth)
        trials.append(Trial(fusion, float(value.mean()) if len(value) else 0.0))
    return Tuning(max(trials, key=lambda trial: trial.value), metric, tuple(trials))


def _grid(indexes: int, parts: int) -> Iterator[Fusion]:
    yield Fusion()
    weights = sorted(_shares(indexes, parts), key=lambda shares: sum(s * s for s in shares))
    for rrf_k in (10, RRF_K):
        yield from (Fusion(weights=shares, rrf_k=rrf_k) for shares in weights)
    yield from (Fusion(method="weighted", weights=shares) for shares in weights)


def _shares(indexes: int, parts: int) -> Iterator[tuple[float, ...]]:
    """All ways to share 1 among the indexes in steps of 1 / parts."""
    for bars in combinations(range(parts + indexes - 1), indexes - 1):
        edges = (-1, *bars, parts + indexes - 1)
        yield tuple((high - low - 1) / parts for low, high in pairwise(edges))


def _padded(gold_rows: Sequence[Sequence[int]]) -> np.ndarray:
    """(Q, G), filled up with -2, which is no row that is ever found."""
    width = max((len(rows) for rows in gold_rows), default=0)
    return np.array([[*rows] + [-2] * (width - len(rows)) for rows in gold_rows], np.int64).reshape(
        len(gold_rows), width
    )
