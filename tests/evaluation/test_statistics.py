import numpy as np
import pytest
from scipy.stats import binomtest

from dprkit.evaluation.statistics import bootstrap_intervals, is_share, mean, wilson_interval


def test_a_mean_is_summed_in_order():
    values = np.random.default_rng(1).random(1000)
    total = 0.0
    for value in values.tolist():
        total += value
    assert mean(values) == total / 1000


def test_a_mean_of_zeros_and_ones_is_a_share():
    assert is_share(np.array([1.0, 0.0, 1.0]))
    assert not is_share(np.array([1.0, 0.0, 0.5]))


def test_another_seed_draws_other_questions_and_all_means_share_the_draws():
    values = np.random.default_rng(5).random((50, 2))
    assert bootstrap_intervals(values, 1) != bootstrap_intervals(values, 2)
    alone = [bootstrap_intervals(column[:, None], 1)[0] for column in values.T]
    for one, together in zip(alone, bootstrap_intervals(values, 1), strict=True):
        assert together == pytest.approx(one)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (3, 7), (1656, 3610)])
def test_the_interval_of_a_share_is_scipys_wilson_interval(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((expected.low, expected.high))


def test_the_bootstrap_interval_is_near_the_normal_one_and_repeats():
    values = np.random.default_rng(3).random(2000)
    [(low, high)] = bootstrap_intervals(values[:, None])
    half = 1.96 * np.std(values) / np.sqrt(len(values))
    assert low == pytest.approx(np.mean(values) - half, abs=2e-3)
    assert high == pytest.approx(np.mean(values) + half, abs=2e-3)
    assert bootstrap_intervals(values[:, None]) == [(low, high)]
