"""Systems with several trainings: the level of their test, and what their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dprkit.evaluation.several_trainings import hierarchical_interval, spread_of
from dprkit.evaluation.statistics import bootstrap_intervals, bootstrap_means

QUESTIONS = 300


def _hits(generator, odds):
    chance = 1 / (1 + np.exp(-odds))
    return (generator.random(chance.shape) < chance).astype(float)


def two_methods(seed, count, of_training, of_method):
    """Two methods without a difference, each with trainings of its own on the same questions."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(0, 1.5, QUESTIONS)

    def method():
        own = odds + generator.normal(0, of_method, QUESTIONS)
        return _hits(generator, own + generator.normal(0, of_training, (count, 1)))

    return method(), method()


def test_trainings_that_agree_leave_the_spread_of_the_questions():
    values = np.random.default_rng(0).random(50)
    a, b = np.tile(values, (3, 1)), np.tile(np.roll(values, 1), (3, 1))
    spread = spread_of(a, b)
    difference = values - np.roll(values, 1)
    assert spread.variance == pytest.approx(difference.var(ddof=1) / 50)
    assert spread.freedom == 49


def test_questions_that_agree_leave_the_spread_of_the_trainings():
    a = np.repeat([[0.1], [0.2], [0.6]], 40, axis=1)
    b = np.repeat([[0.5], [0.9], [0.7]], 40, axis=1)
    spread = spread_of(a, b)
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    statistic = (a.mean() - b.mean()) / spread.variance**0.5
    assert statistic == pytest.approx(welch.statistic)
    assert welch.df <= spread.freedom <= 4  # of 3 and 3 trainings, 4 if they vary alike


def test_a_method_with_one_training_is_taken_to_vary_as_the_other():
    a = np.repeat([[0.1], [0.2], [0.6]], 40, axis=1)
    b = np.full((1, 40), 0.9)
    spread = spread_of(a, b)
    assert spread.variance == pytest.approx(np.var([0.1, 0.2, 0.6], ddof=1) * (1 / 3 + 1))
    assert spread.freedom == pytest.approx(2)


def test_a_method_that_is_the_other_has_p_1_and_one_that_always_wins_has_p_0():
    a, b = np.zeros((3, 20)), np.ones((3, 20))
    assert spread_of(a, b).p_value(0.0) == 1.0
    assert spread_of(a, b).p_value(1.0) == 0.0


def test_the_draws_of_a_bootstrap_are_those_of_rows_picked_one_by_one():
    values = np.random.default_rng(1).random((70, 3))
    generator = np.random.default_rng(9)
    picked = [values[generator.integers(70, size=70)].mean(axis=0) for _ in range(1000)]
    assert bootstrap_means(values, seed=9) == pytest.approx(np.array(picked))


MIXES = {
    "alike": (3, 0.0, 0.0),
    "trainings vary a little": (3, 0.1, 0.0),
    "trainings vary much": (3, 0.4, 0.0),
    "methods differ by question": (3, 0.1, 0.8),
    "both": (3, 0.3, 0.8),
    "five trainings": (5, 0.2, 0.5),
}


def test_the_variance_of_a_mean_is_that_of_the_mean_squares_of_two_way_anova():
    values = np.array([[0.9, 0.1, 0.4, 0.8], [0.5, 0.3, 0.2, 0.6], [1.0, 0.0, 0.7, 0.4]])
    trainings, questions = values.shape
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    of_rows = questions * ((rows - mean) ** 2).sum()
    of_columns = trainings * ((columns - mean) ** 2).sum()
    of_rest = ((values - mean) ** 2).sum() - of_rows - of_columns
    squares = of_rows / 2 + of_columns / 3 - of_rest / 6
    assert spread_of(values).variance == pytest.approx(squares / (trainings * questions))


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
def test_of_1000_methods_without_a_difference_3_to_7_in_100_are_called_different(mix):
    called = 0
    for seed in range(1000):
        a, b = two_methods(seed, *mix)
        called += spread_of(a, b).p_value(b.mean() - a.mean()) < 0.05
    assert 30 <= called <= 70


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES.keys())
def test_intervals_over_trainings_and_questions_cover_the_truth(mix):
    covered = np.zeros(2)
    for seed in range(400):
        systems = two_methods(seed, *mix)
        drawn = [bootstrap_means(system.T, seed) for system in systems]
        low, high = hierarchical_interval(systems[:1], drawn[:1], seed)
        covered[0] += low <= 0.5 <= high
        low, high = hierarchical_interval(systems, drawn, seed)
        covered[1] += low <= 0.0 <= high
    assert (covered >= 0.91 * 400).all()
    assert (covered <= 0.985 * 400).all()


@pytest.mark.slow
def test_bootstrap_intervals_of_questions_cover_the_mean():
    covered = 0
    for seed in range(400):
        ranks = np.random.default_rng(seed).geometric(0.25, 150)
        [(low, high)] = bootstrap_intervals(1 / ranks[:, None], seed)
        covered += low <= 0.25 * -np.log(0.25) / 0.75 <= high
    assert 0.92 * 400 <= covered <= 0.98 * 400
