"""Rows of texts, one or many, against lists of lists; and what scores are made of them."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from dprkit.models.rows import Rows
from dprkit.models.scoring import DOT

TEXTS = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]], [[7.0, 8.0], [9.0, 1.0], [2.0, 3.0]]]


def lists(rows):
    bounds = rows.bounds.tolist()
    return [rows.values[a:b].tolist() for a, b in pairwise(bounds)]


@pytest.fixture
def rows():
    values = torch.tensor([row for text in TEXTS for row in text], requires_grad=True)
    return Rows.of_counts(values, [len(text) for text in TEXTS])


def test_rows_are_those_of_each_text(rows):
    assert len(rows) == 4
    assert rows.counts.tolist() == [2, 0, 1, 3]
    assert lists(rows) == TEXTS


def test_a_slice_of_texts_has_their_rows_and_no_copy(rows):
    for part in (slice(0, 2), slice(1, 4), slice(2, 2), slice(3, None), slice(None)):
        assert lists(rows[part]) == TEXTS[part]
    assert rows[2:].values.data_ptr() == rows.values[2:].data_ptr()


def test_texts_are_taken_in_any_order_and_again(rows):
    for chosen in ([3, 0], [1], [], [2, 2, 3, 1, 0]):
        assert lists(rows.take(chosen)) == [TEXTS[i] for i in chosen]
    assert lists(rows.take(torch.tensor([3, 0]))) == [TEXTS[3], TEXTS[0]]


def test_the_gradient_goes_to_the_rows_that_were_taken(rows):
    rows.take([2, 2, 0]).values.sum().backward()
    assert rows.values.grad[:, 0].tolist() == [1, 1, 2, 0, 0, 0]


def test_a_vector_a_text_is_a_row_a_text():
    rows = Rows.single(torch.eye(3))
    assert lists(rows) == [[row] for row in torch.eye(3).tolist()]


def test_dot_scores_are_those_of_numpy():
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(5, 8)).astype(np.float32) for _ in range(2))
    one, other = (Rows.single(torch.from_numpy(x)) for x in (a, b))
    np.testing.assert_allclose(DOT.matrix(one, other[:3]), a @ b[:3].T, rtol=1e-6)
    np.testing.assert_allclose(DOT.pairs(one, other), (a * b).sum(1), rtol=1e-6)
