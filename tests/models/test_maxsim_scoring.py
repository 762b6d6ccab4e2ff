"""MaxSim of rows: its scores, its gradient, and the memory that it takes."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from dprkit.models import maxsim_scoring
from dprkit.models.maxsim_scoring import MAXSIM
from dprkit.models.rows import Rows


def rows(counts, dim=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(counts), dim, generator=generator, dtype=torch.float64)
    return Rows.of_counts(normalize(values, dim=1).to(dtype).requires_grad_(), counts)


QUESTIONS, PASSAGES = rows([3, 1, 4, 2]), rows([5, 9, 1, 2, 7, 3], seed=1)


def by_definition(questions, passages):
    """The scores, text by text, in plain torch."""
    rows = [
        [
            (questions[i : i + 1].values @ passages[j : j + 1].values.T).max(1).values.sum()
            for j in range(len(passages))
        ]
        for i in range(len(questions))
    ]
    return torch.stack([torch.stack(row) for row in rows])


def gradients(scores, *sides):
    weights = torch.linspace(-1, 1, scores.numel(), dtype=scores.dtype).view(scores.shape)
    return torch.autograd.grad((scores * weights).sum(), [side.values for side in sides])


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    """The same work in blocks so small that every text has several."""
    if request.param == "many blocks":
        monkeypatch.setattr(maxsim_scoring, "QUESTION_ROWS", {"cpu": 2, "cuda": 2})
        monkeypatch.setattr(maxsim_scoring, "PASSAGE_ROWS", {"cpu": 8, "cuda": 8})
        monkeypatch.setattr(maxsim_scoring, "GRADIENT_PAIRS", 12)


def test_the_score_of_two_texts_is_worked_out_by_hand():
    question = Rows.of_counts(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [2])
    passage = Rows.of_counts(torch.tensor([[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0]]), [3])
    assert MAXSIM.matrix(question, passage).item() == pytest.approx(1.0 + 0.8)


def test_the_gradient_goes_to_the_winning_rows_alone():
    question = Rows.of_counts(torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True), [2])
    values = torch.tensor([[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    (3 * MAXSIM.matrix(question, Rows.of_counts(values, [3]))).sum().backward()
    assert torch.allclose(question.values.grad, 3 * torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    assert torch.allclose(values.grad, 3 * torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))


def test_scores_and_gradients_are_those_of_the_definition(blocks):
    scores, expected = MAXSIM.matrix(QUESTIONS, PASSAGES), by_definition(QUESTIONS, PASSAGES)
    assert torch.allclose(scores, expected, atol=1e-12)
    ours, theirs = (gradients(some, QUESTIONS, PASSAGES) for some in (scores, expected))
    for own, other in zip(ours, theirs, strict=True):
        assert torch.allclose(own, other, atol=1e-12)


def test_the_gradient_passes_the_check_by_finite_differences(blocks):
    def scores(q, p):
        return MAXSIM.matrix(Rows(q, QUESTIONS.bounds), Rows(p, PASSAGES.bounds))

    assert torch.autograd.gradcheck(scores, (QUESTIONS.values, PASSAGES.values))


def test_the_scores_are_the_same_with_and_without_a_gradient(blocks):
    with torch.no_grad():
        plain = MAXSIM.matrix(QUESTIONS, PASSAGES)
    assert torch.equal(plain, MAXSIM.matrix(QUESTIONS, PASSAGES))


def test_pairs_are_the_diagonal_of_the_matrix():
    passages = PASSAGES[: len(QUESTIONS)]
    pairs = MAXSIM.pairs(QUESTIONS, passages)
    assert torch.allclose(pairs, MAXSIM.matrix(QUESTIONS, passages).diagonal())
    assert MAXSIM.pairs(QUESTIONS[:0], passages[:0]).shape == (0,)
    assert pairs.requires_grad


def test_only_one_side_may_learn():
    fixed = Rows(QUESTIONS.values.detach(), QUESTIONS.bounds)
    (gradient,) = gradients(MAXSIM.matrix(fixed, PASSAGES), PASSAGES)
    expected = gradients(by_definition(QUESTIONS, PASSAGES), QUESTIONS, PASSAGES)[1]
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_texts_without_a_row_score_0_and_get_no_gradient(blocks):
    questions, passages = rows([2, 0, 3]), rows([0, 4, 0, 2], seed=1)
    scores = MAXSIM.matrix(questions, passages)
    assert scores[1].tolist() == [0] * 4 and scores[:, [0, 2]].abs().sum() == 0
    kept = MAXSIM.matrix(questions.take([0, 2]), passages.take([1, 3]))
    assert torch.allclose(scores[[0, 2]][:, [1, 3]], kept)
    weights = torch.ones_like(scores)
    own = torch.autograd.grad((scores * weights).sum(), (questions.values, passages.values))
    other = torch.autograd.grad(kept.sum(), (questions.values, passages.values))
    for one, two in zip(own, other, strict=True):
        assert torch.allclose(one, two)


@pytest.mark.parametrize("counts", [([], [3]), ([3], []), ([0], [0])])
def test_a_batch_without_texts_or_rows_has_scores_of_that_shape(counts):
    questions, passages = (rows(some) for some in counts)
    scores = MAXSIM.matrix(questions, passages)
    assert scores.shape == (len(questions), len(passages))
    scores.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_16_bits_are_multiplied_and_summed_in_32(dtype):
    questions, passages = rows([32] * 3, 128, dtype), rows([90] * 40, 128, dtype, seed=1)
    scores = MAXSIM.matrix(questions, passages)
    assert scores.dtype == torch.float32
    wide = [Rows(side.values.double(), side.bounds) for side in (questions, passages)]
    assert torch.allclose(scores.double(), by_definition(*wide), atol=1e-4)
    scores.sum().backward()
    assert questions.values.grad.dtype == dtype


def test_the_same_input_gives_the_same_bits():
    questions, passages = rows([32] * 8, 128, torch.float32), rows([70] * 30, 128, torch.float32, 1)
    results = []
    for _ in range(2):
        scores = MAXSIM.matrix(questions, passages)
        results.append((scores, *gradients(scores, questions, passages)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


MEASURED = """
import resource, torch
from dprkit.models.maxsim_scoring import MAXSIM
from dprkit.models.rows import Rows

def step(questions, passages, length):
    sides = [Rows.of_counts(torch.randn(n * l, 128, requires_grad=True), [l] * n)
             for n, l in ((questions, 32), (passages, length))]
    MAXSIM.matrix(*sides).sum().backward()

step(2, 2, 180)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(64, 128, 180)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_is_far_below_that_of_all_products():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)
    products = 64 * 128 * 32 * 180 * 4  # bytes
    assert int(done.stdout) * 1024 < products / 2
