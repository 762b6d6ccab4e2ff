"""Recipes whose stages have names of their own: a recipe that trains twice."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dprkit.store.manifests import read_manifest
from tests.conftest import DPRKIT, call, environment, in_force

TWICE = """\
select-data: {sources: [bundled:tiny/examples.json], split: {train: 16, valid: 8, test: 8}}
train-1: {stage: train, max_epochs: 1, batch_size: 8, projection: 8, scratch_hidden_size: 16, \
scratch_vocab_size: 400, valid_hard_negatives: 1, valid_negatives: 1}
encode-corpus: {passages: bundled:tiny/passages.tsv}
index: {}
train-2: {stage: train, init: train-1.output_dir, max_steps: 12, batch_size: 4, \
checkpoint_every: 2, valid_hard_negatives: 1, valid_negatives: 1}
encode-2: {stage: encode-corpus, passages: bundled:tiny/passages.tsv}
index-2: {stage: index}
evaluate: {topk: [1, 5]}
evaluate-1: {stage: evaluate, index: index.output_dir, topk: [1, 5]}
"""
NAMES = [line.partition(":")[0] for line in TWICE.splitlines()]


@pytest.fixture(scope="module")
def trained_twice(tmp_path_factory):
    """A folder with a recipe that trains twice, and what it makes."""
    folder = tmp_path_factory.mktemp("twice")
    (folder / "twice.yaml").write_text(TWICE)
    result = call("run", "--config", folder / "twice.yaml", "--json")
    assert result.exit_code == 0, result.stderr
    (folder / "said").write_text(result.stderr)
    (folder / "told.json").write_text(result.stdout)
    return folder


@pytest.fixture
def twice(trained_twice, tmp_path, monkeypatch):
    """A copy of it, as the current folder, where the recipe is dprkit.yaml."""
    shutil.copytree(trained_twice, tmp_path / "twice")
    monkeypatch.chdir(tmp_path / "twice")
    Path("twice.yaml").rename("dprkit.yaml")
    Path("dprkit.yaml").write_text(f"name: twice\n{TWICE}")
    return tmp_path / "twice"


def made_from(folder):
    inputs = read_manifest(folder).inputs
    return {name: f"runs/{read.path.rpartition('/runs/')[2]}" for name, read in inputs.items()}


def states(*words):
    result = call("run", "--status", "--json", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    return {name: told["state"] for name, told in json.loads(result.stdout)["stages"].items()}


def content(folder):
    return {name: f.sha256 for name, f in read_manifest(folder).files.items() if f.content}


# --- the flow -------------------------------------------------------------------------------------


def test_stages_run_in_the_order_of_the_file_and_say_their_number(twice):
    said = [line.split()[-2:] for line in Path("said").read_text().splitlines() if "== " in line]
    assert said == [[f"{n}/9", name] for n, name in enumerate(NAMES, start=1)]
    assert list(json.loads(Path("told.json").read_text())["stages"]) == NAMES


def test_a_stage_with_a_name_writes_into_a_folder_of_that_name(twice):
    folders = sorted(path.name for path in Path("runs/twice").iterdir())
    plain = ["data", "embeddings", "index", "results"]
    assert folders == sorted([*plain, "train-1", "train-2", "encode-2", "index-2", "evaluate-1"])


def test_an_input_follows_the_nearest_stage_before_it(twice):
    def read(folder):
        return made_from(f"runs/twice/{folder}")

    assert read("train-2") == {
        "train": "runs/twice/data/train.jsonl",
        "valid": "runs/twice/data/valid.jsonl",
        "init": "runs/twice/train-1",
    }
    assert read("embeddings")["retriever"] == "runs/twice/train-1"
    assert read("index")["embeddings"] == "runs/twice/embeddings"
    assert read("encode-2")["retriever"] == "runs/twice/train-2"
    assert read("index-2")["embeddings"] == "runs/twice/encode-2"
    assert read("results")["index"] == "runs/twice/index-2"
    assert read("evaluate-1")["index"] == "runs/twice/index"


def test_a_second_run_makes_nothing(twice):
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    result = call("run")
    assert result.exit_code == 0
    assert result.stderr.count(": up to date") == len(NAMES)
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_second_training_ends_with_the_same_bytes(twice):
    shutil.move("runs", "whole")
    process = subprocess.Popen([*DPRKIT, "run", "--quiet"], env=environment())
    rows, end = Path("runs/twice/train-2/metrics.jsonl"), time.monotonic() + 120
    while not rows.exists() or rows.read_bytes().count(b'"lr"') < 5:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    found = states()
    assert [found[name] for name in NAMES[:6]] == [*["up to date"] * 4, "half done", "not begun"]
    result = call("run")
    assert result.exit_code == 0, result.stderr
    assert "runs/twice/train-2: going on where an earlier run stopped" in result.stderr
    for folder in Path("whole/twice").iterdir():
        assert content(Path("runs/twice", folder.name)) == content(folder), folder.name


@pytest.mark.slow
def test_the_recipe_of_the_guide_trains_twice(empty, tiny_examples):
    from tests.interop.foreign import save_bert

    guide = Path(__file__).parents[2] / "docs/guide.md"
    recipes = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.S)
    (recipe,) = (recipe for recipe in recipes if "train-2" in recipe)
    Path("dprkit.yaml").write_text(recipe)
    Path("my-train.json.gz").write_bytes(gzip.compress(tiny_examples.read_bytes()))
    save_bert(Path("sentence-transformers/all-MiniLM-L6-v2"))
    sets = ["select-data.split={train: 8, valid: 4, test: 4}"]
    for train in ("train-1", "train-2"):
        sets += [f"{train}.max_steps=1", f"{train}.batch_size=4"]
    sets.append("train-1.passage_max_length=32")
    result = call("run", *(word for one in sets for word in ("--set", one)))
    assert result.exit_code == 0, result.stderr
    assert made_from("runs/twice/train-2")["init"] == "runs/twice/train-1"
    assert made_from("runs/twice/encode-2")["retriever"] == "runs/twice/train-2"
    assert made_from("runs/twice/evaluate-1")["index"] == "runs/twice/index-1"
    assert set(in_force("train-2")) == {"train-2"}


# --- one stage, or from one on --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "run"),
    [
        (("--only", "train-2"), ["train-2"]),
        (("--only", "index"), ["index"]),
        (("--from", "index-2"), ["index-2", "evaluate", "evaluate-1"]),
        (("--from", "select-data"), NAMES),
    ],
)
def test_run_does_one_stage_or_those_from_one_on(twice, words, run):
    assert list(json.loads(call("run", "--json", *words).stdout)["stages"]) == run


def test_a_stage_of_several_keeps_its_number_when_it_is_run_alone(twice):
    assert "== 5/9 train-2\n" in call("run", "--only", "train-2").stderr


def test_a_stage_alone_needs_what_the_others_would_have_made(twice):
    shutil.rmtree("runs/twice/index-2")
    result = call("run", "--only", "evaluate")
    assert result.exit_code == 1
    assert "evaluate.index: runs/twice/index-2: is not there" in result.stderr
    assert call("run", "--from", "index-2").exit_code == 0
    shutil.rmtree("runs/twice/train-1")
    result = call("run", "--only", "train-2")  # and no hub is asked for a model of this name
    assert result.stderr.startswith("Error: train-2.init: runs/twice/train-1: is not there")


def test_a_command_runs_the_stage_that_is_named(twice):
    for name in ("train-1", "train-2"):
        result = call("train", "--stage", name)
        assert (result.exit_code, f"{name}: up to date" in result.stderr) == (0, True)
    result = call("index", "--stage", "index-2", "--type", "sq8", "--output-dir", "other")
    assert result.exit_code == 0, result.stderr
    assert made_from("other")["embeddings"] == "runs/twice/encode-2"


def test_a_command_that_stands_for_several_stages_asks_for_the_name(twice):
    for command, words in (("train", []), ("config", ["show", "train"])):
        assert call(command, *words).stderr == (
            "Error: dprkit.yaml: train stands for train-1 or train-2; name the one you mean, as in "
            "dprkit train --stage train-1\n"
        )
    assert "runs/twice/index: up to date" in call("index").stderr  # the stage of just that name


def test_a_command_that_stands_for_one_stage_with_a_name_runs_it(empty):
    Path("dprkit.yaml").write_text("pick: {stage: select-data, sources: [x], num_items: 3}")
    assert in_force("select-data")["pick"]["num_items"]["value"] == 3
    assert "x: no such file" in call("select-data").stderr


def test_a_stage_that_the_recipe_lacks_reads_what_the_last_ones_made(twice):
    assert in_force("search")["search"]["index"]["value"] == "runs/twice/index-2"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("run", "--only", "train-3"), "--only: dprkit.yaml has no stage 'train-3'; did you mean"),
        (("run", "--from", "x"), f"has no stage 'x'; there are {', '.join(NAMES)}"),
        (("run", "--only", "index", "--from", "index"), "--only and --from both choose stages"),
        (("train", "--stage", "train-3"), "--stage: no stage of train is called 'train-3'; did"),
        (("train", "--stage", "index"), "no stage of train is called 'index'; there are train-1, "),
        (("search", "--stage", "x"), "no stage of search is called 'x'; there are none"),
        (("run", "--set", "train.lr=1"), "--set train.lr=1: name one of train-1, train-2 instead"),
        (("run", "--set", "trian-1.lr=1"), "no stage is called 'trian-1'; did you mean 'train-1'?"),
        (("run", "--set", "train-1.rl=1"), "train-1 has no setting 'rl'; did you mean 'lr'?"),
        (("run", "--set", "train-2.lr=x"), "train-2.lr (--set): 'x' is not valid"),
        (("run", "--set", "train-2.init=train-3.output_dir"), "no stage is called 'train-3'; did"),
        (("config", "show", "train-3"), "no stage is called 'train-3'; did you mean 'train-"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(twice, words, problem):
    result = call(*words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert problem in result.stderr


def test_what_run_does_not_run_is_not_one_of_its_stages(empty):
    Path("dprkit.yaml").write_text("index: {}\nask: {stage: search, topk: 3}")
    result = call("run", "--only", "ask")
    assert result.stderr == "Error: --only: dprkit run does not run ask; give dprkit search\n"
    assert in_force("search")["ask"]["topk"]["value"] == 3


# --- what cannot be run ---------------------------------------------------------------------------

DATA = "select-data: {sources: [bundled:tiny/examples.json], split: {train: 16, valid: 8}}\n"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: {stage: train, init: b.output_dir}\nb: {stage: train}\n",
            "runs/bad/b: a reads it and b would write it; put b before a, or choose another",
        ),
        (
            "a: {stage: train, init: a.output_dir}\n",
            "runs/bad/a: a reads it and a would write it; choose another output for a",
        ),
        (
            "a: {stage: train, init: b.output_dir}\nb: {stage: train, init: a.output_dir}\n",
            "runs/bad/b: a reads it and b would write it; put b before a, or choose another",
        ),
        (
            "a: {stage: train, init: b.output_dir/last}\nb: {stage: train}\n",
            "runs/bad/b/last: a reads it and b would write it; put b before a",
        ),
        (
            "a: {stage: train, output_dir: out}\nb: {stage: train, output_dir: out}\n",
            "out: a and b would both write it; give each its own output",
        ),
        (
            "data: {stage: train}\n",
            "runs/bad/data: select-data and data would both write it; give each its own output",
        ),
        ("a: {stage: train, train_file: [b.output]}\nb: {stage: select-data}\n", "b writes no out"),
    ],
)
def test_stages_that_cannot_all_do_their_work_are_refused_first(empty, text, problem, where):
    Path("bad.yaml").write_text(DATA + text)
    path = Path("bad.yaml") if where == "here" else Path("bad.yaml").resolve()
    result = call("run", "--config", path)
    assert (result.exit_code, os.listdir()) == (1, ["bad.yaml"])
    assert len(result.stderr.splitlines()) == 1
    assert problem in result.stderr


# --- --set of what the recipe lacks ---------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_setting_of_a_stage_that_the_recipe_lacks_is_warned_of(work, command):
    result = call(command, "--quiet", "--set", "search.topk=5", "--set", "tune-index.topk=6")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "Warning: --set search.topk: without effect here, since dprkit.yaml has no stage search",
        "Warning: --set tune-index.topk: without effect here, since dprkit.yaml has no stage "
        "tune-index",
    ]


def test_a_setting_that_another_stage_follows_is_not_warned_of(empty):
    Path("dprkit.yaml").write_text("train: {max_epochs: 0}")
    result = call("train", "--set", "select-data.output=rows.jsonl")
    assert "rows.jsonl: no such file" in result.stderr
    assert "Warning" not in result.stderr


# --- status ---------------------------------------------------------------------------------------


def test_status_says_of_each_stage_where_it_is(twice):
    assert set(states().values()) == {"up to date"}
    shutil.rmtree("runs/twice/index-2")
    assert states() == dict.fromkeys(NAMES, "up to date") | {
        "index-2": "not begun",
        "evaluate": "out of date",
    }
    changed = states("--set", "train-2.lr=0.5")
    assert [changed[name] for name in NAMES[:7]] == [
        *["up to date"] * 4,
        *["out of date"] * 2,
        "not begun",
    ]
    assert states("--only", "index") == {"index": "up to date"}


def test_status_is_a_line_for_each_stage_with_the_reason(twice):
    lines = call("run", "--status", "--set", "train-2.max_steps=13").stdout.splitlines()
    assert lines[0] == "1/9  select-data    up to date   runs/twice/data"
    assert (
        lines[4]
        == "5/9  train-2        out of date  runs/twice/train-2  (max_steps was 12 and is 13)"
    )
    assert lines[5] == "6/9  encode-2       out of date  runs/twice/encode-2  (train-2 comes first)"


def test_values_that_differ_are_shown_as_a_recipe_has_them(twice):
    words = ("--set", "train-2.patience=3", "--set", "train-2.mask_answers=true")
    said = call("run", "--status", "--only", "train-2", *words).stdout
    assert "mask_answers was false and is true; patience was null and is 3" in said


def test_status_writes_nothing_and_imports_nothing_heavy(twice):
    for folder in ("index", "train-1"):
        shutil.rmtree(f"runs/twice/{folder}")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    program = (
        "import sys; from dprkit.cli.app import app\n"
        "try: app(['run', '--status'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'faiss', 'numpy'} & set(sys.modules)"
    )
    ran = subprocess.run([DPRKIT[0], "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "train-1        not begun" in ran.stdout
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_status_of_files_that_are_no_artifacts_says_whether_they_are_there(empty):
    Path("dprkit.yaml").write_text("select-data: {sources: [x.jsonl], output: rows.jsonl}")
    assert states() == {"select-data": "not begun"}
    Path("rows.jsonl").write_text("")
    assert states() == {"select-data": "there"}


def test_status_tells_of_a_stage_that_would_be_refused(twice):
    Path("runs/twice/index/index.faiss").write_bytes(b"changed")
    told = json.loads(call("run", "--status", "--json").stdout)["stages"]["index"]
    assert told["state"] == "refused"
    assert "index.faiss: was changed since it was made" in told["why"]


# --- config show and completion -------------------------------------------------------------------


def test_config_show_prints_the_stages_by_name_as_a_recipe(twice):
    shown = call("config", "show").stdout
    assert "\ntrain-2:\n  stage: train\n" in shown
    Path("again.yaml").write_text(shown)
    mine, again = in_force(), in_force("--config", "again.yaml")
    assert list(mine)[: len(NAMES)] == NAMES
    assert "train" not in mine
    for stage in mine:
        assert {k: v["value"] for k, v in mine[stage].items()} == {
            k: v["value"] for k, v in again[stage].items()
        }
    assert in_force("train-2")["train-2"]["init"] == {
        "value": "runs/twice/train-1",
        "from": "dprkit.yaml",
    }


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dprkit run --only tr", ["train-1", "train-2"]),
        ("dprkit run --from index", ["index", "index-2"]),
        ("dprkit train --stage ", ["train-1", "train-2"]),
        ("dprkit run --set train-2.poo", ["train-2.pooling="]),
        ("dprkit run --set train-", ["train-1.", "train-2.", "train-reader."]),
        ("dprkit config show train", ["train-1", "train-2", "train", "train-reader"]),
        ("dprkit run --recipe tiny --only tr", ["train"]),
        ("dprkit run --config gone.yaml --only tr", []),
    ],
)
def test_the_shell_offers_the_names_of_the_recipes_stages(twice, typed, offered):
    words = typed.split(" ")
    env = {"_DPRKIT_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    env = environment(**env, COMP_CWORD=str(len(words) - 1))
    ran = subprocess.run(
        [
            DPRKIT[0],
            "-c",
            "import sys; sys.argv = ['dprkit']; import dprkit.__main__ as m; m.main()",
        ],
        capture_output=True,
        text=True,
        env=env,
    )
    assert (ran.stdout.split(), ran.stderr) == (offered, "")
