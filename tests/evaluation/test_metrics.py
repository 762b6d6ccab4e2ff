import numpy as np
import pytest
from scipy.stats import binomtest

from dprkit.evaluation.metrics import (
    bootstrap_interval,
    first_hit,
    mean_reciprocal_rank,
    recall_at,
    wilson_interval,
)


def test_the_first_hit_counts_from_one():
    assert first_hit([False, True, True]) == 2
    assert first_hit([False]) is None
    assert first_hit([]) is None


def test_recall_is_the_share_of_questions_with_a_hit_that_high():
    ranks = [1, 3, None, 20]
    assert [recall_at(ranks, k) for k in (1, 3, 19, 20, 100)] == [0.25, 0.5, 0.5, 0.75, 0.75]


def test_mrr_counts_nothing_below_its_depth():
    assert mean_reciprocal_rank([1, 2, None, 4], 100) == pytest.approx((1 + 0.5 + 0.25) / 4)
    assert mean_reciprocal_rank([1, 2, None, 4], 3) == pytest.approx(1.5 / 4)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (3, 7), (1656, 3610)])
def test_the_interval_of_a_share_is_scipys_wilson_interval(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((expected.low, expected.high))


def test_the_bootstrap_interval_is_near_the_normal_one_and_repeats():
    values = np.random.default_rng(3).random(2000).tolist()
    low, high = bootstrap_interval(values)
    half = 1.96 * np.std(values) / np.sqrt(len(values))
    assert low == pytest.approx(np.mean(values) - half, abs=2e-3)
    assert high == pytest.approx(np.mean(values) + half, abs=2e-3)
    assert bootstrap_interval(values) == (low, high)
