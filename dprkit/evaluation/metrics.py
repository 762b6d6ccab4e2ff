"""The metrics of a set of questions, computed from the figures of each question.

Each metric is a mean over the questions that it is defined for, at one or several depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from dprkit.evaluation.judging import Figures
from dprkit.evaluation.statistics import interval, mean
from dprkit.rank_metrics import reciprocal, success

if TYPE_CHECKING:
    import numpy as np

MRR_DEPTH = 100
ByDepth = dict[str, dict[str, Any]]
"""Name of a metric -> depth k -> its value."""


class Metrics(NamedTuple):
    """Metrics as shares, their 95 % intervals, and the number of questions of each."""

    values: ByDepth
    intervals: ByDepth
    counts: dict[str, int]


def metrics_of(figures: Sequence[Figures], depths: Sequence[int]) -> Metrics:
    """All metrics for which some of the `figures` have what is needed."""
    metrics = Metrics({}, {}, {})
    for name, at_depths in (_of_answers(figures, depths) | _of_gold(figures, depths)).items():
        metrics.values[name] = {str(k): mean(values) for k, values in at_depths.items()}
        metrics.intervals[name] = {str(k): interval(values) for k, values in at_depths.items()}
        metrics.counts[name] = len(next(iter(at_depths.values())))
    return metrics


Values = dict[str, dict[int, "np.ndarray"]]
"""Name of a metric -> depth k -> (Q,) its value for each question that it is defined for."""


def _of_answers(figures: Sequence[Figures], depths: Sequence[int]) -> Values:
    """answer_recall: whether a passage holds an answer; answer_mrr: of the first that does."""
    ranks = [figure.answer_rank for figure in figures if figure.answer_rank is not UNSET]
    return _of_first(ranks, depths, "answer_recall", "answer_mrr") if ranks else {}


def _of_gold(figures: Sequence[Figures], depths: Sequence[int]) -> Values:
    """passage_recall: the share of a question's gold passages; mrr: of the first one.

    passage_success, whether any is found, is the same where each question names one; there it is
    left out.
    """
    named = [figure.gold_ranks for figure in figures if figure.gold_ranks]
    if not named:
        return {}
    of_first = _of_first([ranks[0] for ranks in named], depths, "passage_success", "mrr")
    if all(len(ranks) == 1 for ranks in named):
        return {"passage_recall": of_first.pop("passage_success")} | of_first
    return {"passage_recall": {k: _shares(named, k) for k in depths}} | of_first


def _of_first(
    ranks: Sequence[int | None], depths: Sequence[int], success_name: str, mrr_name: str
) -> Values:
    """Success and MRR by the rank of the first passage that counts; None: there is none."""
    import numpy as np

    array = np.array([np.inf if rank is None else rank for rank in ranks])
    mrr_depth = min(MRR_DEPTH, max(depths))
    return {
        success_name: {k: success(array, k) for k in depths},
        mrr_name: {mrr_depth: reciprocal(array, mrr_depth)},
    }


def _shares(named: Sequence[Sequence[int | None]], k: int) -> np.ndarray:
    """(Q,) the share of each question's gold passages that is among the best `k`."""
    import numpy as np

    return np.array(
        [sum(rank is not None and rank <= k for rank in ranks) / len(ranks) for ranks in named]
    )
