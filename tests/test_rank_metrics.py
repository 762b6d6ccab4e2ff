"""Ranks and what is made of them, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dprkit.rank_metrics import first_ranks, reciprocal, success

RANKS = [1.0, 4.0, 10.0, 11.0, float("inf")]


@pytest.mark.parametrize("array", [np.array, lambda ranks: torch.tensor(ranks).double()])
def test_ranks_beyond_a_depth_count_nothing(array):
    assert success(array(RANKS), 10).tolist() == [True, True, True, False, False]
    assert reciprocal(array(RANKS), 10).tolist() == [1.0, 0.25, 0.1, 0.0, 0.0]


def test_the_first_hit_counts_from_one():
    hits = np.array([[False, True, True], [False, False, False], [True, False, True]])
    assert first_ranks(hits).tolist() == [2.0, np.inf, 1.0]
    assert first_ranks(np.zeros((2, 0), bool)).tolist() == [np.inf, np.inf]
