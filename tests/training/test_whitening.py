"""train --whiten: the matrix by hand, and the vectors of each kind of model by the command."""

import json

import msgspec
import numpy as np
import pytest
import torch
import yaml

from dprkit.data.passages import read_passages
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.heads import Dense, Normalize
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.settings import TrainSettings
from dprkit.training.model_card import model_card
from dprkit.training.whitening import LEAST, whitened, whitening
from tests.conftest import call, remade

STRENGTH = 0.3


def by_hand(vectors, strength):
    """(D, D): what `whitening` gives of these vectors, by numpy's decomposition of them."""
    _, scales, axes = np.linalg.svd(vectors.astype("f8"), full_matrices=False)
    squares = scales**2 / len(vectors)
    squares = np.maximum(squares, LEAST * squares.mean())
    matrix = axes.T @ np.diag(squares**-strength) @ axes
    return matrix * np.sqrt((vectors**2).sum() / ((vectors @ matrix) ** 2).sum())


def test_the_matrix_is_that_by_hand():
    vectors = np.random.default_rng(1).standard_normal((50, 6)) * [5, 3, 1, 1, 0.5, 0.001]
    matrix = whitening(torch.from_numpy(vectors.T @ vectors / 50), STRENGTH).numpy()
    np.testing.assert_allclose(matrix, by_hand(vectors, STRENGTH), rtol=1e-9, atol=1e-12)


def test_of_all_the_spread_nothing_is_left():
    vectors = np.random.default_rng(2).standard_normal((300, 4)) * [4, 3, 2, 1]
    white = vectors @ whitening(torch.from_numpy(vectors.T @ vectors / 300), 0.5).numpy()
    moment = white.T @ white / 300
    np.testing.assert_allclose(moment, np.eye(4) * moment[0, 0], atol=1e-9)
    assert (white**2).sum() == pytest.approx((vectors**2).sum())


# --- by the command ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny_passages):
    path = tmp_path_factory.mktemp("corpus") / "corpus.tsv"
    path.write_text("".join(tiny_passages.read_text().splitlines(keepends=True)[:81]))
    return path


def as_config(retriever, folder, **values):
    """A copy of a retriever whose config has other values."""
    for path in retriever.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(retriever)
            copy.parent.mkdir(exist_ok=True, parents=True)
            copy.write_bytes(path.read_bytes())
    config = yaml.safe_load((folder / "retriever.yaml").read_text()) | values
    (folder / "retriever.yaml").write_text(yaml.safe_dump(config))
    return remade(folder)


def whiten(retriever, corpus, folder, *more):
    words = ("train", "--init", retriever, "--max-epochs", 0, "--whiten", corpus)
    result = call(*words, "--output-dir", folder, *more)
    assert result.exit_code == 0, result.stderr
    return load_retriever(folder)


@pytest.mark.parametrize("values", [{}, {"similarity": "cosine"}, {"truncate_dim": 5}])
def test_both_sides_are_whitened_by_the_passages(small_retriever, corpus, tmp_path, values):
    """One that cuts its vectors is whitened as it cuts them, and gives as many numbers."""
    before = load_retriever(as_config(small_retriever, tmp_path / "before", **values))
    after = whiten(tmp_path / "before", corpus, tmp_path / "m", "--whiten-strength", STRENGTH)
    passages = list(read_passages(corpus))
    matrix = by_hand(before.encode_passages(passages), STRENGTH)
    for one in ("passages", "questions"):
        texts = passages if one == "passages" else [p.title for p in passages]
        wanted = getattr(before, f"encode_{one}")(texts) @ matrix
        if values.get("similarity") == "cosine":
            wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(getattr(after, f"encode_{one}")(texts), wanted, atol=2e-5)
    assert "whitened by passages of" in (tmp_path / "m" / "README.md").read_text()


