"""What comparing systems will cost. It takes seconds, so nothing is tried."""

from __future__ import annotations

from dprkit.evaluation.arms import paths_of
from dprkit.pipeline.costs import Cost, Range
from dprkit.pipeline.trial import Trial
from dprkit.settings import CompareSettings

A_SYSTEM = Range(0.3, 1, 5)
"""Seconds to read the figures of a system and to test it, of hundreds of questions to thousands."""
A_PAIR = Range(3_000, 10_000, 40_000)
"""Bytes of comparison.json."""


def cost_of_comparison(settings: CompareSettings, trial: Trial) -> Cost:
    """By the number of the systems."""
    arms = paths_of(settings)
    trainings, pairs = sum(map(len, arms)), len(arms) * (len(arms) - 1) // 2
    return Cost(
        work=f"{len(arms)} systems",
        seconds=A_SYSTEM.times(trainings),
        disk=A_PAIR.times(pairs if settings.output_dir else 0),
    )
