"""--freeze passage: questions alone learn, and an index of the first retriever stays valid."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.store.manifests import read_manifest
from dprkit.training.gradients import GradientEngine
from dprkit.training.initial_model import frozen
from dprkit.training.objectives import ScoreObjective
from tests.conftest import SMALL, call

FAST = ("--batch-size", 8, "--lr", "1e-2", "--max-steps", 3, "--valid-every", "never")


def done(*words):
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return result


def trained(examples, start, output, *more):
    words = ("train", "--train-file", examples, "--init", start, "--output-dir", output)
    return done(*words, "--freeze", "passage", *FAST, *more)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, tiny_examples):
    """A retriever with one encoder for both sides, and dropout."""
    folder = tmp_path_factory.mktemp("shared") / "model"
    size = [x for name, value in SMALL.items() for x in ("--set", f"train.{name}={value}")]
    words = ("train", "--train-file", tiny_examples, "--output-dir", folder, "--shared")
    done(*words, "--max-epochs", 0, *size)
    return folder


@pytest.fixture(scope="module")
def asking(shared, tmp_path_factory, tiny_examples):
    """Trained from `shared`, its encoder of passages frozen."""
    folder = tmp_path_factory.mktemp("asking") / "model"
    trained(tiny_examples, shared, folder, "--output-dropout", 0.2)
    return folder


@pytest.fixture(scope="module")
def indexed(shared, tmp_path_factory, tiny_passages):
    """Embeddings and an index by `shared`, and questions."""
    folder = tmp_path_factory.mktemp("indexed")
    done(
        "encode-corpus",
        "--retriever",
        shared,
        "--passages",
        tiny_passages,
        "--output-dir",
        folder / "e",
    )
    done("index", "--embeddings", folder / "e", "--output-dir", folder / "i", "--type", "exact")
    (folder / "q.jsonl").write_text('{"question": "who wrote hamlet", "answers": ["x"]}\n')
    return folder


def weights(folder):
    files = (folder / "model.safetensors", folder / "projection.safetensors")
    return {name: value for file in files for name, value in load_file(file).items()}


def test_a_shared_encoder_becomes_two_and_that_of_passages_is_as_it_was(shared, asking):
    before = weights(shared / "question_encoder")
    passages, questions = (weights(asking / f"{side}_encoder") for side in ("passage", "question"))
    for name, value in before.items():
        np.testing.assert_array_equal(passages[name], value)
    assert any(not np.array_equal(questions[name], value) for name, value in before.items())
    one, other = map(load_retriever, (shared, asking))
    texts = ["a passage", "another one"]
    np.testing.assert_array_equal(one.encode_passages(texts), other.encode_passages(texts))
    assert not np.array_equal(one.encode_questions(texts), other.encode_questions(texts))


def test_an_index_of_the_first_retriever_is_asked_by_the_trained_one(
    asking, indexed, shared, tmp_path, tiny_passages
):
    """As an index that the trained one makes itself."""
    asked = ("--questions", indexed / "q.jsonl", "--topk", 5, "--retriever", asking)
    own = tmp_path / "own"
    done(
        "encode-corpus",
        "--retriever",
        asking,
        "--passages",
        tiny_passages,
        "--output-dir",
        own / "e",
    )
    done("index", "--embeddings", own / "e", "--output-dir", own / "i", "--type", "exact")
    found = [
        json.loads(done("search", "--index", folder / "i", *asked).stdout)["ctxs"]
        for folder in (indexed, own)
    ]
    assert found[0] == found[1]
    first = done("search", "--index", indexed / "i", *asked[:4]).stdout
    assert json.loads(first)["ctxs"] != found[0]
    refused = call("search", "--index", own / "i", *asked[:4], "--retriever", shared)
    assert refused.exit_code == 1 and "was made with the retriever" in refused.stderr


def test_an_evaluation_records_who_asked(asking, indexed, tmp_path):
    words = ("evaluate", "--index", indexed / "i", "--questions", indexed / "q.jsonl")
    words = (*words, "--topk", 5, "--output-dir", tmp_path / "r")
    done(*words)
    assert "retriever" not in read_manifest(tmp_path / "r").inputs
    result = done(*words, "--retriever", asking, "--json")
    assert json.loads(result.stdout)["up_to_date"] is False
    asked_by = read_manifest(tmp_path / "r").inputs["retriever"]
    assert asked_by.identity == read_manifest(asking).identity


@pytest.mark.slow
def test_embeddings_are_appended_to_and_rerank_for_the_trained_one(
    asking, indexed, tmp_path, tiny_passages
):
    words = ("--questions", indexed / "q.jsonl", "--topk", 5, "--rerank", asking)
    ranked = done(
        "search", "--index", indexed / "i", *words, "--rerank-embeddings", indexed / "e"
    ).stdout
    assert len(json.loads(ranked)["ctxs"]) == 5
    again = ("--passages", tiny_passages, "--output-dir", indexed / "e", "--append")
    done("encode-corpus", "--retriever", asking, *again)


@pytest.mark.slow
def test_what_is_frozen_twice_still_fits_the_first_index(asking, shared, tmp_path, tiny_examples):
    trained(tiny_examples, asking, tmp_path / "m")
    sides = read_manifest(tmp_path / "m").counts["passage_side_of"]
    assert sides == [read_manifest(asking).identity, read_manifest(shared).identity]


@pytest.mark.slow
def test_adapters_learn_questions_alone(shared, tiny_examples, tmp_path):
    pytest.importorskip("peft")
    trained(tiny_examples, shared, tmp_path / "m", "--lora-rank", 2)
    before = weights(shared / "question_encoder")
    passages = weights(tmp_path / "m/passage_encoder")
    assert all(np.array_equal(passages[name], value) for name, value in before.items())
    questions = weights(tmp_path / "m/question_encoder")
    assert any(not np.array_equal(questions[name], value) for name, value in before.items())


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_gradient_is_that_of_the_questions(shared, chunk):
    """As of two encoders that both learn, and none for passages, which are encoded once."""
    free, _ = load_bi_encoder(shared)
    still = frozen(load_bi_encoder(shared)[0])
    free = BiEncoder(
        frozen(free).question_encoder, load_bi_encoder(shared)[0].passage_encoder, still.config
    )
    random = np.random.default_rng(2)
    sides = [[random.integers(5, 300, 6).tolist() for _ in range(n)] for n in (4, 9)]
    told = {
        "positives": torch.arange(4),
        "false_negatives": torch.zeros(4, 9, dtype=torch.bool),
        "weights": torch.ones(4),
    }
    for model in (free, still):
        GradientEngine(model.eval()).backward(ScoreObjective(1.0), sides, told, 1, chunk)
    assert all(p.grad is None for p in still.passage_encoder.parameters())
    assert still.train().question_encoder.training and not still.passage_encoder.training
    pairs = zip(
        still.question_encoder.parameters(), free.question_encoder.parameters(), strict=True
    )
    for one, other in pairs:
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ((), "--freeze: without --init the encoder of passages has random weights"),
        (("--kind", "colbert"), "--freeze is a setting of --kind bi-encoder"),
    ],
)
def test_what_cannot_be_frozen_is_refused(tiny_examples, tmp_path, more, problem):
    words = ("train", "--train-file", tiny_examples, "--output-dir", tmp_path / "m")
    result = call(*words, "--freeze", "passage", *more)
    assert result.exit_code == 1 and problem in result.stderr