def test_what_has_no_projection_gets_one(small_retriever, corpus, tmp_path):
    start = small_retriever / "question_encoder"
    after = whiten(start, corpus, tmp_path / "m", "--pooling", "mean", "--shared")
    assert yaml.safe_load((tmp_path / "m" / "retriever.yaml").read_text())["projection"] == 16
    # It is exported as any other, and gives the same vectors there.
    words = ("--to", "sentence-transformers", "--output-dir", tmp_path / "st")
    assert call("convert", tmp_path / "m", *words).exit_code == 0
    assert call("convert", tmp_path / "st", "--output-dir", tmp_path / "back").exit_code == 0
    vectors = [r.encode_questions(["who?"]) for r in (after, load_retriever(tmp_path / "back"))]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def test_layers_get_one_more(small_retriever, corpus):
    model, tokens = load_bi_encoder(small_retriever)
    heads = (Dense(6, activation="Tanh"), Normalize())
    config = msgspec.structs.replace(model.config, projection=None, heads=heads, similarity="dot")
    encoder = Encoder(model.passage_encoder.backbone, config).eval()
    passages = list(read_passages(corpus))
    ids = tokens.passages(passages)
    with torch.no_grad():
        before = encoder.encode(ids, 1000).numpy()
        white = whitened(BiEncoder(encoder, encoder, config), tokens, passages, STRENGTH)
        after = white.passage_encoder.encode(ids, 1000).numpy()
    assert white.config.heads == (*heads, Dense(6, bias=False))
    np.testing.assert_allclose(after, before @ by_hand(before, STRENGTH), atol=1e-5)


def test_a_training_ends_with_whitened_vectors(small_retriever, tiny_examples, corpus, tmp_path):
    rows = [json.dumps(row) + "\n" for row in json.loads(tiny_examples.read_text())[:30]]
    (tmp_path / "t.jsonl").write_text("".join(rows))
    words = ("train", "--init", small_retriever, "--train-file", tmp_path / "t.jsonl")
    words = (*words, "--max-steps", 2, "--batch-size", 8, "--valid-every", "never")
    for name, more in (("plain", ()), ("white", ("--whiten", corpus))):
        result = call(*words, "--output-dir", tmp_path / name, *more)
        assert result.exit_code == 0, result.stderr
    whiten(tmp_path / "plain", corpus, tmp_path / "after")
    white, after = (load_retriever(tmp_path / name) for name in ("white", "after"))
    np.testing.assert_array_equal(white.encode_questions(["a"]), after.encode_questions(["a"]))


def test_a_card_claims_no_figures_of_the_vectors_before(small_retriever, tiny_examples, corpus):
    config = load_bi_encoder(small_retriever)[0].config
    figures = {"loss": 1.0, "accuracy": 0.5}
    counts = {"steps": 0, "valid": figures, "valid_before": figures}
    plain, white = (
        model_card(TrainSettings(train_file=(str(tiny_examples),), whiten=path), config, counts)
        for path in (None, str(corpus))
    )
    assert "model-index" in plain and "model-index" not in white
    assert "the figures below are those before" in white


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--whiten", "gone.tsv"), "gone.tsv"),
        (("--whiten-strength", 0.3), "nothing is whitened; name passages with --whiten"),
        (("--whiten", "one.tsv"), "holds one passage; --whiten needs more"),
        (("--whiten", "one.tsv", "--freeze", "passage"), "which --freeze keeps"),
        (("--whiten", "one.tsv", "--kind", "colbert"), "--whiten is a setting of --kind bi-encod"),
    ],
)
def test_what_cannot_be_whitened_is_refused(small_retriever, tmp_path, monkeypatch, more, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.tsv").write_text("id\ttext\ttitle\n1\ta text\ta title\n")
    start = small_retriever / "question_encoder" if "colbert" in more else small_retriever
    result = call("train", "--init", start, "--max-epochs", 0, "--output-dir", "m", *more)
    assert result.exit_code == 1 and told in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
