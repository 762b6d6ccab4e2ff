import math

import pytest
import torch
from torch import nn

from dprkit.settings import TrainSettings
from dprkit.training.objectives import ScoreObjective
from dprkit.training.optimisation import optimizer_of, schedule, set_lr
from dprkit.training.resolved_settings import resolve


def course(kind, steps, warmup):
    return [schedule(kind, step, steps, warmup) for step in range(steps)]


def test_the_learning_rate_rises_then_falls_in_straight_lines():
    rates = course("linear", 10, 4)
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == pytest.approx([1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_a_cosine_falls_by_half_a_wave():
    rates = course("cosine", 10, 0)
    assert rates[0] == pytest.approx(1.0)
    assert rates[5] == pytest.approx(0.5)
    assert rates[1] == pytest.approx((1 + math.cos(math.pi / 10)) / 2)


def test_a_constant_rate_only_warms_up():
    assert course("constant", 4, 1) == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_warm_up_below_one_is_a_share_of_all_steps():
    assert course("linear", 20, 0.2) == course("linear", 20, 4)


def test_without_warm_up_the_first_step_has_the_highest_rate():
    assert schedule("linear", 0, 5, 0) == 1.0


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_the_highest_rate_is_the_one_asked_for_however_short_training_is(kind):
    for steps in range(1, 60):
        for warmup in (0, 0.05, 0.1, 0.3, 0.99, 1, 2, 7, 100):
            rates = course(kind, steps, warmup)
            assert max(rates) == 1.0
            assert min(rates) > 0
            assert len(rates) == steps


def test_a_warm_up_longer_than_training_ends_with_it():
    assert course("linear", 4, 100) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_biases_norms_and_the_temperature_do_not_decay():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    settings = resolve(TrainSettings(weight_decay=0.01, lr=0.1))
    groups = optimizer_of(model, ScoreObjective(1.0, learn=True), settings).param_groups
    decayed = [p for g in groups if g["weight_decay"] for p in g["params"]]
    assert [tuple(p.shape) for p in decayed] == [(2, 3)]
    assert sum(len(g["params"]) for g in groups) == 5


def test_lower_layers_learn_more_slowly(small_retriever):
    from dprkit.models.retriever_folder import load_bi_encoder

    model, _ = load_bi_encoder(small_retriever)
    optimizer = optimizer_of(
        model, ScoreObjective(1.0), resolve(TrainSettings(layer_decay=0.5, lr=1.0))
    )
    set_lr(optimizer, 0.1)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert by_name["question_encoder.projection.weight"] == pytest.approx(0.1)
    layer = next(rate for name, rate in by_name.items() if ".layer.0." in name)
    embeddings = next(rate for name, rate in by_name.items() if "word_embeddings" in name)
    assert (layer, embeddings) == (pytest.approx(0.05), pytest.approx(0.025))
    assert isinstance(optimizer, torch.optim.AdamW)
