"""train --matryoshka: the loss of nested sizes by hand, and by the command."""

import json

import numpy as np
import pytest
import torch
import yaml

from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.models.rows import Rows
from dprkit.progress import Run
from dprkit.training.gradients import GradientEngine
from dprkit.training.nested_objective import NestedObjective, nesting_of
from dprkit.training.objectives import CONTRASTIVE, distilled
from dprkit.training.processes import join, launch
from tests.conftest import call
from tests.training.test_distillation import write
from tests.training.test_gradients import assert_close, batch_of, targets_of

SIZES, WEIGHTS, TEMPERATURE = (2, 8, 5), (1.0, 2.0, 0.5), 0.3
POSITIVES = np.array([0, 2, 4])


@pytest.fixture
def raw():
    """3 questions and 6 passages of 8 numbers, before any is brought to length 1."""
    dice = np.random.default_rng(3)
    return dice.standard_normal((3, 8)), dice.standard_normal((6, 8))


def softmax(scores):
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def by_hand(questions, passages, wanted, cosine):
    """The loss and its gradients: of a softmax, that is what it gives less what is wanted.

    `wanted`: (3, 6), the share that each passage is to have of a question.
    """
    loss, gradients = 0.0, (np.zeros_like(questions), np.zeros_like(passages))
    for size, share in zip(SIZES, np.array(WEIGHTS) / sum(WEIGHTS), strict=True):
        cut = [side[:, :size] for side in (questions, passages)]
        lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in cut]
        units = [side / n for side, n in zip(cut, lengths, strict=True)] if cosine else cut
        given = softmax(units[0] @ units[1].T / TEMPERATURE)
        logs = np.log(given) - np.log(np.where(wanted > 0, wanted, 1))
        loss -= share * (wanted * logs).sum() / len(questions)
        error = share * (given - wanted) / TEMPERATURE / len(questions)
        of_units = [error @ units[1], error.T @ units[0]]
        for gradient, unit, length, of in zip(gradients, units, lengths, of_units, strict=True):
            along = (of * unit).sum(1, keepdims=True) * unit
            gradient[:, :size] += (of - along) / length if cosine else of
    return loss, gradients


def by_objective(objective, raw, cosine, **told):
    """The same by the objective, from vectors as a model gives them."""
    sides = [torch.tensor(side, requires_grad=True) for side in raw]
    given = [torch.nn.functional.normalize(side, dim=1) if cosine else side for side in sides]
    told = {"positives": POSITIVES, "false_negatives": np.zeros((3, 6), bool), **told}
    told = {name: torch.as_tensor(value) for name, value in told.items()}
    outcome = objective.double()(*map(Rows.single, given), torch.ones(3).double(), **told)
    outcome.loss.backward()
    return outcome, [side.grad.numpy() for side in sides]


