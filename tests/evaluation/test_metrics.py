"""Metrics from the figures of questions, against values worked out by hand."""

from __future__ import annotations

import pytest

from dprkit.evaluation.judging import Figures
from dprkit.evaluation.metrics import metrics_of


def of_answers(*ranks: int | None) -> list[Figures]:
    return [Figures(str(n), 100, answer_rank=rank) for n, rank in enumerate(ranks)]


def of_gold(*ranks: tuple[int | None, ...]) -> list[Figures]:
    return [Figures(str(n), 100, gold_ranks=own) for n, own in enumerate(ranks)]


def test_answer_recall_is_the_share_of_questions_with_a_hit_that_high():
    metrics = metrics_of(of_answers(1, 3, None, 20), (1, 3, 19, 20, 100))
    assert list(metrics.values["answer_recall"].values()) == [0.25, 0.5, 0.5, 0.75, 0.75]
    assert metrics.counts == {"answer_recall": 4, "answer_mrr": 4}


def test_mrr_counts_nothing_below_its_depth():
    ranks = (1, 2, None, 4)
    assert metrics_of(of_answers(*ranks), (3,)).values["answer_mrr"] == {"3": 1.5 / 4}
    expected = {"100": pytest.approx((1 + 0.5 + 0.25) / 4)}
    assert metrics_of(of_answers(*ranks), (5, 1000)).values["answer_mrr"] == expected


def test_with_several_gold_passages_recall_is_the_share_found_and_success_any():
    metrics = metrics_of(of_gold((1, 4), (2, None), (None, None, None)), (1, 2, 4))
    assert metrics.values == {
        "passage_recall": {
            "1": pytest.approx((1 / 2 + 0 + 0) / 3),
            "2": pytest.approx((1 / 2 + 1 / 2 + 0) / 3),
            "4": pytest.approx((1 + 1 / 2 + 0) / 3),
        },
        "passage_success": {"1": 1 / 3, "2": 2 / 3, "4": 2 / 3},
        "mrr": {"4": pytest.approx((1 + 1 / 2 + 0) / 3)},
    }
    assert set(metrics.counts.values()) == {3}


def test_with_one_gold_passage_each_recall_is_success_and_said_once():
    metrics = metrics_of(of_gold((1,), (None,)), (1,))
    assert metrics.values == {"passage_recall": {"1": 0.5}, "mrr": {"1": 0.5}}
    assert metrics.counts == {"passage_recall": 2, "mrr": 2}


def test_a_metric_is_of_the_questions_that_have_what_it_needs():
    metrics = metrics_of([*of_answers(1, None), *of_gold((2,))], (2,))
    assert metrics.counts == {
        "answer_recall": 2,
        "answer_mrr": 2,
        "passage_recall": 1,
        "mrr": 1,
    }
    assert metrics.values["mrr"] == {"2": 0.5}
