import math

import pytest
import torch

from dprkit.models.rows import Rows
from dprkit.models.scoring import DOT
from dprkit.training.objectives import SYMMETRIC, ScoreObjective, Targets, in_batch_nll


def rows(values):
    return Rows.single(torch.as_tensor(values))


def matrix(questions, passages, temperature=1.0):
    return DOT.matrix(rows(questions), rows(passages)) / temperature


def targets(positives, width, excluded=()):
    mask = torch.zeros(len(positives), width, dtype=torch.bool)
    for place in excluded:
        mask[place] = True
    return Targets(torch.tensor(positives), mask)


def outcome_of(objective, questions, passages, known, weights=None):
    """What an objective makes of vectors (Q, D) and (P, D)."""
    weights = torch.ones(len(questions)) if weights is None else torch.tensor(weights)
    return objective(rows(questions), rows(passages), **known._asdict(), weights=weights)


def test_equal_scores_cost_the_log_of_the_batch():
    scores = matrix(torch.zeros(2, 3), torch.ones(4, 3))
    losses = in_batch_nll(scores, targets([0, 2], 4))
    assert losses.tolist() == pytest.approx([math.log(4)] * 2)


QUESTIONS = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
PASSAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
# scores: [1, 0, 1] and [0, 2, 2]


def test_the_loss_is_what_a_hand_reckons():
    first = -math.log(math.e / (math.e + 1 + math.e))
    second = -math.log(math.e**2 / (1 + 2 * math.e**2))
    outcome = outcome_of(ScoreObjective(1.0), QUESTIONS, PASSAGES, targets([0, 1], 3))
    assert outcome.losses.tolist() == pytest.approx([first, second])
    assert outcome.loss.item() == pytest.approx((first + second) / 2)


def test_a_false_negative_leaves_the_softmax():
    outcome = outcome_of(
        ScoreObjective(1.0), QUESTIONS, PASSAGES, targets([0, 1], 3, excluded=[(0, 2), (1, 2)])
    )
    first = -math.log(math.e / (math.e + 1))
    second = -math.log(math.e**2 / (1 + math.e**2))
    assert outcome.losses.tolist() == pytest.approx([first, second])
    assert outcome.hits.tolist() == [True, True]


def test_a_false_negative_gets_no_gradient():
    passages = PASSAGES.clone().requires_grad_()
    mask = targets([0, 1], 3, excluded=[(0, 2), (1, 2)])
    outcome_of(ScoreObjective(1.0), QUESTIONS, passages, mask).loss.backward()
    assert passages.grad[2].tolist() == [0, 0]
    assert passages.grad[0].abs().sum() > 0


def test_weights_scale_each_question_s_loss():
    plain = outcome_of(ScoreObjective(1.0), QUESTIONS, PASSAGES, targets([0, 1], 3))
    weighted = outcome_of(ScoreObjective(1.0), QUESTIONS, PASSAGES, targets([0, 1], 3), [3.0, 0.5])
    by_hand = (3 * plain.losses[0] + 0.5 * plain.losses[1]) / 2
    assert weighted.loss.item() == pytest.approx(by_hand.item())


def test_the_symmetric_loss_asks_for_the_question_as_well():
    """Passages 0 and 1 are the positives: their scores by question are [1, 0] and [0, 2]."""
    outcome = outcome_of(
        ScoreObjective(1.0, losses=SYMMETRIC), QUESTIONS, PASSAGES, targets([0, 1], 3)
    )
    back = [-math.log(math.e / (math.e + 1)), -math.log(math.e**2 / (1 + math.e**2))]
    both = sum(outcome.losses.tolist()) / 2, sum(back) / 2
    assert outcome.loss.item() == pytest.approx(sum(both) / 2)


def test_the_symmetric_loss_leaves_out_questions_of_the_same_passage():
    """Question 1 has passage 0 as a positive too, so it is no negative question of passage 0."""
    mask = targets([0, 1], 3, excluded=[(1, 0)])
    scores = matrix(QUESTIONS, PASSAGES)
    outcome = outcome_of(ScoreObjective(1.0, losses=SYMMETRIC), QUESTIONS, PASSAGES, mask)
    second = -math.log(math.e**2 / (1 + math.e**2))
    forth = in_batch_nll(scores, mask).mean().item()
    assert outcome.loss.item() == pytest.approx((forth + (0 + second) / 2) / 2)


def test_temperature_divides_the_scores():
    one = matrix(torch.ones(1, 2), torch.ones(1, 2), 0.5)
    assert one.item() == pytest.approx(4.0)


def test_a_learned_temperature_has_a_gradient_and_stays_above_zero():
    objective = ScoreObjective(0.5, learn=True)
    assert objective.temperature == pytest.approx(0.5)
    outcome_of(objective, QUESTIONS, PASSAGES, targets([0, 1], 3)).loss.backward()
    numeric = [
        outcome_of(
            ScoreObjective(0.5 * math.exp(step)),
            QUESTIONS.double(),
            PASSAGES.double(),
            targets([0, 1], 3),
        )
        for step in (-1e-4, 1e-4)
    ]
    slope = (numeric[1].loss - numeric[0].loss).item() / 2e-4
    assert objective.log_temperature.grad.item() == pytest.approx(slope, rel=1e-3)


def test_scores_are_float32_at_least():
    half = torch.ones(1, 2, dtype=torch.bfloat16)
    assert matrix(half, half).dtype == torch.float32
    assert matrix(half.double(), half.double()).dtype == torch.float64


def test_large_scores_do_not_overflow():
    scores = matrix(torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]]))
    assert in_batch_nll(scores, targets([1], 2)).item() == pytest.approx(2000.0)
