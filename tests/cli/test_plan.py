"""`dprkit plan`: what a recipe will cost, beside what it then costs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from dprkit.pipeline import cost_of_data, cost_of_index
from dprkit.pipeline.costs import Range, bytes_words, exactly, time_words
from dprkit.pipeline.fits import Limits, StagePlan, misfits
from dprkit.pipeline.plan import COSTS
from dprkit.pipeline.stages import FUNCTIONS
from dprkit.pipeline.trial import bytes_below
from dprkit.training.step_trial import validations_between
from tests.conftest import call

RECIPE = """\
select-data: {sources: [bundled:tiny/examples.json], split: {train: 48, valid: 16, test: 20}}
train: {max_epochs: 2, batch_size: 8, projection: 8, scratch_hidden_size: 16, \
scratch_vocab_size: 400, valid_hard_negatives: 1, valid_negatives: 1}
encode-corpus: {passages: bundled:tiny/passages.tsv}
index: {type: exact}
audit: {}
evaluate: {topk: [1, 5]}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dprkit.yaml").write_text(f"name: small\n{RECIPE}")
    return tmp_path


def planned(*words, code=0):
    ran = call("plan", "--json", *words)
    assert ran.exit_code == code, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_a_plan_counts_what_a_run_then_does_and_writes_nothing(recipe):
    before = planned()
    assert [path.name for path in recipe.iterdir()] == ["dprkit.yaml"]
    ran = json.loads(call("run", "--json").stdout)["stages"]
    told = before["stages"]
    assert {stage["state"] for stage in told.values()} == {"tried"}
    steps, questions = ran["train"]["steps"], ran["evaluate"]["questions"]
    assert told["train"]["work"] == f"{steps} steps of 8 questions, 3 validations"
    assert told["encode-corpus"]["work"] == "282 passages"
    assert told["evaluate"]["work"] == f"{questions} questions"
    for name, folder in (("select-data", "data"), ("encode-corpus", "embeddings")):
        there = bytes_below(Path("runs/small") / folder)
        assert told[name]["disk"]["likely"] == pytest.approx(there, rel=0.25)
    model = bytes_below("runs/small/model")
    assert told["train"]["disk"]["low"] * 0.9 < model < told["train"]["disk"]["high"] * 1.1
    for stage in told.values():
        for name in ("seconds", "disk", "scratch", "memory"):
            assert stage[name]["low"] <= stage[name]["likely"] <= stage[name]["high"]
    assert before["total"]["seconds"]["likely"] == pytest.approx(
        sum(stage["seconds"]["likely"] for stage in told.values())
    )
    after = planned()
    assert {stage["state"] for stage in after["stages"].values()} == {"up to date"}
    assert after["total"]["seconds"] == {"low": 0, "likely": 0, "high": 0}
    partly = planned("--set", "evaluate.topk=[1]")["stages"]
    assert [name for name, stage in partly.items() if stage["state"] == "tried"] == ["evaluate"]


def test_what_does_not_fit_is_named_with_exit_code_3(recipe):
    limits = ["--max-hours", "0.0000001", "--max-disk", "1kB", "--max-memory", "1MB"]
    ran = call("plan", *limits, "--only", "select-data")
    assert ran.exit_code == 3
    assert "select-data: the run takes " in ran.stderr
    assert ", more than --max-hours 1e-07; " in ran.stderr
    assert "select-data: the disk has to hold " in ran.stderr
    assert "more than --max-disk 1.0 kB" in ran.stderr
    told = planned("--max-hours", "1", "--only", "train", "--set", "train.train_file=gone.jsonl")
    assert told["failures"] == []
    assert told["notes"][-1] == "train: not known, and not counted against the limits"


def test_a_plan_that_fits_is_quiet_where_that_is_asked_for(recipe):
    ran = call("plan", "--max-hours", "1", "--only", "select-data", "--quiet")
    assert (ran.exit_code, ran.stdout) == (0, "")


def test_a_plan_as_csv_has_the_figures_of_its_json(recipe):
    ran = call("plan", "--csv", "--only", "select-data")
    [row] = csv.DictReader(io.StringIO(ran.stdout))
    assert (row["stage"], row["state"]) == ("select-data", "tried")
    assert float(row["disk_low"]) == planned("--only", "select-data")["total"]["disk"]["low"]
    both = call("plan", "--csv", "--json")
    assert (both.exit_code, "--json and --csv both" in both.stderr) == (1, True)


