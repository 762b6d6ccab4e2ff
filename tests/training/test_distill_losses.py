"""The losses against a teacher: value and gradient, worked out passage by passage in float64."""

import math

import numpy as np
import pytest
import torch

from dprkit.models.rows import Rows
from dprkit.training.objectives import (
    CONTRASTIVE,
    DISTILL_LOSSES,
    ScoreObjective,
    Targets,
    distilled,
    margin_mse,
)

NONE = math.nan
POSITIVES = [4, 0, 2, 3]
TEACHER = [  # lists of 4, 2 and 3 passages, with ties, and one of a single passage
    [NONE, 2.0, -1.0, 2.0, 5.0, NONE],
    [3.0, NONE, NONE, NONE, NONE, 4.5],
    [NONE, NONE, 1.0, 0.0, NONE, 0.0],
    [NONE, NONE, NONE, 7.0, NONE, NONE],
]


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def kl(model, teacher, positive):
    p, t = softmax(model), softmax(teacher)
    loss = sum(t_j * math.log(t_j / p_j) for p_j, t_j in zip(p, t, strict=True))
    return loss, [p_j - t_j for p_j, t_j in zip(p, t, strict=True)]


def kl_reverse(model, teacher, positive):
    p, t = softmax(model), softmax(teacher)
    logs = [math.log(p_j / t_j) for p_j, t_j in zip(p, t, strict=True)]
    loss = sum(p_j * log for p_j, log in zip(p, logs, strict=True))
    return loss, [p_j * (log - loss) for p_j, log in zip(p, logs, strict=True)]


def mse(model, teacher, positive):
    others = [j for j in range(len(model)) if j != positive]
    gradient = [0.0] * len(model)
    loss = 0.0
    for j in others:
        error = (model[positive] - model[j]) - (teacher[positive] - teacher[j])
        loss += error**2 / len(others)
        gradient[positive] += 2 * error / len(others)
        gradient[j] -= 2 * error / len(others)
    return loss, gradient


def list_mle(model, teacher, positive):
    gradient, losses = [0.0] * len(model), []
    choices = []
    for j in range(len(model)):
        below = [k for k in range(len(model)) if teacher[k] < teacher[j]]
        if below:
            choices.append([j, *below])
    for places in choices:
        shares = softmax([model[k] for k in places])
        losses.append(-math.log(shares[0]))
        for place, share in zip(places, shares, strict=True):
            gradient[place] += (share - (place == places[0])) / len(choices)
    return sum(losses) / len(losses), gradient


BY_HAND = {"kl": kl, "kl-reverse": kl_reverse, "margin-mse": mse, "listwise": list_mle}


def targets(**more):
    columns = len(TEACHER[0])
    return Targets(
        torch.tensor(POSITIVES),
        torch.zeros(len(POSITIVES), columns, dtype=torch.bool),
        torch.tensor(TEACHER, dtype=torch.float64),
        **more,
    )


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(("temperature", "teacher_temperature"), [(1.0, 1.0), (0.3, 2.5)])
def test_loss_and_gradient_are_those_worked_out_by_hand(name, temperature, teacher_temperature):
    random = np.random.default_rng(5)
    questions, passages = random.normal(size=(4, 3)), random.normal(size=(6, 3))
    weights = [1.0, 0.5, 2.0, 1.0]
    losses, slopes = [], np.zeros((4, 6))
    for row, (scores, teacher) in enumerate(zip(questions @ passages.T, TEACHER, strict=True)):
        columns = [j for j, score in enumerate(teacher) if not math.isnan(score)]
        if len(columns) < 2:
            losses.append(0.0)
            continue
        loss, slope = BY_HAND[name](
            [scores[j] / temperature for j in columns],
            [teacher[j] / teacher_temperature for j in columns],
            columns.index(POSITIVES[row]),
        )
        losses.append(loss)
        slopes[row, columns] = np.array(slope) * weights[row] / 4 / temperature
    terms = distilled(CONTRASTIVE, 1.0, temperature, DISTILL_LOSSES[name])
    objective = ScoreObjective(0.7, losses=terms, teacher_temperature=teacher_temperature)
    sides = [torch.tensor(side, requires_grad=True) for side in (questions, passages)]
    told = targets()._asdict()
    outcome = objective(*map(Rows.single, sides), torch.tensor(weights), **told)
    outcome.loss.backward()
    assert outcome.losses.tolist() == pytest.approx(losses, abs=1e-12)
    assert outcome.loss.item() == pytest.approx(np.mean(np.array(losses) * weights))
    np.testing.assert_allclose(sides[0].grad, slopes @ passages, atol=1e-12)
    np.testing.assert_allclose(sides[1].grad, slopes.T @ questions, atol=1e-12)
    assert set(outcome.more) == {"contrastive", "distill"}


