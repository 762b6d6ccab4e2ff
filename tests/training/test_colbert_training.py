"""`train --kind colbert`: what it starts from, what it refuses, and that the engine trains it."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dprkit.data.selection import select_data
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_colbert
from dprkit.progress import Run
from dprkit.settings import SelectSettings, TrainSettings
from dprkit.store.manifests import read_manifest
from dprkit.training.initial_projection import components
from dprkit.training.train import train as train_stage
from tests.conftest import DPRKIT, call, environment, shell
from tests.interop.foreign import save_sentence_transformer
from tests.interop.late_folders import SIZE as FOREIGN_SIZE
from tests.interop.late_folders import save_pylate
from tests.training.test_train import StopAtStep, content

SIZE = (
    *("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=600"),
    *("--embedding-size", 8, "--question-max-length", 12, "--passage-max-length", 40),
)
UNSEEN = ("--valid-every", "never")
BATCHES = ("--batch-size", 8, "--valid-hard-negatives", 1, "--valid-negatives", 1, "--lr", "3e-3")


@pytest.fixture(scope="module")
def sets(tmp_path_factory, tiny_examples):
    """A folder with train.jsonl and valid.jsonl, 32 and 16 rows."""
    folder = tmp_path_factory.mktemp("sets")
    split = {"train": 32, "valid": 16}
    select_data(SelectSettings(sources=(str(tiny_examples),), split=split, output_dir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def scratch(sets, tmp_path_factory):
    """A ColBERT model from scratch, untrained: 16 numbers a state, 8 a token vector."""
    folder = tmp_path_factory.mktemp("scratch") / "model"
    done(train(sets, folder, *SIZE, "--max-epochs", 0))
    return folder


def train(sets, output, *more, **how):
    words = ("train", "--kind", "colbert", "--train-file", sets / "train.jsonl")
    return call(*words, "--output-dir", output, *more, **how)


def done(result):
    assert result.exit_code == 0, result.stderr
    return result


def refused(result):
    assert result.exit_code != 0 and "Traceback" not in result.stderr
    return result.stderr


def weights(folder):
    return load_file(folder / "question_encoder/projection.safetensors")["weight"]


# --- what it starts from --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_tiny_recipe_learns_to_rank(tmp_path):
    """From scratch, on 120 rows; a bi-encoder finds 0.8 of the positives there."""
    assert shell("select-data", cwd=tmp_path).returncode == 0
    made = shell("train", "--kind", "colbert", "--json", "--output-dir", "m", cwd=tmp_path)
    report = json.loads(made.stdout)
    assert report["valid"]["average_rank"] < 0.5 * report["valid_before"]["average_rank"]
    assert report["valid"]["accuracy"] > 0.8


def test_a_trained_model_says_what_it_is(sets, tmp_path):
    done(train(sets, tmp_path / "m", *SIZE, *BATCHES, "--max-epochs", 2))
    assert load_config(tmp_path / "m").question_max_length == 12
    card = (tmp_path / "m/README.md").read_text()
    assert "A ColBERT model (8 numbers a token" in card and "kind: colbert" in card
    assert "embedding_size" in done(call("info", tmp_path / "m")).stdout
    assert "probes" in done(call("info", tmp_path / "m", "--check")).stdout
    vectors, mask = load_retriever(tmp_path / "m").encode(["who"], question=True)
    assert vectors.shape == (1, 12, 8) and mask.all()


def test_the_projection_starts_as_the_principal_components_of_token_states(scratch, sets, tmp_path):
    start = scratch / "question_encoder"
    result = done(train(sets, tmp_path / "m", *SIZE[4:], "--init", start, "--max-epochs", 0))
    assert "8 principal components of" in result.stderr
    assert "without training, --expansion none finds far more" in result.stderr
    model, tokens = load_colbert(tmp_path / "m")
    from dprkit.data.examples import read_examples

    passages = {e.positives[0] for e in read_examples(sets / "train.jsonl")}
    ids = tokens.passages(sorted(passages, key=lambda p: p.id))
    with torch.no_grad():
        states = torch.cat([model.states("passage", [text]).values for text in ids]).numpy()
    _, _, axes = np.linalg.svd(states, full_matrices=False)
    projection = weights(tmp_path / "m")
    np.testing.assert_allclose(projection @ projection.T, np.eye(8), atol=1e-5)
    # The same subspace: what the one keeps of the other is all of it.
    np.testing.assert_allclose(np.linalg.norm(projection @ axes[:8].T, axis=0), 1, atol=1e-3)


def test_components_are_those_of_the_second_moment_worked_out_by_hand():
    moment = torch.diag(torch.tensor([1.0, 6.0, 3.0], dtype=torch.float64))
    weight, share = components(moment, 2)
    assert weight.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert share == pytest.approx(0.9)


def test_another_seed_is_another_sample(scratch, sets, tmp_path, monkeypatch):
    monkeypatch.setattr("dprkit.training.initial_projection.SAMPLE", 5)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        more = ("--init", scratch / "question_encoder", "--max-epochs", 0, "--seed", seed)
        done(train(sets, tmp_path / name, *SIZE[4:], *more))
    assert np.array_equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not np.allclose(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--embedding-size", 24), "the model has 16 numbers, fewer than the 24"),
        (("--embedding-size", 8, "--projection-init", "random"), ""),
    ],
)
def test_a_projection_of_random_numbers_is_told(scratch, sets, tmp_path, more, told):
    start = ("--init", scratch / "question_encoder", "--max-epochs", 0)
    result = done(train(sets, tmp_path / "m", *start, *more))
    assert told in result.stderr and "principal" not in result.stderr
    assert weights(tmp_path / "m").shape[0] == more[1]


def test_without_passages_the_projection_is_random_and_it_is_said(scratch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # after `make quickstart` the recipe finds its passages in runs/
    start = ("--kind", "colbert", "--init", scratch / "question_encoder", "--max-epochs", 0)
    result = done(call("train", *start, "--output-dir", tmp_path / "m"))
    assert "there are no training passages; name some with --train-file" in result.stderr
    config = load_config(tmp_path / "m")
    assert (config.embedding_size, config.question_max_length, config.passage_max_length) == (
        128, 32, 350,
    )  # fmt: skip


def test_training_goes_on_from_a_colbert_model_as_it_is(scratch, sets, tmp_path):
    words = ("train", "--init", scratch, "--train-file", sets / "train.jsonl")
    done(call(*words, "--max-epochs", 0, "--output-dir", tmp_path / "same"))
    assert load_config(tmp_path / "same") == load_config(scratch)
    assert np.array_equal(weights(tmp_path / "same"), weights(scratch))
    done(call(*words, *BATCHES, *UNSEEN, "--max-steps", 2, "--output-dir", tmp_path / "further"))
    assert load_config(tmp_path / "further") == load_config(scratch)
    assert not np.array_equal(weights(tmp_path / "further"), weights(scratch))


def test_the_transformer_of_a_bi_encoder_can_be_the_start(sets, tmp_path, tiny_examples):
    one = ("train", "--train-file", tiny_examples, *SIZE[:4], "--max-epochs", 0, "--shared")
    prefix = ("--question-prefix", "query: ")
    done(call(*one, *prefix, "--output-dir", tmp_path / "bi"))
    done(train(sets, tmp_path / "m", *SIZE[4:], "--init", tmp_path / "bi", "--max-epochs", 0))
    assert load_config(tmp_path / "m").question_prefix == "query: "
    before, after = (
        load_file(tmp_path / name / "question_encoder/model.safetensors") for name in ("bi", "m")
    )
    assert all(np.array_equal(before[name], after[name]) for name in after)


def test_the_transformer_of_a_sentence_transformers_folder_is_taken(scratch, sets, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(scratch / "question_encoder"))
    made = SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu")
    made.save(str(tmp_path / "st"))
    done(train(sets, tmp_path / "m", *SIZE[4:], "--init", tmp_path / "st", "--max-epochs", 0))
    assert weights(tmp_path / "m").shape == (8, 16)


def test_training_goes_on_from_a_foreign_colbert_model(sets, tmp_path):
    source = save_pylate(tmp_path)
    start = ("--init", source, "--question-max-length", 9, *BATCHES, *UNSEEN, "--max-steps", 1)
    result = done(train(sets, tmp_path / "m", *start))
    assert "--question-max-length 9 is taken" in result.stderr.replace("\n", "")
    assert weights(tmp_path / "m").shape[0] == FOREIGN_SIZE
    assert load_config(tmp_path / "m").question_max_length == 9


SETTINGS = (
    *("--expansion", "least", "--expansion-length", 10, "--attend-to-expansion"),
    *("--question-marker", "<unk>", "--passage-marker", "<mask>", "--question-prefix", "q: "),
    *("--passage-prefix", "p: ", "--skip", "none", "--title-join", ". "),
)


def test_titles_are_joined_as_the_transformer_was_used_to(sets, tmp_path):
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    save_sentence_transformer(tmp_path / "st", modules=[("Pooling", pooling)])
    start = ("--embedding-size", 8, "--init", tmp_path / "st", "--max-epochs", 0)
    done(train(sets, tmp_path / "m", *start))
    assert load_config(tmp_path / "m").title_join == " "
    done(train(sets, tmp_path / "n", *start, "--title-join", "pair"))
    assert load_config(tmp_path / "n").title_join == "pair"


def test_every_setting_is_kept_in_the_model(sets, tmp_path):
    done(train(sets, tmp_path / "m", *SIZE, *SETTINGS, "--max-epochs", 0))
    config = load_config(tmp_path / "m")
    assert (config.expansion, config.expansion_length) == ("least", 10)
    assert config.attend_to_expansion and config.skip == ()
    assert (config.question_marker, config.passage_marker) == ("<unk>", "<mask>")
    assert (config.question_prefix, config.passage_prefix) == ("q: ", "p: ")
    assert config.title_join == ". "
    retriever = load_retriever(tmp_path / "m")
    assert retriever.question_vectors(["a"]).counts.tolist() == [10]


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    ["--pooling mean", "--similarity dot", "--separate-heads", "--shared", "--projection 8"],
)
def test_settings_of_a_bi_encoder_are_refused_by_name(sets, tmp_path, flags):
    told = refused(train(sets, tmp_path / "m", *flags.split()))
    assert f"{flags.split()[0]} is a setting of --kind bi-encoder" in told


@pytest.mark.parametrize(
    "flags",
    [
        *("--embedding-size 8", "--expansion none", "--expansion-length 4", "--skip none"),
        *("--attend-to-expansion", "--question-marker x"),
    ],
)
def test_settings_of_a_colbert_model_are_refused_by_name(sets, tmp_path, flags):
    words = ("train", "--train-file", sets / "train.jsonl", "--output-dir", tmp_path / "m")
    told = refused(call(*words, *flags.split()))
    assert f"{flags.split()[0]} is a setting of --kind colbert" in told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--embedding-size 4", "has embedding_size 8, which cannot become 4"),
        ("--skip none", "has skip 'punctuation', which cannot become 'none'"),
        ("--expansion none", "has expansion 'fixed', which cannot become 'none'"),
        ("--projection-init pca", "has a projection already"),
        ("--kind bi-encoder", "is a ColBERT model, which gives a vector for each token"),
    ],
)
def test_what_contradicts_the_model_is_refused(scratch, sets, tmp_path, flags, told):
    words = ("train", "--init", scratch, "--train-file", sets / "train.jsonl")
    assert told in refused(call(*words, *flags.split(), "--output-dir", tmp_path / "m"))


def test_a_bi_encoder_of_two_transformers_is_no_start_and_one_of_them_is(
    small_retriever, sets, tmp_path
):
    told = refused(train(sets, tmp_path / "m", "--init", small_retriever))
    assert f"--init {small_retriever}/passage_encoder" in told.replace("\n", "")
    start = ("--init", small_retriever / "passage_encoder", "--max-epochs", 0)
    done(train(sets, tmp_path / "m", *SIZE[4:], *start))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--question-marker [Q]", "question_marker '[Q]' is no token of the vocabulary"),
        ("--passage-max-length 600", "--passage-max-length: the model reads at most 512 tokens"),
        ("--expansion least --expansion-length 20", "expansion_length: is above"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(sets, tmp_path, flags, told):
    assert told in refused(train(sets, tmp_path / "m", *SIZE, *flags.split(), "--max-epochs", 0))


def test_a_transformer_without_a_mask_is_refused_and_the_flag_that_helps_is_named(
    scratch, sets, tmp_path
):
    folder = tmp_path / "start"
    shutil.copytree(scratch / "question_encoder", folder)
    tokenizer, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text().replace("<mask>", "<other>"))
    said = json.loads(config.read_text().replace("<mask>", "<other>"))
    del said["mask_token"]
    config.write_text(json.dumps(said))
    start = (*SIZE[4:], "--init", folder, "--max-epochs", 0)
    told = refused(train(sets, tmp_path / "m", *start)).replace("\n", "")
    assert f"{folder}: its tokenizer has no [MASK]" in told and "--expansion none" in told
    done(train(sets, tmp_path / "m", *start, "--expansion", "none"))


# --- the engine trains it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        ("--symmetric", "--learn-temperature", *UNSEEN),
        ("--chunk-size", 4, "--mask-answers", *UNSEEN),
        ("--activation-checkpointing", *UNSEEN),
        ("--precision", "bf16", *UNSEEN),
        ("--layer-decay", 0.9, "--dropout", 0.2, "--output-dropout", 0.1, *UNSEEN),
        ("--valid-corpus", "CORPUS", "--best-by", "mrr@10"),
    ],
)
def test_every_way_of_training_makes_a_model_that_scores(sets, tmp_path, tiny_passages, more):
    more = [tiny_passages if word == "CORPUS" else word for word in more]
    done(train(sets, tmp_path / "m", *SIZE, *BATCHES, "--max-epochs", 2, *more))
    scores = load_retriever(tmp_path / "m").scores(["who wrote it"], ["a book"])
    assert np.isfinite(scores).all()
    counts = read_manifest(tmp_path / "m").counts
    assert counts["steps"] == 8 and (counts["valid"] or not counts["untrained"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_trains(sets, tmp_path):
    done(train(sets, tmp_path / "m", *SIZE, *BATCHES, "--max-steps", 2, "--compile"))


def test_adapters_are_merged_into_the_transformer(scratch, sets, tmp_path):
    pytest.importorskip("peft")
    words = ("train", "--init", scratch, "--train-file", sets / "train.jsonl", "--lora-rank", 2)
    done(call(*words, *BATCHES, *UNSEEN, "--max-epochs", 2, "--output-dir", tmp_path / "m"))
    before, after = (
        load_file(folder / "question_encoder/model.safetensors")
        for folder in (scratch, tmp_path / "m")
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.allclose(before[name], after[name])}
    assert changed and not any("embeddings" in name for name in changed)


def test_a_cached_gradient_is_that_of_the_whole_batch(scratch, sets, tmp_path):
    words = ("train", "--init", scratch, "--train-file", sets / "train.jsonl", *BATCHES)
    for name, more in (("whole", ()), ("cached", ("--chunk-size", 2))):
        still = ("--dropout", 0, "--max-steps", 3, "--valid-every", "never")
        done(call(*words, *still, *more, "--output-dir", tmp_path / name))
    one, other = (
        load_file(tmp_path / name / "question_encoder/model.safetensors")
        for name in ("whole", "cached")
    )
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-4)


@pytest.mark.parametrize(("stop", "more"), [(2, {}), (5, {"chunk_size": "4", "lora_rank": 2})])
def test_a_stopped_training_ends_with_the_same_bytes(scratch, sets, tmp_path, stop, more):
    if more:
        pytest.importorskip("peft")
    use = {"batch_size": 8, "max_epochs": 2, "valid_every": "3", "lr": 1e-3, "kind": "colbert"}
    start = str(scratch / "question_encoder")  # so the projection is made from passages each time

    def settings(name):
        where = {"init": start, "output_dir": str(tmp_path / name)}
        files = (str(sets / "train.jsonl"),)
        return TrainSettings(train_file=files, embedding_size=8, **where, **use, **more)

    train_stage(settings("whole"))
    with pytest.raises(KeyboardInterrupt):
        train_stage(settings("broken"), Run(StopAtStep(stop)))
    train_stage(settings("broken"))
    assert content(tmp_path / "whole") == content(tmp_path / "broken")


ENDS = ("--max-epochs", 3, "--checkpoint-every", 3, "--valid-every", 5, "--chunk-size", 4)


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bytes(scratch, sets, tmp_path):
    """By SIGKILL, from a transformer, on two processes with gradient caching."""
    start = ("--kind", "colbert", "--embedding-size", 8, "--init", scratch / "question_encoder")
    words = ("train", *start, "--train-file", sets / "train.jsonl", *BATCHES, *ENDS)
    pair = (*words, "--num-processes", 2, "--max-epochs", 12)
    assert shell(*pair, "--output-dir", "whole", cwd=tmp_path).returncode == 0
    command = [*DPRKIT, *map(str, (*pair, "--output-dir", "killed"))]
    metrics = tmp_path / "killed/metrics.jsonl"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while not (metrics.exists() and metrics.read_bytes().count(b'"lr"') >= 8):
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed/manifest.json").exists()
    result = shell(*pair, "--output-dir", "killed", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert content(tmp_path / "whole") == content(tmp_path / "killed")


@pytest.mark.slow
def test_two_processes_train_what_one_trains(sets, tmp_path):
    for name, more in (("one", ()), ("two", ("--num-processes", 2))):
        words = ("train", "--kind", "colbert", "--train-file", sets / "train.jsonl", *SIZE)
        still = ("--set", "train.scratch_dropout=0", *BATCHES, *ENDS, *more)
        result = shell(*words, *still, "--output-dir", name, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    one, two = (
        load_file(tmp_path / name / "question_encoder/model.safetensors") for name in ("one", "two")
    )
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5)
