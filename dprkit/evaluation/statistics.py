"""Means over questions and their 95 % intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
RESAMPLES = 1000
DRAWN_BYTES = 1 << 25
"""Memory for the draws of a bootstrap that are made at once."""


def mean(values: np.ndarray) -> float:
    """The mean of values (Q,), summed in their order: numpy's own differs in the last digit."""
    return float(sum(values.tolist()) / len(values))


def is_share(values: np.ndarray) -> bool:
    """Whether the mean of values (Q,) is the share of questions that succeed."""
    return bool(((values == 0) | (values == 1)).all())


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


def bootstrap_intervals(values: np.ndarray, seed: int = 0) -> list[tuple[float, float]]:
    """The 95 % percentile-bootstrap intervals of the means of the columns of values (Q, M).

    All of them come from the same RESAMPLES draws of questions (Efron 1979).
    """
    import numpy as np

    ends = np.percentile(bootstrap_means(values, seed), [2.5, 97.5], axis=0)
    lows, highs = ends.round(12)  # beyond that a processor's order of additions would show
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


def bootstrap_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """(RESAMPLES, M) means of the columns of values (Q, M) in draws of Q questions.

    All columns have the same draws. Products with the times that each question was drawn are many
    times faster than rows picked one by one.
    """
    import numpy as np

    generator, count = np.random.default_rng(seed), len(values)
    at_once = max(1, DRAWN_BYTES // (8 * count))
    means = []
    for begin in range(0, RESAMPLES, at_once):
        times = [
            np.bincount(generator.integers(count, size=count), minlength=count)
            for _ in range(min(at_once, RESAMPLES - begin))
        ]
        means.append(np.array(times, np.float64) @ values / count)
    return np.concatenate(means)
