"""Metrics from the figures of questions, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dprkit.evaluation.judging import Figures
from dprkit.evaluation.measures import Measure, at
from dprkit.evaluation.metrics import Metrics, metrics_of, own_values, said_once


def of_answers(*ranks: int | None) -> list[Figures]:
    return [Figures(str(n), "", 100, answer_rank=rank) for n, rank in enumerate(ranks)]


def of_gold(*ranks: tuple[int | None, ...]) -> list[Figures]:
    return [Figures(str(n), "", 100, gold_ranks=own) for n, own in enumerate(ranks)]


def measured(figures: list[Figures], depths: tuple[int, ...], reach: int = 1) -> Metrics:
    return metrics_of(said_once(own_values(figures, depths, reach), figures), figures)


def test_answer_recall_is_the_share_of_questions_with_a_hit_that_high():
    metrics = measured(of_answers(1, 3, None, 20), (1, 3, 19, 20, 100))
    assert list(metrics.values["answer_recall"].values()) == [0.25, 0.5, 0.5, 0.75, 0.75]
    assert metrics.counts == {"answer_recall": 4}


def test_mrr_has_depths_of_its_own_which_the_rankings_must_reach():
    figures = of_answers(1, 2, None, 40)
    of_ten = pytest.approx((1 + 0.5) / 4)
    of_hundred = pytest.approx((1 + 0.5 + 1 / 40) / 4)
    for depths in ((1,), (1, 5, 1000)):
        assert measured(figures, depths, 9).values.keys() == {"answer_recall"}
        assert measured(figures, depths, 10).values["answer_mrr"] == {"10": of_ten}
        both = measured(figures, depths, 1000).values["answer_mrr"]
        assert both == {"10": of_ten, "100": of_hundred}


def test_with_several_gold_passages_recall_is_the_share_found_and_success_any():
    metrics = measured(of_gold((1, 4), (2, None), (None, None, None)), (1, 2, 4), 10)
    assert metrics.values == {
        "passage_recall": {
            "1": pytest.approx((1 / 2 + 0 + 0) / 3),
            "2": pytest.approx((1 / 2 + 1 / 2 + 0) / 3),
            "4": pytest.approx((1 + 1 / 2 + 0) / 3),
        },
        "passage_success": {"1": 1 / 3, "2": 2 / 3, "4": 2 / 3},
        "mrr": {"10": pytest.approx((1 + 1 / 2 + 0) / 3)},
    }
    assert set(metrics.counts.values()) == {3}


def test_with_one_gold_passage_each_recall_is_success_and_said_once():
    metrics = measured(of_gold((1,), (None,)), (1,), 10)
    assert metrics.values == {"passage_recall": {"1": 0.5}, "mrr": {"10": 0.5}}
    assert metrics.counts == {"passage_recall": 2, "mrr": 2}


def test_a_metric_is_of_the_questions_that_have_what_it_needs():
    metrics = measured([*of_answers(1, None), *of_gold((2,))], (2,), 10)
    counts = {"answer_recall": 2, "answer_mrr": 2, "passage_recall": 1, "mrr": 1}
    assert metrics.counts == counts
    assert metrics.unjudged["answer_recall"] == {"2": 1}
    assert metrics.unjudged["mrr"] == {"10": 2}
    assert metrics.values["mrr"] == {"10": 0.5}


def test_a_measure_that_no_question_defines_is_null_and_never_0():
    figures = of_answers(1, None)
    metrics = metrics_of({Measure("AP"): np.full(2, np.nan)}, figures)
    assert (metrics.values, metrics.intervals) == ({"AP": {"": None}}, {"AP": {"": None}})
    assert (metrics.counts, metrics.unjudged) == ({"AP": 0}, {"AP": {"": 2}})


def test_missing_questions_and_ties_are_counted_for_each_measure():
    figures = [
        Figures("a", "", 9, ties=2, tied=(5,)),
        Figures("b", "", 9, ties=1),
        Figures("c", "", 0, missing=True),
        Figures("d", "", 0, missing=True),
        Figures("e", "", 9, ties=2, tied=(5,)),
    ]
    undefined_for_d_and_e = np.array([1.0, 0.5, 0.0, np.nan, np.nan])
    values = {at("P", 5): undefined_for_d_and_e, Measure("AP"): undefined_for_d_and_e}
    metrics = metrics_of(values, figures)
    assert metrics.missing == {"P": {"5": 1}, "AP": {"": 1}}
    assert metrics.tied == {"P": {"5": 1}, "AP": {"": 2}}
    assert metrics.values["P"] == {"5": 0.5}
