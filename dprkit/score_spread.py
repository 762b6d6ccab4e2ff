"""Where scores lie, and how sharp a list of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np


class Spread(msgspec.Struct):
    """How scores lie: of `count` of them. None where there are none."""

    count: int
    mean: float | None = None
    min: float | None = None
    quartile_1: float | None = None
    median: float | None = None
    quartile_3: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """Of (N,) values; quartiles as numpy has them."""
        import numpy as np

        if not len(values):
            return cls(0)
        mean = float(values.mean(dtype=np.float64))
        marks = [float(mark) for mark in np.percentile(values, [0, 25, 50, 75, 100])]
        return cls(len(values), mean, marks[0], marks[1], marks[2], marks[3], marks[4])


def entropy(scores: np.ndarray) -> float:
    """Of the softmax of (N,) scores, in bits."""
    import numpy as np

    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())
