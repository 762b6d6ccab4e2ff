"""Retrieval metrics over rankings, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

RESAMPLES = 1000
MRR_DEPTH = 100


def first_hit(flags: Sequence[bool]) -> int | None:
    """The 1-based rank of the first True, or None."""
    return next((rank for rank, flag in enumerate(flags, start=1) if flag), None)


def recall_at(first_hits: Sequence[int | None], k: int) -> float:
    """The share of questions whose first hit is among the best `k`.

    With "the passage holds an answer" as the hit this is answer recall, the field's top-k
    accuracy (Karpukhin et al. 2020, section 5.1); with "is the gold passage", gold recall.
    """
    return sum(rank is not None and rank <= k for rank in first_hits) / len(first_hits)


def mean_reciprocal_rank(first_hits: Sequence[int | None], k: int = MRR_DEPTH) -> float:
    """The mean of 1 / rank of the first hit; 0 for a question without one among the best `k`."""
    return sum(reciprocal_ranks(first_hits, k)) / len(first_hits)


def reciprocal_ranks(first_hits: Sequence[int | None], k: int) -> list[float]:
    return [1 / rank if rank is not None and rank <= k else 0.0 for rank in first_hits]


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` independent questions.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference": unlike
    the normal interval it stays within [0, 1] and has a width at 0 and 1.
    """
    z2 = Z95 * Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    low = 0.0 if share == 0 else max(0.0, middle - half)
    return low, 1.0 if share == 1 else min(1.0, middle + half)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of a mean, from RESAMPLES draws (Efron 1979)."""
    import numpy as np

    sample = np.asarray(values)
    generator = np.random.default_rng(seed)
    means = [
        sample[generator.integers(len(sample), size=len(sample))].mean() for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
