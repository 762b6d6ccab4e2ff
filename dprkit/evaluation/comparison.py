"""The figures of a comparison: means with intervals, and a test of each pair of systems.

values of each training and question  -> means, intervals     `compared`
of two systems                        -> a Pair               `_pair`
p of all pairs and measures           -> p_holm               `correct`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from dprkit.evaluation.paired_tests import (
    EQUAL,
    effect_size,
    holm,
    mcnemar,
    pairs_of,
    sign_flips,
    smallest_visible,
)
from dprkit.evaluation.several_trainings import hierarchical_interval, spread_of
from dprkit.evaluation.statistics import bootstrap_means, is_share, mean, wilson_interval

if TYPE_CHECKING:
    import numpy as np

Interval = tuple[float, float]


class Pair(msgspec.Struct):
    """Two systems by one measure. A difference is that of `b` less that of `a`."""

    a: int
    b: int
    difference: float | None
    interval: Interval | None
    """The 95 % interval of the difference."""
    p: float | None
    p_holm: float | None
    """p corrected for all pairs and measures of the call."""
    test: str
    wins: int
    """Questions on which `b` is better; with several trainings: on average."""
    losses: int
    ties: int
    effect: float | None
    """The mean difference in parts of the standard deviation of the questions' differences."""
    smallest_visible: float | None
    """The difference that such questions show in four of five cases."""


class Comparison(msgspec.Struct):
    """All systems by one measure."""

    questions: int
    """On which the measure is defined in all systems."""
    values: list[float | None]
    intervals: list[Interval | None]
    spreads: list[float | None]
    """The standard deviation of the means of a system's trainings; None of a single one."""
    pairs: list[Pair]


Comparisons = dict[str, Comparison]
"""Measure -> the systems by it."""
Table = Mapping[str, Sequence["np.ndarray"]]
"""Measure -> of each system, (R, Q) values of its R trainings; NaN where it is undefined."""


def compared(table: Table, permutations: int, seed: int = 0) -> Comparisons:
    """The systems by each measure, on the questions where it is defined for all of them.

    p_holm is for `correct` to set.
    """
    import numpy as np

    known = {}
    for measure, systems in table.items():
        defined = ~np.isnan(np.concatenate(systems)).any(axis=0)
        known[measure] = [system[:, defined] for system in systems]
    p = _by_flips(table, permutations, seed)
    resampled = _resampled(known, seed)
    return {
        measure: _compared(systems, resampled.get(measure, ()), p.get(measure, {}), seed)
        for measure, systems in known.items()
    }


def _by_flips(
    table: Table, permutations: int, seed: int
) -> dict[str, dict[tuple[int, int], float]]:
    """Measure -> pair -> p by random flips, of systems with one training and measures of shares."""
    import numpy as np

    single = [n for n, values in enumerate(next(iter(table.values()))) if len(values) == 1]
    stacked = {}
    for measure, systems in table.items():
        values = np.concatenate([systems[n] for n in single]) if single[1:] else np.empty((0, 0))
        if values.size and not is_share(values[~np.isnan(values)]):
            stacked[measure] = np.where(np.isnan(np.concatenate(systems)).any(axis=0), 0.0, values)
    if not stacked:
        return {}
    p = sign_flips(np.stack(list(stacked.values()), axis=1), permutations, seed)
    pairs = [(single[a], single[b]) for a, b in pairs_of(len(single))]
    return {
        measure: dict(zip(pairs, p[:, column].tolist(), strict=True))
        for column, measure in enumerate(stacked)
    }


def _resampled(known: Table, seed: int) -> dict[str, list[np.ndarray]]:
    """Measure -> of each system, (N, R) means of its trainings on N draws of the questions.

    Measures of as many questions have the same draws.
    """
    import numpy as np

    alike: dict[int, list[str]] = {}
    for measure, systems in known.items():
        if systems[0].shape[1]:
            alike.setdefault(systems[0].shape[1], []).append(measure)
    found: dict[str, list[np.ndarray]] = {}
    for measures in alike.values():
        columns = np.concatenate([rows for m in measures for rows in known[m]]).T
        means, at = bootstrap_means(columns, seed), 0
        for measure in measures:
            found[measure] = []
            for system in known[measure]:
                found[measure].append(means[:, at : at + len(system)])
                at += len(system)
    return found


def _compared(
    systems: Sequence[np.ndarray],
    resampled: Sequence[np.ndarray],
    flips: Mapping[tuple[int, int], float],
    seed: int,
) -> Comparison:
    pairs = pairs_of(len(systems))
    if not systems[0].shape[1]:
        nothing = [None] * len(systems)
        empty = [Pair(a, b, None, None, None, None, "", 0, 0, 0, None, None) for a, b in pairs]
        return Comparison(0, [*nothing], [*nothing], [*nothing], empty)
    return Comparison(
        systems[0].shape[1],
        [mean(system.mean(axis=0)) for system in systems],
        [_interval(*both, seed) for both in zip(systems, resampled, strict=True)],
        [float(system.mean(axis=1).std(ddof=1)) if len(system) > 1 else None for system in systems],
        [
            _pair(
                (a, b),
                (systems[a], systems[b]),
                (resampled[a], resampled[b]),
                flips.get((a, b)),
                seed,
            )
            for a, b in pairs
        ],
    )


def _interval(system: np.ndarray, resampled: np.ndarray, seed: int) -> Interval | None:
    """The 95 % interval of a mean: as `evaluate` has it, or over trainings too, within 0 and 1.

    None of several trainings with one question, which tells nothing of others.
    """
    import numpy as np

    if len(system) > 1:
        if system.shape[1] == 1:
            return None
        low, high = hierarchical_interval([system], [resampled], seed)
        within = system.min() >= 0 and system.max() <= 1
        return (max(0.0, low), min(1.0, high)) if within else (low, high)
    if is_share(system):
        return wilson_interval(mean(system[0]), system.shape[1])
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _pair(
    places: tuple[int, int],
    systems: tuple[np.ndarray, np.ndarray],
    resampled: tuple[np.ndarray, np.ndarray],
    flips: float | None,
    seed: int,
) -> Pair:
    import numpy as np

    first, second = (system.mean(axis=0) for system in systems)
    differences = second - first
    wins, losses = int((differences > EQUAL).sum()), int((differences < -EQUAL).sum())
    ties = len(differences) - wins - losses
    difference = mean(second) - mean(first)
    visible, interval = smallest_visible(differences), None
    if all(len(system) == 1 for system in systems):
        low, high = np.percentile(resampled[1] - resampled[0], [2.5, 97.5])
        interval = float(low), float(high)
        test = "McNemar" if flips is None else "randomisation"
        p = float(mcnemar(np.array(wins), np.array(losses))) if flips is None else flips
    elif len(differences) == 1:
        test, p = "trainings", 1.0
    else:
        spread = spread_of(*systems)
        p, test = spread.p_value(difference), "trainings"
        interval = hierarchical_interval(systems, resampled, seed)
        visible = spread.smallest_visible()
    effect = effect_size(differences)
    return Pair(*places, difference, interval, p, None, test, wins, losses, ties, effect, visible)


def correct(comparisons: Iterable[Comparisons]) -> int:
    """Set p_holm of all pairs, which are one family of tests. Returns their number."""
    import numpy as np

    pairs = [
        pair
        for of_measure in comparisons
        for comparison in of_measure.values()
        for pair in comparison.pairs
        if pair.p is not None
    ]
    corrected = holm(np.array([pair.p for pair in pairs], np.float64))
    for pair, value in zip(pairs, corrected.tolist(), strict=True):
        pair.p_holm = value
    return len(pairs)