def test_what_cannot_be_known_before_is_said(recipe):
    sets = ["--set", "train.init=nobody/such-a-model", "--set", "encode-corpus.passages=gone.tsv"]
    told = planned(*sets)
    assert told["not_known"] == ["train", "encode-corpus", "index", "evaluate", "audit"]
    stages = told["stages"]
    assert stages["train"]["why"].startswith("nobody/such-a-model: is not here")
    assert stages["encode-corpus"]["why"] == ("runs/small/model: train has yet to write it")
    assert stages["train"]["seconds"] is None
    lines = call("plan", *sets).stdout.splitlines()
    assert lines[2].split() == ["train", "not", "known", "?", "?", "?"]
    assert "without 5 of 6 stages" in lines[7]


def test_a_plan_needs_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = call("plan")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "no recipe to plan" in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "bm25"])
def test_an_index_that_is_too_large_to_try_is_told_by_smaller_ones(recipe, kind, monkeypatch):
    monkeypatch.setattr(cost_of_index, "FEW", 60)
    monkeypatch.setattr(cost_of_index, "MANY", 140)
    sets = ["--set", f"index.type={kind}", "--set", "train.max_epochs=0"]
    told = planned(*sets)["stages"]
    assert told["index"]["work"] == "282 passages"
    assert call("run", *sets).exit_code == 0
    there = bytes_below("runs/small/index")
    assert told["index"]["disk"]["likely"] == pytest.approx(there, rel=0.25)


def test_a_large_source_is_told_by_its_first_rows(recipe, monkeypatch):
    whole = planned("--only", "select-data")["stages"]["select-data"]
    monkeypatch.setattr(cost_of_data, "WHOLE", 0)
    monkeypatch.setattr(cost_of_data, "SAMPLE", 300_000)
    told = planned("--set", "train.max_epochs=1")["stages"]
    few = told["select-data"]
    assert few["work"].endswith("84 to write")
    assert few["disk"]["low"] < whole["disk"]["likely"] < few["disk"]["high"]
    assert told["train"]["work"].startswith("6 steps of 8 questions")


# --- the parts ------------------------------------------------------------------------------------


def test_every_stage_that_runs_has_what_tries_it():
    assert set(COSTS) == {name for name, stage in FUNCTIONS.items() if stage.in_run}


@pytest.mark.parametrize(
    ("every", "epoch", "done", "end", "count"),
    [
        ("epoch", 6, 0, 12, 3),  # before training, and after each epoch
        ("epoch", 6, 6, 12, 1),
        ("5", 6, 0, 12, 4),  # 0, 5, 10 and the end
        ("never", 6, 0, 12, 0),
    ],
)
def test_validations_are_counted_as_training_does_them(every, epoch, done, end, count):
    assert validations_between(every, epoch, done, end) == count


def test_amounts_in_words():
    assert time_words(Range(24.2, 34.4, 50)) == "34 s (24 to 50)"
    assert time_words(exactly(0.25)) == "0.2 s"
    assert time_words(Range(1740, 2040, 2640)) == "34 min (29 to 44)"
    assert time_words(Range(3600, 7200, 9000)) == "2.0 h (1.0 to 2.5)"
    assert bytes_words(Range(1.9e9, 2.1e9, 2.5e9)) == "2.1 GB (1.9 to 2.5)"
    assert bytes_words(exactly(500)) == "500 bytes"


def test_seconds_and_disk_add_up_and_the_stage_that_passes_the_limit_is_named():
    hour, gb = exactly(3600), exactly(10**9)
    stages = {
        "train": StagePlan("train", "tried", seconds=hour, disk=gb, scratch=gb, memory=gb),
        "index": StagePlan("index", "tried", seconds=hour, disk=gb, memory=gb.times(2)),
    }
    room = {"train": 9 * 10**9, "index": 9 * 10**9}
    assert misfits(stages, Limits(2, 2 * 10**9, 2 * 10**9), 9 * 10**9, room) == []
    told = misfits(stages, Limits(1.5, int(1.5e9), int(1.5e9)), 9 * 10**9, room)
    assert [(m.told, m.likely) for m in told] == [
        ("index: the run takes 2.0 h, more than --max-hours 1.5", True),
        ("train: the disk has to hold 2.0 GB, more than --max-disk 1.5 GB", True),
        ("index: it takes 2.0 GB, more than --max-memory 1.5 GB", True),
    ]
    may = {"train": StagePlan("train", "tried", seconds=Range(3000, 3600, 5000))}
    [told] = misfits(may, Limits(hours=1.2), 10**9, {"train": 10**9})
    assert not told.likely
    assert told.told.endswith("which may be more than --max-hours 1.2")
    [told] = misfits(stages, Limits(), 10**10, {"train": 10**9, "index": 10**10})
    assert told.told == "train: the disk has to hold 2.0 GB, more than the disk has free"
