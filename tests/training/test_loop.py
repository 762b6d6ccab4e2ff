import pytest
import torch
from torch import nn

from dprkit.training.loop import _optimizer, schedule


def test_the_learning_rate_rises_then_falls_in_straight_lines():
    rates = [schedule(step, 10, 4) for step in range(10)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_warm_up_below_one_is_a_share_of_all_steps():
    assert [schedule(s, 20, 0.2) for s in range(20)] == [schedule(s, 20, 4) for s in range(20)]


def test_without_warm_up_the_first_step_has_the_highest_rate():
    assert schedule(0, 5, 0) == 1.0


def test_a_warm_up_longer_than_training_never_divides_by_zero():
    assert all(0 < schedule(step, 5, 100) <= 1 for step in range(5))


def test_biases_and_norms_do_not_decay():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    decayed, plain = _optimizer(model, 0.1, 0.01).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 3)]
    assert decayed["weight_decay"] == 0.01
    assert [tuple(p.shape) for p in plain["params"]] == [(2,), (2,), (2,)]
    assert plain["weight_decay"] == 0.0
    assert isinstance(_optimizer(model, 0.1, 0.0), torch.optim.AdamW)
