"""The reader's loss beside a slow and obvious one in float64, its gradient, and worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dprkit.models.rows import Rows
from dprkit.training.reader_objective import ReaderObjective

LENGTHS = [9, 4, 12, 7, 5, 6]
PASSAGES = [0, 3, 4, 6]  # questions with 3, 1 and 2 passages
BEGINS = [4, 3, 5, 2, 1, 3]
SPANS = [(0, 4, 4), (0, 5, 8), (0, 8, 8), (1, 2, 6), (2, 1, 1), (2, 4, 4), (2, 1, 4)]


def batch(seed: int = 0, scale: float = 2.0):
    values = scale * torch.randn(sum(LENGTHS), 3, generator=torch.Generator().manual_seed(seed))
    targets = {
        "passages": torch.tensor(PASSAGES),
        "begins": torch.tensor(BEGINS),
        "spans": torch.tensor(SPANS),
    }
    return values, targets


def slow(values: torch.Tensor, span_weight: float = 1.0, relevance_weight: float = 1.0):
    """Each question, each place, one after the other, in float64."""
    values = values.double()
    inputs = list(values.split(LENGTHS))
    total = values.new_zeros(())
    for question in range(len(PASSAGES) - 1):
        own = range(PASSAGES[question], PASSAGES[question + 1])
        odds = sum(inputs[p][0, 2].exp() for p in own)
        total = total - relevance_weight * (inputs[own[0]][0, 2].exp() / odds).log()
        text = inputs[own[0]][BEGINS[own[0]] :]
        shares = text[:, :2].exp() / text[:, :2].exp().sum(0)
        likelihood = sum(
            shares[first - BEGINS[own[0]], 0] * shares[last - BEGINS[own[0]], 1]
            for q, first, last in SPANS
            if q == question
        )
        total = total - span_weight * likelihood.log()
    return total / (len(PASSAGES) - 1)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize("number", [torch.float32, torch.float64])
def test_the_loss_and_its_gradient_are_those_of_a_slow_one(weights, number):
    values, targets = batch()
    fast = values.to(number, copy=True).requires_grad_()
    outcome = ReaderObjective(*weights)(Rows.of_counts(fast, LENGTHS), **targets)
    outcome.loss.backward()
    plain = values.double().requires_grad_()
    expected = slow(plain, *weights)
    expected.backward()
    close = {"rtol": 1e-5, "atol": 1e-6} if number == torch.float32 else {"rtol": 1e-12}
    assert float(outcome.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert float(outcome.losses.mean()) == pytest.approx(float(expected.detach()), rel=1e-6)
    np.testing.assert_allclose(fast.grad, plain.grad, **close)


def test_the_gradient_is_that_of_finite_differences():
    values, targets = batch(seed=3)

    def loss(values):
        return ReaderObjective()(Rows.of_counts(values, LENGTHS), **targets).loss

    assert torch.autograd.gradcheck(loss, values.double().requires_grad_())


def test_the_loss_of_equal_logits_is_worked_out_by_hand():
    values, targets = batch()
    losses = ReaderObjective()(Rows.of_counts(0 * values, LENGTHS), **targets).losses
    by_hand = [
        math.log(3) - math.log(3 / 5**2),  # 3 passages; 3 places among 5 tokens of text
        0 - math.log(1 / 5**2),  # the only passage
        math.log(2) - math.log(3 / 4**2),
    ]
    assert losses.tolist() == pytest.approx(by_hand)


def test_a_certain_answer_costs_nothing_and_is_no_missing_one():
    """DPR takes a loss of exactly 0 for a place that is none, and drops it."""
    values, targets = batch(scale=0.0)
    rows = Rows.of_counts(values, LENGTHS)
    for question, first, _ in SPANS[3:5]:
        begin = int(rows.bounds[PASSAGES[question]])
        values[begin + first, 0] = values[begin + (6 if question == 1 else 1), 1] = 200.0
        values[begin, 2] = 200.0
    outcome = ReaderObjective()(rows, **targets)
    assert outcome.losses[1:].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert outcome.hits.tolist() == [True, True, True]  # of equal ones, the first is taken


def test_extreme_logits_give_a_finite_loss_and_gradient():
    values, targets = batch(scale=3000.0)
    values.requires_grad_()
    outcome = ReaderObjective()(Rows.of_counts(values, LENGTHS), **targets)
    outcome.loss.backward()
    assert torch.isfinite(outcome.losses).all() and torch.isfinite(values.grad).all()


def test_what_the_reader_says_of_question_and_title_does_not_count():
    values, targets = batch()
    outcome = ReaderObjective()(Rows.of_counts(values, LENGTHS), **targets)
    begin = 0
    for length, head in zip(LENGTHS, BEGINS, strict=True):
        values[begin : begin + head, :2] += 7
        values[begin + 1 : begin + length, 2] -= 5
        begin += length
    again = ReaderObjective()(Rows.of_counts(values, LENGTHS), **targets)
    assert again.losses.tolist() == pytest.approx(outcome.losses.tolist())