@pytest.mark.parametrize("name", BY_HAND)
def test_autograd_agrees_with_differences(name):
    scores = torch.tensor(np.random.default_rng(1).normal(size=(4, 6)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: DISTILL_LOSSES[name](s, targets()), scores)


@pytest.mark.parametrize("name", ["kl", "kl-reverse", "margin-mse"])
def test_a_model_equal_to_its_teacher_has_neither_loss_nor_gradient(name):
    """A constant may be added: only how the passages of a list stand to each other counts."""
    known = targets()
    scores = (known.teacher.nan_to_num(9.0) + 3.0).requires_grad_()
    losses = DISTILL_LOSSES[name](scores, known)
    losses.sum().backward()
    assert losses.abs().max() < 1e-14 and scores.grad.abs().max() < 1e-14


def test_the_teacher_s_order_alone_counts_in_a_list():
    """Ten times the scores are the same order; the right order costs less than the wrong one."""
    known = targets()
    loss = DISTILL_LOSSES["listwise"]
    scores = torch.tensor(np.random.default_rng(2).normal(size=(4, 6)))
    assert torch.equal(
        loss(scores, known), loss(scores, known._replace(teacher=10 * known.teacher))
    )
    agreeing = known.teacher.nan_to_num(0.0)
    assert (loss(agreeing, known) <= loss(-agreeing, known)).all()


def test_a_positive_without_a_teacher_s_score_has_no_margins():
    known = targets()._replace(positives=torch.tensor([0, 1, 0, 0]))
    scores = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    losses = margin_mse(scores, known)
    losses.sum().backward()
    assert losses.tolist() == [0] * 4 and scores.grad.abs().max() == 0


# --- negatives that score above the positive ------------------------------------------------------


def masked(margin, scores, false_negatives=()):
    """The outcome of scores, as the rows of questions over passages that are unit vectors."""
    rows, columns = len(scores), len(scores[0])
    excluded = torch.zeros(rows, columns, dtype=torch.bool)
    for at in false_negatives:
        excluded[at] = True
    questions = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    passages = torch.eye(columns, dtype=torch.float64)
    objective = ScoreObjective(0.5, mask_margin=margin)
    told = {"positives": torch.arange(rows), "false_negatives": excluded}
    return objective, questions, Rows.single(passages), told


SCORES = [[1.0, 1.2, 1.05, 3.0], [0.5, 2.0, 2.1, 0.0]]


def test_negatives_above_the_margin_leave_the_softmax():
    """Of the first question: 1.2 and 3 are above 1 + .1; the second's 2.1 is not above 2 + .1."""
    objective, questions, passages, told = masked(0.1, SCORES, [(0, 3)])
    outcome = objective(Rows.single(questions), passages, torch.ones(2), **told)
    left = [[1.0, 1.05], [0.5, 2.0, 2.1, 0.0]]
    own = [0, 1]
    losses = [
        -math.log(softmax([score / 0.5 for score in row])[at])
        for row, at in zip(left, own, strict=True)
    ]
    assert outcome.losses.tolist() == pytest.approx(losses)
    assert outcome.more["masked"] == 1  # 3.0 was a false negative before
    outcome.loss.backward()
    assert questions.grad[0, [1, 3]].tolist() == [0, 0]
    assert outcome.hits.tolist() == [False, False]  # accuracy counts them still


def test_a_validation_counts_all_negatives():
    objective, questions, passages, told = masked(0.1, SCORES)
    plain = ScoreObjective(0.5)(Rows.single(questions), passages, torch.ones(2), **told)
    found = objective.eval()(Rows.single(questions), passages, torch.ones(2), **told)
    assert torch.equal(plain.losses, found.losses) and not found.more
