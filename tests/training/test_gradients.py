"""Cached against plain, one process against several: the gradient is always that of the batch."""

import copy

import msgspec
import numpy as np
import pytest
import torch

from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.models.rows import Rows
from dprkit.progress import Run
from dprkit.training.gradients import GPU_LEAST, GradientEngine, cut, split, tokens_of_pass
from dprkit.training.objectives import SYMMETRIC, ScoreObjective, tensors
from dprkit.training.processes import Group, join, launch


def batch_of(questions, each, vocabulary=500, seed=0):
    """Random token ids of Q questions and Q * each passages of 3 to 40 tokens."""
    random = np.random.default_rng(seed)

    def texts(count, most):
        return [
            random.integers(5, vocabulary, random.integers(3, most)).tolist() for _ in range(count)
        ]

    return texts(questions, 12), texts(questions * each, 40)


def targets_of(questions, each):
    mask = np.zeros((questions, questions * each), dtype=bool)
    mask[0, -1] = mask[-1, 1] = True
    positives = np.arange(questions) * each
    weights = np.linspace(0.5, 2, questions).astype(np.float32)
    named = {"positives": positives, "false_negatives": mask, "weights": weights}
    return tensors(named, torch.device("cpu"))


def gradients(model, questions, each, chunk=None, dropout=0.0, group=None, dtype=torch.float64):
    """name -> gradient of a step on `questions` questions, and the outcome."""
    model = copy.deepcopy(model).to(dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    model.train()
    objective = ScoreObjective(0.5, learn=True, losses=SYMMETRIC).to(dtype)
    engine = GradientEngine(model, group) if group else GradientEngine(model)
    outcome = engine.backward(
        objective, batch_of(questions, each), targets_of(questions, each), 7, chunk
    )
    named = [*model.named_parameters(), *objective.named_parameters()]
    return {name: p.grad.numpy() for name, p in named}, outcome


def assert_close(one, other, tolerance):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def model(small_retriever):
    return load_bi_encoder(small_retriever)[0]


def test_a_batch_of_512_in_chunks_of_16_has_the_gradient_of_the_whole(model):
    """In float64, so that what is left is no rounding."""
    whole, one = gradients(model, 512, 1)
    chunked, other = gradients(model, 512, 1, chunk=16)
    assert_close(whole, chunked, 1e-11)
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12)


def test_the_plain_gradient_is_that_of_one_graph_over_the_batch(model):
    """Against autograd over padded vectors of all texts at once."""
    mine, outcome = gradients(model, 9, 2)
    model = copy.deepcopy(model).double()
    questions, passages = batch_of(9, 2)
    objective = ScoreObjective(0.5, learn=True, losses=SYMMETRIC).double()
    vectors = [
        Rows.single(encoder(*encoder.padded(ids, torch.device("cpu"))))
        for encoder, ids in (
            (model.question_encoder, questions),
            (model.passage_encoder, passages),
        )
    ]
    plain = objective(*vectors, **targets_of(9, 2))
    plain.loss.backward()
    named = [*model.named_parameters(), *objective.named_parameters()]
    assert_close(mine, {name: p.grad.numpy() for name, p in named}, 1e-11)
    assert outcome.loss.item() == pytest.approx(plain.loss.item(), rel=1e-12)


def test_caching_repeats_the_dropout_of_each_chunk(model):
    """With the same chunks the cached gradient is the plain one, dropout and all."""
    questions, passages = batch_of(24, 2)
    chunks = cut((questions, passages), 2048, 8)
    model = copy.deepcopy(model).double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    engine = GradientEngine(model)
    objective = ScoreObjective(0.5).double()
    parts = {c.number: engine.run(c, 7) for c in chunks}
    rows = engine.gather(chunks, parts)
    rows.values.requires_grad_()
    sides = split(rows, (questions, passages))
    objective(*sides, **targets_of(24, 2)).loss.backward()
    for chunk in chunks:
        vectors = parts[chunk.number].values
        vectors.backward(rows.values.grad[chunk.texts], retain_graph=True)
    by_hand = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    model.zero_grad()
    engine.backward(objective, (questions, passages), targets_of(24, 2), 7, 8)
    assert_close(by_hand, {name: p.grad.numpy() for name, p in model.named_parameters()}, 1e-12)


def test_another_seed_is_another_dropout(model):
    torch.manual_seed(0)
    engine = GradientEngine(copy.deepcopy(model).train())
    engine.model.question_encoder.dropout.p = 0.5
    chunk = cut(batch_of(4, 1), 2048)[0]
    once, again, other = (engine.run(chunk, seed).values for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_chunks_cover_every_text_once():
    batch = batch_of(30, 3)
    chunks = cut(batch, 100, 7)
    assert sorted(row for c in chunks for row in c.texts) == list(range(120))
    assert all(sum(map(len, c.ids)) <= 100 for c in chunks)
    assert all(len(c.texts) <= 7 for c in chunks if c.side)
    assert len([c for c in chunks if not c.side]) < 5
    for chunk in chunks:
        both = [*batch[0], *batch[1]]
        assert [both[row] for row in chunk.texts] == chunk.ids
        assert {row < 30 for row in chunk.texts} == {chunk.side == 0}


@pytest.mark.parametrize("size", [2, 4, 8])
def test_processes_with_gpus_share_a_batch_that_fits_one_pass_evenly(model, size):
    """As they would be dealt: there is no GPU here."""
    questions, passages = batch_of(2, 1)[0], [list(range(1, 151))] * 256
    work = cut([questions, passages], tokens_of_pass("cuda", 256 * 150))
    engines = [GradientEngine(model, Group(rank, size)) for rank in range(size)]
    loads = [sum(len(text) for c in one.mine(work) for text in c.ids) for one in engines]
    assert max(loads) < 1.2 * sum(loads) / size
    assert tokens_of_pass("cuda", 100) == GPU_LEAST
    assert tokens_of_pass("cuda", 10**6) == PASS_TOKENS["cuda"]


def test_a_processor_cuts_a_batch_by_its_cache_alone(model):
    questions, passages = batch_of(2, 1)[0], [list(range(1, 101))] * 20
    assert len(GradientEngine(model).cut([questions, passages])) == 2


class Case(msgspec.Struct):
    retriever: str
    questions: int
    chunk: int | None
    dropout: float


def on_this_process(case: Case, run: Run):
    """What each process of the group does: its gradient goes back as a file of the first."""
    model, _ = load_bi_encoder(case.retriever)
    return gradients(model, case.questions, 2, case.chunk, case.dropout, join(), torch.float32)[0]


@pytest.mark.parametrize(
    ("size", "chunk", "dropout"),
    [
        (2, None, 0.0),
        (3, 3, 0.2),
        pytest.param(3, None, 0.0, marks=pytest.mark.slow),
        pytest.param(2, 3, 0.2, marks=pytest.mark.slow),
    ],
)
def test_several_processes_have_the_gradient_of_one(small_retriever, size, chunk, dropout):
    """13 questions and 26 passages: no process has as much as another; dropout is the same too."""
    case = Case(str(small_retriever), 13, chunk, dropout)
    together = launch(on_this_process, case, Run(), size)
    model, _ = load_bi_encoder(small_retriever)
    alone, _ = gradients(model, 13, 2, chunk, dropout, dtype=torch.float32)
    assert_close(alone, together, 1e-5)
