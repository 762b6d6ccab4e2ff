"""TREC runs, in the order in which trec_eval reads them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.data.trec import write_trec
from dprkit.records import Hit, Question, Ranking


def test_a_trec_run_has_six_columns_and_ranks_from_one() -> None:
    file = io.BytesIO()
    question = Question("q 1", "who?")
    write_trec(Ranking(question, (Hit("12", 81.25), Hit("a b", -1.0))), file)
    assert file.getvalue() == b"q%201 Q0 12 1 81.25 dprkit\nq%201 Q0 a%20b 2 -1 dprkit\n"


def run_of(scores: Sequence[float]) -> list[list[str]]:
    """The cells of a TREC run of one question, whose passages are p0, p1, ... in their order."""
    file = io.BytesIO()
    hits = tuple(Hit(f"p{n}", score) for n, score in enumerate(scores))
    write_trec(Ranking(Question("q", "who?"), hits), file)
    return [line.split() for line in file.getvalue().decode().splitlines()]


def by_trec_eval(rows: list[list[str]]) -> list[str]:
    """The passages as trec_eval orders them: by score, a C float, then by id, both falling."""
    return [row[2] for row in sorted(rows, key=lambda row: (np.float32(row[4]), row[2]))][::-1]


def test_a_trec_run_keeps_scores_that_fall_already() -> None:
    scores = np.float32([0.7, 0.6999999, 0.69999987, 1e-9, 9e-10, 1e-45, 0, -1e-45, -3e38])
    written = np.float32([row[4] for row in run_of(scores.tolist())])
    assert written.tolist() == scores.tolist()


@pytest.mark.parametrize(
    "scores",
    [
        [0.25, 0.25, 0.25],
        [1 + 2e-9, 1 + 1e-9, 1.0],  # one float32, three doubles
        [0.0, -0.0, 0.0, -0.0],
        [-1.5, -1.5, -1.5],
        [1e300, 1e299, 3.5e38],  # beyond float32
        [-1e299, -1e300, -1e301],
        [1e-45, 1e-46, 1e-300, 0.0],
        [2.0, 1.9999999, 1.9999999, 1.9999998],  # lowered into the ones below
        [5.0] * 1000,
    ],
)
def test_trec_eval_finds_the_order_of_a_ranking_with_ties(scores: list[float]) -> None:
    rows = run_of(scores)
    assert by_trec_eval(rows) == [row[2] for row in rows]
    if abs(scores[0]) < 3e38:
        assert np.float32(rows[0][4]) == np.float32(scores[0])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_trec_eval_finds_the_order_of_any_ranking(scores: list[float]) -> None:
    scores.sort(reverse=True)
    rows = run_of(scores)
    assert by_trec_eval(rows) == [f"p{n}" for n in range(len(scores))]
    assert all(math.isfinite(np.float32(row[4])) for row in rows)
