import numpy as np
import pytest
from scipy.stats import binomtest

from dprkit.evaluation.statistics import bootstrap_interval, interval, mean, wilson_interval


def test_a_mean_is_summed_in_order():
    values = np.random.default_rng(1).random(1000)
    total = 0.0
    for value in values.tolist():
        total += value
    assert mean(values) == total / 1000


def test_the_interval_of_a_share_is_wilsons_and_of_any_other_mean_the_bootstraps():
    flags = np.array([True, False, True])
    assert interval(flags) == wilson_interval(2 / 3, 3)
    assert interval(flags * 1.0) == bootstrap_interval(flags * 1.0)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (3, 7), (1656, 3610)])
def test_the_interval_of_a_share_is_scipys_wilson_interval(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((expected.low, expected.high))


def test_the_bootstrap_interval_is_near_the_normal_one_and_repeats():
    values = np.random.default_rng(3).random(2000)
    low, high = bootstrap_interval(values)
    half = 1.96 * np.std(values) / np.sqrt(len(values))
    assert low == pytest.approx(np.mean(values) - half, abs=2e-3)
    assert high == pytest.approx(np.mean(values) + half, abs=2e-3)
    assert bootstrap_interval(values) == (low, high)
