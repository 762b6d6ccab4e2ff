import math

import pytest
import torch

from dprkit.training.objectives import in_batch_nll, score_matrix


def test_equal_scores_cost_the_log_of_the_batch():
    scores = score_matrix(torch.zeros(2, 3), torch.ones(4, 3), 1.0)
    assert in_batch_nll(scores, torch.tensor([0, 2])).item() == pytest.approx(math.log(4))


def test_the_loss_is_what_a_hand_reckons():
    questions = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    passages = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    # scores: [1, 0, 1] and [0, 2, 2]
    first = -math.log(math.e / (math.e + 1 + math.e))
    second = -math.log(math.e**2 / (1 + 2 * math.e**2))
    loss = in_batch_nll(score_matrix(questions, passages, 1.0), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((first + second) / 2)


def test_temperature_divides_the_scores():
    one = score_matrix(torch.ones(1, 2), torch.ones(1, 2), 0.5)
    assert one.item() == pytest.approx(4.0)


def test_scores_are_float32_whatever_the_vectors_are():
    half = torch.ones(1, 2, dtype=torch.bfloat16)
    assert score_matrix(half, half, 1.0).dtype == torch.float32


def test_large_scores_do_not_overflow():
    scores = score_matrix(torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]]), 1.0)
    assert in_batch_nll(scores, torch.tensor([1])).item() == pytest.approx(2000.0)
