"""Exact match and F1 of answers, against values worked out by hand."""

from __future__ import annotations

import pytest

from dprkit.answer_scores import exact_match, normalised, token_f1


@pytest.mark.parametrize(
    ("answer", "compared"),
    [
        ("The  Denver Broncos!", "denver broncos"),
        ("the U.S.", "us"),
        ("a theatre, another day", "theatre another day"),
        ("A-the-B", "atheb"),  # punctuation goes first, so no article is left
        ("Café — 12½", "café — 12½"),  # only ASCII punctuation
        ("The", ""),
    ],
)
def test_answers_are_compared_without_case_punctuation_and_articles(answer, compared):
    assert normalised(answer) == compared


def test_a_prediction_matches_when_one_of_the_answers_is_it():
    assert exact_match("the Broncos", ["Denver Broncos", "Broncos."])
    assert not exact_match("Broncos of Denver", ["Denver Broncos", "Broncos"])
    assert not exact_match("", ["Broncos"])
    assert not exact_match("Broncos", [])


def test_f1_is_that_of_the_closest_answer():
    # 2 of the 3 words of one and of the 2 of the other: 2 * 2 / (3 + 2)
    assert token_f1("Broncos of Denver", ["Denver Broncos", "Carolina"]) == pytest.approx(0.8)
    assert token_f1("in in the", ["in"]) == pytest.approx(2 / 3)  # a word counts once for each
    assert token_f1("Denver", ["Carolina"]) == token_f1("Denver", []) == 0
    assert token_f1("", ["Denver"]) == 0
    assert token_f1("the", ["a"]) == 1  # nothing is left of either
    assert token_f1("Denver Broncos", ["The Denver, Broncos"]) == 1


def test_no_prediction_is_no_match_even_where_nothing_is_left_of_an_answer():
    assert not exact_match("", ["The"]) and not exact_match(" ", ["a"])
    assert token_f1("", ["The"]) == 0 and token_f1("the", ["The"]) == 1
