"""Teachers of folds, and scoring that is killed, by the commands that a user types."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest

from dprkit.data.folds import fold_of
from dprkit.models.retriever import load_retriever
from dprkit.store.manifests import read_manifest, write_manifest
from tests.conftest import DPRKIT, call, environment, shell

pytestmark = pytest.mark.slow
SIZE = ("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=400")
TINY = (*SIZE, "--projection", 8, "--batch-size", 16, "--max-epochs", 1, "--valid-every", "never")


def ran(*words, code=0):
    result = call(*words)
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_examples):
    monkeypatch.chdir(tmp_path)
    ran("select-data", tiny_examples, "-o", "train.jsonl", "--num-items", 40)
    return tmp_path


def test_teachers_of_folds_are_trained_score_and_teach(place):
    for fold in ("1/2", "2/2"):
        words = ("--leave-out", fold, "--seed", fold[0], "--output-dir", f"fold-{fold[0]}")
        said = ran("train", "--train-file", "train.jsonl", *TINY, *words).stderr
        assert f"fold {fold} is left out: " in said
    score = ("score-teacher", "--train-file", "train.jsonl", "--output-dir", "scored")
    wrong = ran(*score, "--teacher", "fold-2", "--teacher", "fold-1", "--folds", 2, code=1)
    assert "fold-2: was trained with --leave-out 2/2, but is teacher 1 of --folds 2" in wrong.stderr
    result = ran(*score, "--teacher", "fold-1", "--teacher", "fold-2", "--folds", 2)
    assert "pairs of 40 questions" in result.stdout
    models = [load_retriever(place / f"fold-{number}") for number in (1, 2)]
    for line in (place / "scored/train.jsonl").read_text().splitlines():
        row = json.loads(line)
        passages = [*row["positive_ctxs"], *row["hard_negative_ctxs"], *row["negative_ctxs"]]
        model = models[fold_of(row["question"], 2) - 1]
        texts = [(passage["title"], passage["text"]) for passage in passages]
        wanted = model.scores([row["question"]] * len(texts), texts)
        assert np.allclose([p["teacher_score"] for p in passages], wanted, atol=1e-5)
    again = ran(*score, "--teacher", "fold-1", "--teacher", "fold-2", "--folds", 2)
    assert "up to date" in again.stderr
    distil = ("--train-file", "scored/train.jsonl", "--objective", "distill")
    ran("train", *distil, *TINY, "--output-dir", "student")


def test_an_artifact_with_the_figures_of_before_is_told_as_far_as_it_goes(place):
    ran("train", "--train-file", "train.jsonl", *TINY, "--output-dir", "teacher")
    words = ("score-teacher", "--train-file", "train.jsonl", "--teacher", "teacher")
    ran(*words, "--output-dir", "scored")
    manifest = read_manifest(place / "scored")
    old = {"count": 40, "mean": 0.5, "quartiles": [0.4, 0.5, 0.6]}
    manifest.counts["figures"] |= {"positives": old, "others": None}
    write_manifest(place / "scored", manifest)
    result = ran(*words, "--output-dir", "scored")
    assert "up to date" in result.stderr
    (told,) = [line.split() for line in result.stdout.splitlines() if "positives" in line]
    assert told == ["positives", "40", "0.5", "-", "-", "-"]


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(place):
    ran("train", "--train-file", "train.jsonl", *TINY, "--output-dir", "teacher")
    rows = (place / "train.jsonl").read_text()
    (place / "many.jsonl").write_text(rows * 150)  # several windows
    words = ["score-teacher", "--train-file", "many.jsonl", "--teacher", "teacher"]
    assert shell(*words, "--output-dir", "whole").returncode == 0
    command = [*DPRKIT, *words, "--output-dir", "broken"]
    growing = place / "broken/train.jsonl.growing"
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as process:
        end = time.monotonic() + 120
        while not (growing.exists() and growing.stat().st_size):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert json.loads((place / "broken/progress.json").read_text())["kind"] == "teacher-scores"
    again = shell(*words, "--output-dir", "broken")
    assert again.returncode == 0, again.stderr
    same = (place / "broken/train.jsonl").read_bytes() == (place / "whole/train.jsonl").read_bytes()
    assert same
    assert not list((place / "broken").glob("*.kept"))