def assert_same(mine, theirs):
    np.testing.assert_allclose(mine[0], theirs[0].loss.item(), rtol=1e-12)
    for one, other in zip(mine[1], theirs[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("cosine", [True, False])
def test_the_loss_and_its_gradient_are_those_by_hand(raw, cosine):
    objective = NestedObjective(nesting_of(SIZES, WEIGHTS, cosine), TEMPERATURE)
    theirs = by_objective(objective, raw, cosine)
    assert_same(by_hand(*raw, np.eye(6)[POSITIVES], cosine), theirs)
    losses = [theirs[0].more[f"loss@{size}"].item() for size in SIZES]
    assert np.average(losses, weights=WEIGHTS) == pytest.approx(theirs[0].loss.item())
    largest = by_objective(NestedObjective(nesting_of((8,), (), cosine), TEMPERATURE), raw, cosine)
    assert theirs[0].hits.tolist() == largest[0].hits.tolist()


def test_a_teacher_is_learned_from_at_each_size(raw):
    teacher = np.random.default_rng(5).standard_normal((3, 6))
    terms = distilled(CONTRASTIVE, 0.25, None)
    nesting = nesting_of(SIZES, WEIGHTS, True)
    objective = NestedObjective(nesting, TEMPERATURE, False, terms, teacher_temperature=1.0)
    theirs = by_objective(objective, raw, True, teacher=teacher)
    labels = by_hand(*raw, np.eye(6)[POSITIVES], True)
    taught = by_hand(*raw, softmax(teacher), True)
    loss = 0.75 * labels[0] + 0.25 * taught[0]
    gradients = [0.75 * a + 0.25 * b for a, b in zip(labels[1], taught[1], strict=True)]
    assert_same((loss, gradients), theirs)


def gradients(retriever, chunk, group=None):
    """name -> gradient of a batch of 13 questions, in float64."""
    model = load_bi_encoder(retriever)[0].double()  # without dropout: other chunks have another
    objective = NestedObjective(nesting_of((8, 3), (), True), 0.5, True).double()
    engine = GradientEngine(model, group) if group else GradientEngine(model)
    engine.backward(objective, batch_of(13, 2), targets_of(13, 2), 7, chunk)
    named = [*model.named_parameters(), *objective.named_parameters()]
    return {name: parameter.grad.numpy() for name, parameter in named}


def test_a_cached_gradient_is_that_of_the_whole(small_retriever):
    assert_close(gradients(small_retriever, None), gradients(small_retriever, 3), 1e-11)


def on_each_process(retriever: str, run: Run):
    return gradients(retriever, 3, join())


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(small_retriever):
    together = launch(on_each_process, str(small_retriever), Run(), 2)
    assert_close(gradients(small_retriever, None), together, 1e-11)


# --- by the command ---------------------------------------------------------------------------

FAST = ("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=400")
FAST = (*FAST, "--batch-size", 8, "--hard-negatives", 1, "--valid-every", "never")


def train(path, output, *more):
    return call("train", "--train-file", path, "--output-dir", output, *FAST, *more)


@pytest.fixture(scope="module")
def nested(tmp_path_factory, tiny_examples):
    """A training of two steps at 8 and 3 dimensions, on 24 rows of which each has a score."""
    folder = tmp_path_factory.mktemp("nested")
    rows = [row for row in json.loads(tiny_examples.read_text()) if row["hard_negative_ctxs"]]
    path = write(folder / "t.jsonl", rows[:24], lambda row, place: float(place))
    more = ("--matryoshka", "3,8", "--distill-weight", 0.5, "--chunk-size", 3, "--max-steps", 2)
    result = train(path, folder / "m", "--projection", 8, *more)
    assert result.exit_code == 0, result.stderr
    return folder


def config_of(folder):
    return yaml.safe_load((folder / "retriever.yaml").read_text())


def test_the_sizes_are_kept(nested):
    assert config_of(nested / "m")["matryoshka"] == [8, 3]
    assert "cut to 8, 3 dimensions" in (nested / "m" / "README.md").read_text()
    lines = [json.loads(line) for line in (nested / "m" / "metrics.jsonl").read_text().splitlines()]
    line = next(line for line in lines if "loss@3" in line)
    assert line["loss"] == pytest.approx((line["loss@3"] + line["loss@8"]) / 2)


@pytest.mark.slow
def test_a_further_training_has_the_sizes_unless_it_names_others(nested, tmp_path):
    more = ("--init", nested / "m", "--max-steps", 1)
    assert train(nested / "t.jsonl", tmp_path / "further", *more).exit_code == 0
    assert config_of(tmp_path / "further")["matryoshka"] == [8, 3]
    more = (*more, "--matryoshka", "8")
    assert train(nested / "t.jsonl", tmp_path / "plain", *more).exit_code == 0
    assert config_of(tmp_path / "plain")["matryoshka"] == [8]


@pytest.mark.slow
def test_dimensions_that_learn_nothing_are_told(nested, tmp_path):
    more = ("--projection", 8, "--matryoshka", "4", "--max-steps", 1)
    result = train(nested / "t.jsonl", tmp_path / "m", *more)
    assert result.exit_code == 0
    assert "the other 4 of the 8 dimensions learn nothing; add 8" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--matryoshka", "9"), "--matryoshka 9: the model gives vectors of 8 dimensions"),
        (("--matryoshka", "8,4,8"), "--matryoshka 8,4,8: names a size twice"),
        (("--matryoshka", "8,0"), "--matryoshka: '8,0' is not valid"),
        (("--matryoshka", "8,4", "--matryoshka-weights", "1"), "1 weights for 2 sizes"),
        (("--matryoshka", "8,4", "--matryoshka-weights", "0,0"), "all are 0"),
        (("--matryoshka-weights", "1"), "1 weights for 0 sizes of --matryoshka"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(nested, tmp_path, more, problem):
    result = train(nested / "t.jsonl", tmp_path / "m", "--projection", 8, *more)
    assert result.exit_code == 1
    assert problem in " ".join(result.stderr.split())


def test_a_colbert_model_has_no_sizes(nested, tmp_path):
    result = train(nested / "t.jsonl", tmp_path / "m", "--kind", "colbert", "--matryoshka", "8,4")
    assert result.exit_code == 1
    assert "--matryoshka is a setting of --kind bi-encoder" in " ".join(result.stderr.split())
