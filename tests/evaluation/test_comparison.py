"""The figures of a comparison, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dprkit.evaluation.comparison import compared, correct


def table(*systems, name="AP"):
    return {name: [np.array([values]) for values in systems]}


def test_a_question_counts_where_the_measure_is_defined_in_all_systems():
    found = compared(table([1, 0, 0.5, np.nan], [0.5, np.nan, 0, 1]), 100)["AP"]
    assert (found.questions, found.values) == (2, [0.75, 0.25])
    [pair] = found.pairs
    assert (pair.difference, pair.wins, pair.losses, pair.ties) == (-0.5, 0, 2, 0)
    assert (pair.test, pair.p) == ("randomisation", 0.5)  # 2 of 4 flips are as far


def test_a_measure_that_no_question_has_in_all_systems_is_not_tested():
    found = compared(table([1, np.nan], [np.nan, 0.5]), 100)
    assert (found["AP"].questions, found["AP"].values) == (0, [None, None])
    assert correct([found]) == 0


def test_an_interval_and_a_difference_are_of_the_second_less_the_first():
    better = np.linspace(0.1, 0.9, 40)
    [pair] = compared(table(better - 0.1 * (better > 0.3), better), 100)["AP"].pairs
    low, high = pair.interval
    assert 0 < low < pair.difference < high
    assert pair.effect > 0 and pair.wins > pair.losses


def test_all_pairs_and_measures_are_one_family_of_tests():
    found = compared(table([1, 0] * 20, [1, 1] * 20, [0, 0] * 20, name="hit"), 100)
    assert correct([found]) == 3
    pairs = found["hit"].pairs
    assert {pair.test for pair in pairs} == {"McNemar"}
    smallest = min(pair.p for pair in pairs)
    assert min(pair.p_holm for pair in pairs) == pytest.approx(3 * smallest)
