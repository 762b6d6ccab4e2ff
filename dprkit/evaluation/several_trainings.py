"""Systems that were trained several times: what differs between methods, not between two models.

A system is an array (R, Q): the values of R trainings for the same Q questions. Other trainings
and other questions would give other means; both spreads are estimated from the mean squares of the
trainings, of the questions, and of what is left (Hillis 2014, "A marginal-mean ANOVA approach for
analyzing multireader multicase radiological imaging data": there readers look at cases).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dprkit.evaluation.statistics import Z95

if TYPE_CHECKING:
    import numpy as np


POWER, LEAN = 1.5, 8
"""How degrees of freedom are reckoned, found by simulation of two methods without a difference.

Hillis's power of the share of trainings in the variance is 2, and Welch's second formula (1947) has
2 in the place of LEAN. Three trainings each that vary alike are called different in 4.5 to 5.0 of
100 cases (with 2 and 2: 4.1 to 5.5), and where one method alone varies in up to 6.5 (6.9). Pooled
trainings have 5, and 11."""


class Spread(NamedTuple):
    """How far a mean, or the difference of two, may be from that of all trainings and questions."""

    variance: float
    freedom: float
    """Degrees of freedom of the variance."""

    def p_value(self, mean: float) -> float:
        """Two-sided p that the true mean is 0."""
        from scipy.special import stdtr

        if not mean:
            return 1.0
        if not self.variance:
            return 0.0
        return float(2 * stdtr(self.freedom, -abs(mean) / math.sqrt(self.variance)))

    def smallest_visible(self) -> float:
        """The true difference that a test at .05 finds four times of five."""
        from scipy.special import stdtrit

        found = float(stdtrit(self.freedom, 0.8))
        return self.half_width() + found * math.sqrt(self.variance)

    def half_width(self) -> float:
        """Half of the 95 % interval."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 0.975)) * math.sqrt(self.variance)


def spread_of(*systems: np.ndarray) -> Spread:
    """The spread of the mean of one system (R, Q), or of the difference of two.

    One of two may have a single training: then its trainings are taken to vary as the other's.
    """
    count = systems[0].shape[1]
    several = [system for system in systems if len(system) > 1]
    single = len(systems) - len(several)
    # What each system's mean squares count for: those of the other stand for a single training's.
    weights = [1 / len(system) + single for system in several]
    of_trainings = [w * s.mean(axis=1).var(ddof=1) for w, s in zip(weights, several, strict=True)]
    of_rest = sum(w * _rest(s) / count for w, s in zip(weights, several, strict=True))
    first, *others = [system.mean(axis=0) for system in systems]
    of_questions = (first - sum(others)).var(ddof=1) / count
    trainings = float(sum(of_trainings))
    variance = trainings + max(0.0, float(of_questions - of_rest))
    freedom = count - 1.0
    if trainings:
        own = _freedom(of_trainings, [len(system) - 1 for system in several])
        freedom = min(freedom, own * (variance / trainings) ** POWER)
    return Spread(variance, freedom)


def _rest(values: np.ndarray) -> float:
    """The mean square of values (R, Q) without the means of their rows and columns."""
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return float((rest**2).sum() / ((values.shape[0] - 1) * (values.shape[1] - 1)))


def _freedom(variances: Sequence[float], each: Sequence[int]) -> float:
    """Degrees of freedom of a sum of variances that have `each`, as Welch's second formula has it.

    They are those of one variance that is much larger than the others, and the sum of all of them
    where the variances are alike.
    """
    parts = sum(variance**2 / (f + LEAN) for variance, f in zip(variances, each, strict=True))
    return min(max(float(sum(variances)) ** 2 / parts - LEAN, min(each)), sum(each))


def hierarchical_interval(
    systems: Sequence[np.ndarray], resampled: Sequence[np.ndarray], seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean of one system (R, Q), or of the second less the first.

    By a hierarchical bootstrap: `resampled`, (N, R) of each system, are the means of its trainings
    in N draws of questions, and of each draw trainings are drawn too. A few trainings drawn again
    vary too little, so the means are stretched about their own mean until they vary as `spread_of`
    says, with the tails of its degrees of freedom.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    drawn = [
        np.take_along_axis(m, generator.integers(m.shape[1], size=m.shape), 1).mean(axis=1)
        for m in resampled
    ]
    means = drawn[0] if len(drawn) == 1 else drawn[1] - drawn[0]
    middle = systems[0].mean() if len(systems) == 1 else systems[1].mean() - systems[0].mean()
    varied = Z95 * means.std()
    stretch = spread_of(*systems).half_width() / varied if varied else 0.0
    low, high = middle + (np.percentile(means, [2.5, 97.5]) - means.mean()) * stretch
    return float(low), float(high)
