"""The metrics of a set of questions: means of the values of their measures.

figures of each question   -> values, a column a measure    own_values, evaluation/measures.py
values                     -> means, intervals and counts   metrics_of
the same of some questions                                  evaluation/slices.py

A value is NaN where its measure is undefined for the question, which the mean then leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from dprkit.evaluation.judging import Figures
from dprkit.evaluation.measures import FIRST_RANK_DEPTHS, Measure, at
from dprkit.evaluation.statistics import bootstrap_intervals, is_share, mean, wilson_interval
from dprkit.rank_metrics import reciprocal, success

if TYPE_CHECKING:
    import numpy as np

ByDepth = dict[str, dict[str, Any]]
"""Name of a metric -> depth k, "" for none -> its value."""
Values = dict[Measure, "np.ndarray"]
"""Measure -> (Q,) its float64 value for each question; NaN: undefined."""


class Metrics(NamedTuple):
    """Metrics as shares, their 95 % intervals, and what they are measured on."""

    values: ByDepth
    intervals: ByDepth
    counts: dict[str, int]
    """Name -> questions that it is the mean of."""
    missing: ByDepth
    """How many of these had no ranking, and count 0."""
    unjudged: ByDepth
    """Questions that have nothing to judge by, and are left out."""
    tied: ByDepth
    """Rankings with equal scores at the depth and below it."""


def own_values(figures: Sequence[Figures], depths: Sequence[int], reach: int) -> Values:
    """Our measures of the best k passages, k of `depths`, where any question has what they need.

    The reciprocal of the first rank has depths of its own, up to `reach`.
    """
    import numpy as np

    answered = np.array([figure.answer_rank is not UNSET for figure in figures])
    judged = np.array([bool(figure.gold_ranks) for figure in figures])
    first_answers = [
        None if figure.answer_rank is UNSET else figure.answer_rank for figure in figures
    ]
    first_gold = [(figure.gold_ranks or (None,))[0] for figure in figures]
    mrr_depths = [k for k in FIRST_RANK_DEPTHS if k <= reach]
    values: Values = {}
    if answered.any():
        first = _ranks(first_answers, answered)
        values |= {at("answer_recall", k): _success(first, k) for k in depths}
        values |= {at("answer_mrr", k): reciprocal(first, k) for k in mrr_depths}
    if judged.any():
        first = _ranks(first_gold, judged)
        values |= {at("passage_recall", k): _shares(figures, k) for k in depths}
        values |= {at("passage_success", k): _success(first, k) for k in depths}
        values |= {at("mrr", k): reciprocal(first, k) for k in mrr_depths}
    return values


def _ranks(ranks: Sequence[int | None], defined: np.ndarray) -> np.ndarray:
    """(Q,) ranks, infinite for None, and NaN where defined (Q,) is not."""
    import numpy as np

    array = np.array([np.inf if rank is None else rank for rank in ranks])
    return np.where(defined, array, np.nan)


def _success(ranks: np.ndarray, k: int) -> np.ndarray:
    """(Q,) 1 or 0 by the ranks (Q,), and NaN where they are."""
    import numpy as np

    return np.where(np.isnan(ranks), np.nan, success(ranks, k))


def _shares(figures: Sequence[Figures], k: int) -> np.ndarray:
    """(Q,) the share of each question's gold passages among the best `k`; NaN: it has none."""
    import numpy as np

    return np.array([_share(figure.gold_ranks, k) for figure in figures])


def _share(ranks: Sequence[int | None], k: int) -> float:
    found = sum(rank is not None and rank <= k for rank in ranks)
    return found / len(ranks) if ranks else nan


def said_once(values: Values, figures: Sequence[Figures]) -> Values:
    """Without passage_success where it equals passage_recall: where no question names several."""
    if any(len(figure.gold_ranks) > 1 for figure in figures):
        return values
    return {m: own for m, own in values.items() if m.name != "passage_success"}


def metrics_of(values: Values, figures: Sequence[Figures], seed: int = 0) -> Metrics:
    """The metric of each measure; None where it is defined for no question."""
    import numpy as np

    metrics = Metrics({}, {}, {}, {}, {}, {})
    absent = np.array([figure.missing is True for figure in figures])
    defined = {measure: ~np.isnan(own) for measure, own in values.items()}
    values = {measure: own[defined[measure]] for measure, own in values.items()}
    intervals = _intervals(values, defined, seed)
    cuts = {measure.cut for measure in values}
    tied_at = {cut: np.array([_is_tied(figure, cut) for figure in figures]) for cut in cuts}
    for (name, depth, cut), own in values.items():
        known, tied = defined[Measure(name, depth, cut)], tied_at[cut]
        metrics.values.setdefault(name, {})[depth] = mean(own) if len(own) else None
        metrics.intervals.setdefault(name, {})[depth] = intervals.get(Measure(name, depth, cut))
        metrics.counts[name] = len(own)
        metrics.missing.setdefault(name, {})[depth] = int(absent[known].sum())
        metrics.unjudged.setdefault(name, {})[depth] = int((~known).sum())
        metrics.tied.setdefault(name, {})[depth] = int(tied[known].sum())
    return metrics


def _is_tied(figures: Figures, cut: int) -> bool:
    """Whether the order of equal scores decides what is above the cut; 0: cut nowhere."""
    if cut:
        return figures.tied is not UNSET and cut in figures.tied
    return figures.ties is not UNSET


def _intervals(
    values: Values, defined: dict[Measure, np.ndarray], seed: int
) -> dict[Measure, tuple[float, float]]:
    """The interval of each mean; those of the same questions come from the same draws."""
    import numpy as np

    intervals, drawn = {}, dict[bytes, list[Measure]]()
    for measure, own in values.items():
        if not len(own):
            continue
        if is_share(own):
            intervals[measure] = wilson_interval(mean(own), len(own))
        else:
            drawn.setdefault(defined[measure].tobytes(), []).append(measure)
    for measures in drawn.values():
        columns = np.stack([values[measure] for measure in measures], axis=1)
        intervals |= dict(zip(measures, bootstrap_intervals(columns, seed), strict=True))
    return intervals
