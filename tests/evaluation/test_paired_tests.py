"""Paired tests beside scipy's and statsmodels' own on the same data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from dprkit.evaluation.paired_tests import (
    effect_size,
    holm,
    mcnemar,
    pairs_of,
    sign_flips,
    smallest_visible,
)


def scipys(a, b, resamples):
    """scipy's randomisation test of a mean difference of pairs."""
    return stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(y - x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(7),
    ).pvalue


def systems(count, questions, seed=0, step=0.0):
    """(S, 1, Q) values that share the difficulty of the questions."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random(questions)
    noise = generator.normal(0, 0.2, (count, questions))
    drift = step * np.arange(count)[:, None]
    return np.clip(difficulty + noise + drift, 0, 1)[:, None]


@pytest.mark.parametrize("seed", range(5))
def test_few_differences_are_tested_by_all_flips_as_scipy_does(seed):
    values = systems(2, 11, seed, step=0.1)
    a, b = values[:, 0]
    assert sign_flips(values, 100)[0, 0] == pytest.approx(scipys(a, b, np.inf), abs=1e-12)


def test_equal_sums_count_as_far_also_where_scores_are_thirds():
    a = np.zeros(12)
    b = np.array([1 / 3, 2 / 3, -1 / 3, 1 / 3, 1 / 3, -2 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0])
    values = np.stack([a, b])[:, None]
    assert sign_flips(values, 10)[0, 0] == pytest.approx(scipys(a, b, np.inf), abs=1e-12)
    many = np.tile(values, 40)  # 320 differences: drawn, where a third is not exact in float32
    share = sign_flips(many, 20_000)[0, 0]
    assert share == pytest.approx(scipys(many[0, 0], many[1, 0], 4000), abs=0.03)


@pytest.mark.parametrize("step", [0.0, 0.01, 0.02])
def test_many_differences_are_tested_by_drawn_flips_with_scipys_p(step):
    values = systems(3, 200, 3, step)
    p = sign_flips(values, 50_000)[:, 0]
    for (a, b), mine in zip(pairs_of(3), p, strict=True):
        expected = scipys(values[a, 0], values[b, 0], 4000)
        assert mine == pytest.approx(expected, abs=4 * (0.25 / 4000) ** 0.5)


def test_p_of_drawn_flips_is_never_0_and_repeats():
    values = np.stack([np.zeros(60), np.linspace(0.1, 1, 60)])[:, None]
    assert sign_flips(values, 999, seed=1)[0, 0] == 1 / 1000
    noisy = systems(2, 100, 5, 0.02)
    assert sign_flips(noisy, 999, seed=4) == sign_flips(noisy, 999, seed=4)


def test_measures_and_pairs_are_tested_each_as_alone():
    values = np.concatenate([systems(4, 90, seed, 0.02) for seed in (1, 2, 3)], axis=1)
    together = sign_flips(values, 4000)
    assert together.shape == (6, 3)
    for pair, (a, b) in enumerate(pairs_of(4)):
        for measure in range(3):
            alone = sign_flips(values[[a, b], measure : measure + 1], 4000)[0, 0]
            assert together[pair, measure] == pytest.approx(alone, abs=0.035)


def test_systems_that_agree_on_all_questions_have_p_1():
    assert sign_flips(np.ones((2, 1, 30)), 100)[0, 0] == 1.0


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (6, 0), (5, 9), (210, 146), (7, 7)])
def test_hits_are_tested_by_mcnemars_exact_test_as_statsmodels_does(wins, losses):
    table = [[50, losses], [wins, 20]]
    expected = statsmodels_mcnemar(table, exact=True).pvalue if wins + losses else 1.0
    assert mcnemar(np.array(wins), np.array(losses)) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_is_the_randomisation_test_of_hits():
    a = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0], float)
    b = np.array([1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0], float)
    flips = sign_flips(np.stack([a, b])[:, None], 10)[0, 0]
    assert flips == pytest.approx(float(mcnemar(np.array(6), np.array(1))))


def test_holm_is_statsmodels_holm():
    p = np.random.default_rng(2).random((7, 4)) ** 3
    expected = multipletests(p.ravel(), method="holm")[1]
    assert holm(p).ravel() == pytest.approx(expected, abs=1e-15)


def test_what_is_no_test_does_not_count_for_holm():
    corrected = holm(np.array([0.01, np.nan, 0.04]))
    assert corrected[[0, 2]].tolist() == [0.02, 0.04] and np.isnan(corrected[1])


def test_an_effect_size_is_the_mean_over_the_standard_deviation():
    assert effect_size(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)
    assert effect_size(np.array([0.5, 0.5])) is None
    values = np.array([0.1, 0.2, 0.3, 0.7])  # whose differences of 0.1 are not quite the same
    assert effect_size(values + 0.1 - values) is None
    assert smallest_visible(values + 0.1 - values) is None


def test_a_difference_that_is_called_visible_is_found_four_times_of_five():
    generator = np.random.default_rng(0)
    visible = smallest_visible(generator.normal(0, 0.3, 100_000)[:400])
    samples = generator.normal(visible, 0.3, (4000, 400))
    found = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.8, abs=0.05)


def test_a_difference_of_fewer_hits_than_any_test_finds_is_not_called_visible():
    differences = np.zeros(1000)
    differences[0] = 1
    assert smallest_visible(differences) == pytest.approx(6 / 1000)
    assert smallest_visible(np.zeros(10)) is None


@pytest.mark.slow
def test_without_a_difference_5_of_100_tests_call_one():
    called = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        values = generator.beta(0.5, 0.5, (2, 25, 120))
        called.append(sign_flips(values, 2000, seed) < 0.05)
    assert 0.03 < np.mean(called) < 0.07
