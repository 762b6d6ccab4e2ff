import math

import pytest
import torch

from dprkit.models.rows import Rows
from dprkit.models.scoring import DOT
from dprkit.training.objectives import (
    CONTRASTIVE,
    SYMMETRIC,
    ScoreObjective,
    Targets,
    distilled,
    in_batch_nll,
    teacher_divergence,
)


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


NOTHING = math.nan


def taught(positives, teacher, excluded=()):
    known = targets(positives, len(teacher[0]), excluded)
    return known._replace(teacher=torch.tensor(teacher))


def test_the_divergence_from_a_teacher_is_worked_out_by_hand():
    """The teacher gives the first passage 2 nats more than the second, the model 1 less."""
    scores = torch.tensor([[1.0, 2.0, 9.0], [5.0, 0.0, 0.0]])
    teacher = [[3.0, 1.0, NOTHING], [NOTHING, NOTHING, 4.0]]
    p, q = math.e**3 / (math.e**3 + math.e), math.e / (math.e + math.e**2)
    by_hand = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    losses = teacher_divergence(scores, taught([0, 2], teacher))
    assert losses.tolist() == pytest.approx([by_hand, 0.0])


def test_what_the_teacher_did_not_score_gets_no_gradient_and_no_number_is_lost():
    scores = torch.tensor([[1.0, 2.0, 9.0], [5.0, 0.0, 0.0]], requires_grad=True)
    known = taught([0, 2], [[3.0, 1.0, NOTHING], [NOTHING] * 3])
    teacher_divergence(scores, known).sum().backward()
    assert scores.grad[0, 2] == 0 and scores.grad[1].tolist() == [0, 0, 0]
    assert scores.grad[0, 0] < 0 < scores.grad[0, 1]


def test_a_model_that_agrees_with_its_teacher_has_nothing_to_learn():
    scores = torch.tensor([[4.0, 2.0, 1.0]], requires_grad=True)
    losses = teacher_divergence(scores, taught([0], [[13.0, 11.0, 10.0]]))
    losses.sum().backward()
    assert losses.item() == pytest.approx(0, abs=1e-6)
    assert scores.grad.abs().max() < 1e-6


def test_scores_far_apart_make_loss_and_gradient_zero_but_numbers():
    scores = torch.tensor([[4000.0, 0.0]], requires_grad=True)
    losses = teacher_divergence(scores, taught([0], [[9000.0, 0.0]]))
    losses.sum().backward()
    assert losses.item() == 0 and scores.grad.tolist() == [[0, 0]]


def test_a_teacher_has_its_share_of_the_loss_at_a_temperature_of_its_own():
    known = taught([0, 1], [[2.0, NOTHING, 1.0], [NOTHING, 1.0, 0.5]])
    plain = matrix(QUESTIONS, PASSAGES)
    for temperature, divisor in ((3.0, 3.0), (None, 0.5)):
        divergence = teacher_divergence(plain / divisor, known)
        by_hand = 0.25 * in_batch_nll(plain / 0.5, known) + 0.75 * divergence
        objective = ScoreObjective(0.5, losses=distilled(CONTRASTIVE, 0.75, temperature))
        outcome = outcome_of(objective, QUESTIONS, PASSAGES, known)
        assert outcome.loss.item() == pytest.approx(by_hand.mean().item())
