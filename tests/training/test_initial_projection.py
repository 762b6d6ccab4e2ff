"""The first weights of a bi-encoder's projection: the components of training passages."""

import json

import numpy as np
import pytest

from dprkit.data.examples import read_examples
from dprkit.models.retriever import load_retriever
from dprkit.training.initial_projection import sample
from tests.conftest import call

PLAIN = ("--pooling", "mean", "--similarity", "cosine", "--shared", "--max-epochs", 0)


@pytest.fixture(scope="module")
def start(small_retriever):
    """A transformer of 16 numbers, with nothing behind it."""
    return small_retriever / "question_encoder"


@pytest.fixture(scope="module")
def rows(tmp_path_factory, tiny_examples):
    path = tmp_path_factory.mktemp("rows") / "t.jsonl"
    lines = [json.dumps(row) + "\n" for row in json.loads(tiny_examples.read_text())[:80]]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def plain(start, rows, tmp_path_factory):
    """The retriever without a projection."""
    return made(start, rows, tmp_path_factory.mktemp("plain") / "m")[0]


def made(start, rows, folder, *more):
    words = ("train", "--init", start, "--train-file", rows, "--output-dir", folder, *PLAIN, *more)
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return load_retriever(folder), " ".join(result.stderr.split())


def refused(start, rows, folder, *more):
    words = ("train", "--init", start, "--train-file", rows, "--output-dir", folder, *more)
    result = call(*words, "--max-steps", 1, "--valid-every", "never")
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def passages_of(rows):
    return list({(p.title, p.text): p for e in read_examples(rows) for p in e.positives}.values())


def test_vectors_that_are_to_be_cut_are_turned_and_score_as_before(plain, start, rows, tmp_path):
    turned, told = made(start, rows, tmp_path / "m", "--matryoshka", "16,8,4")
    passages, questions = passages_of(rows), [e.question for e in read_examples(rows)]
    assert f"the 16 principal components of the vectors of {len(passages)} passages" in told
    scores = [
        r.encode_questions(questions) @ r.encode_passages(passages).T for r in (plain, turned)
    ]
    np.testing.assert_allclose(*scores, atol=1e-5)
    # What each number holds: the squares of the vectors along a component, from much to little.
    vectors = turned.encode_passages(passages).astype("f8")
    squares = np.linalg.eigvalsh(np.cov(vectors.T, bias=True) + np.outer(*[vectors.mean(0)] * 2))
    np.testing.assert_allclose((vectors**2).mean(0), squares[::-1], atol=1e-4)


@pytest.mark.parametrize("more", [("--projection", 0), ("--freeze", "passage")])
def test_vectors_stay_as_they_are_where_that_is_asked_for(plain, start, rows, tmp_path, more):
    left, told = made(start, rows, tmp_path / "m", "--matryoshka", "16,8,4", *more)
    passages = passages_of(rows)
    assert "principal" not in told
    assert np.array_equal(left.encode_passages(passages), plain.encode_passages(passages))


def test_a_narrow_projection_keeps_most_of_the_scores(plain, start, rows, tmp_path):
    passages = passages_of(rows)
    whole = plain.encode_passages(passages)
    differences = {}
    for name in ("pca", "random"):
        flags = ("--projection", 8, "--projection-init", name)
        vectors = made(start, rows, tmp_path / name, *flags)[0].encode_passages(passages)
        differences[name] = np.abs(vectors @ vectors.T - whole @ whole.T).mean()
    assert differences["pca"] < differences["random"] / 2


def test_two_encoders_are_turned_alike(start, rows, tmp_path):
    two, _ = made(start, rows, tmp_path / "m", "--no-shared", "--matryoshka", "16,8")
    one, other = (side.encoder.projection for side in map(two.encoder_of, ("question", "passage")))
    assert one is not other and bool((one.weight == other.weight).all())


def test_a_model_wider_than_its_transformer_begins_with_random_numbers(start, rows, tmp_path):
    _, told = made(start, rows, tmp_path / "m", "--projection", 24)
    assert "random numbers: the model has 16 numbers, fewer than the 24 of --projection" in told


def test_each_seed_has_a_sample_of_its_own(rows, monkeypatch):
    from dprkit.data.examples_by_row import ExampleFile

    monkeypatch.setattr("dprkit.training.initial_projection.SAMPLE", 5)
    one, again, other = ([p.id for p in sample([ExampleFile(rows)], s)] for s in (1, 1, 2))
    assert one == again != other


def test_a_projection_that_is_not_new_has_no_first_weights(small_retriever, start, rows, tmp_path):
    flag = ("--projection-init", "pca")
    told = refused(small_retriever, rows, tmp_path / "m", *flag)
    assert "a retriever keeps its shape; leave --projection-init out" in told
    told = refused(start, rows, tmp_path / "m", *flag)
    assert "--projection-init: the model has no projection; give --projection" in told
