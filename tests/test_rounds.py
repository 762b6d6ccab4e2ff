"""rounds: stages of a recipe that run again on what the round before made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dprkit.errors import FormatError, SettingsError
from dprkit.new_recipe import commented
from dprkit.recipes import Recipe, load_recipe
from tests.conftest import call

LOOP = """\
rounds: 3
repeat:
  first: encode
  last: seen
  carry: {train: better}
train: {max_steps: 1}
encode: {stage: encode-corpus, retriever: train.output_dir, passages: p.tsv}
index: {}
better:
  stage: train
  init: train.output_dir
  train_file: [train.output_dir/a.jsonl, index.output_dir/b.jsonl:2, plain.jsonl]
seen: {stage: evaluate}
last: {stage: encode-corpus, retriever: better.output_dir}
compare: {systems: [train.output_dir, "seen.output_dir,better.output_dir/x", other]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(text: str, *sets: str) -> Recipe:
    Path("my.yaml").write_text(text)
    return load_recipe("my.yaml", sets=sets)


def value(of: Recipe, stage: str, name: str) -> object:
    return of.explain(stage, {})[name][0]


def test_the_stages_of_each_round_follow_those_of_the_one_before() -> None:
    body = ("encode", "index", "better", "seen")
    again = [f"{stage}-{number}" for number in (2, 3) for stage in body]
    found = recipe(LOOP)
    assert found.names == ["train", *body, *again, "last", "compare"]
    assert [found.kind_of(name) for name in again[:4]] == [
        "encode-corpus",
        "index",
        "train",
        "evaluate",
    ]
    assert value(found, "better-3", "output_dir") == "runs/my/better-3"


def test_a_round_reads_its_own_stages_and_what_the_round_before_carries_over() -> None:
    found = recipe(LOOP)
    assert value(found, "encode", "retriever") == "runs/my/model"
    assert value(found, "encode-2", "retriever") == "runs/my/better"
    assert value(found, "encode-3", "retriever") == "runs/my/better-2"
    files = ("runs/my/better/a.jsonl", "runs/my/index-2/b.jsonl:2", "plain.jsonl")
    assert value(found, "better-2", "train_file") == files
    assert value(found, "index-2", "embeddings") == "runs/my/encode-2"  # the nearest before
    assert value(found, "seen-2", "index") == "runs/my/index-2"


def test_behind_the_rounds_a_name_is_of_the_last_round_and_in_a_list_of_all() -> None:
    found = recipe(LOOP)
    assert value(found, "last", "retriever") == "runs/my/better-3"
    assert value(found, "compare", "systems") == (
        "runs/my/model",
        "runs/my/seen,runs/my/better/x",
        "other",
        "runs/my/seen-2,runs/my/better-2/x",
        "runs/my/seen-3,runs/my/better-3/x",
    )


def test_one_round_is_the_recipe_as_it_stands() -> None:
    once, bare = (recipe(LOOP.replace("rounds: 3", number)) for number in ("rounds: 1", ""))
    assert once.written == bare.written and once.names == list(once.written)
    assert value(once, "compare", "systems") == (
        "runs/my/model",
        "runs/my/seen,runs/my/better/x",
        "other",
    )
    assert len(recipe(LOOP.replace("rounds: 3", ""), "rounds=2").names) == 7 + 4


def test_a_set_of_a_stage_holds_in_all_rounds_but_where_one_has_its_own() -> None:
    found = recipe(
        LOOP, "better.lr=0.5", "better-2.lr=0.25", "better.valid_file=train.output_dir/v"
    )
    assert [value(found, name, "lr") for name in ("better", "better-2", "better-3")] == [
        0.5,
        0.25,
        0.5,
    ]
    assert value(found, "better-3", "valid_file") == "runs/my/better-2/v"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("rounds: 3", "rounds: 0", 1, "rounds: 0 is not valid: expected a number of 1 or more"),
        ("rounds: 3", "rounds: true", 1, "rounds: True is not valid"),
        ("first: encode", "first: encod", 3, "no stage is called 'encod'; did you mean 'encode'?"),
        ("first: encode", "", 2, "repeat names the first and the last stage of a round"),
        ("first: encode", "frist: encode", 2, "repeat names the first and the last stage"),
        ("carry:", "cary:", 5, "repeat has no 'cary'; did you mean 'carry'?"),
        ("last: seen", "last: train", 4, "train comes before encode; exchange first and last"),
        ("{train: b", "{trian: b", 5, "no stage before the rounds is called 'trian'; did you mean"),
        ("train: better}", "train: betr}", 5, "no stage of a round is called 'betr'; did you mean"),
        ("carry: {train: better}", "carry: train", 5, "carry holds stages, as BEFORE: REPEATED"),
        ("last: {stage", "seen-2: {stage", 14, "'seen-2' is how a later round calls a stage"),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, line: int, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        recipe(LOOP.replace(old, new, 1))
    assert str(caught.value).startswith(f"my.yaml:{line}: {problem}")


def test_rounds_without_stages_to_repeat_are_refused() -> None:
    with pytest.raises(
        FormatError, match=r"my.yaml:1: rounds: 2 needs the stages of a round beside"
    ):
        recipe("rounds: 2\ntrain: {}")
    with pytest.raises(SettingsError, match="--set rounds: 2 needs the stages of a round"):
        recipe("train: {}", "rounds=2")
    with pytest.raises(SettingsError, match="--set rounds: 'two' is not valid"):
        recipe(LOOP, "rounds=two")


def test_a_copy_of_a_recipe_keeps_its_rounds_as_they_were_written() -> None:
    copied = recipe(commented(recipe(LOOP), "copy"))
    assert (copied.rounds, copied.again) == (1, {})
    assert copied.repeat == recipe(LOOP).repeat
    assert copied.names == recipe(LOOP, "rounds=1").names


def test_a_copy_marks_the_files_to_change_and_not_what_stages_hand_on() -> None:
    text = commented(recipe(LOOP), "copy")
    marked = [line.strip() for line in text.splitlines() if line.endswith("# CHANGE")]
    assert [line.partition(":")[0] for line in marked] == ["passages", "train_file", "systems"]


SMALL = """\
rounds: 2
repeat: {first: encode, last: better, carry: {train: better}}
select-data: {sources: [bundled:tiny/examples.json], split: {train: 16, test: 8}}
train: {max_steps: 1, batch_size: 8, scratch_hidden_size: 16, scratch_vocab_size: 400}
encode: {stage: encode-corpus, retriever: train.output_dir, passages: bundled:tiny/passages.tsv}
seek: {stage: index}
judged: {stage: evaluate, topk: [5]}
better: {stage: train, init: train.output_dir, max_steps: 1, batch_size: 8}
compare: {systems: [judged.output_dir]}
"""


def states() -> dict[str, str]:
    told = json.loads(call("run", "--status", "--json").stdout)["stages"]
    return {stage: one["state"] for stage, one in told.items()}


def input_of(stage: str, name: str) -> str:
    made = json.loads(Path(f"runs/dprkit/{stage}/manifest.json").read_text())
    return Path(made["inputs"][name]["path"]).name


def test_rounds_are_run_and_told_as_any_stages_are() -> None:
    Path("dprkit.yaml").write_text(SMALL)
    assert states()["better-2"] == "not begun"
    ran = call("run", "--json")
    assert ran.exit_code == 0, ran.stderr
    report = json.loads(ran.stdout)["stages"]["compare"]
    assert report["systems"] == ["judged", "judged-2"]
    assert [input_of("encode", "retriever"), input_of("encode-2", "retriever")] == [
        "model",
        "better",
    ]
    assert input_of("judged-2", "index") == "seek-2"
    assert set(states().values()) == {"up to date"}
    shutil.rmtree("runs/dprkit/judged-2")
    assert [stage for stage, state in states().items() if state != "up to date"] == [
        "judged-2",
        "compare",
    ]
    again = call("run", "--from", "seek-2")
    assert again.exit_code == 0, again.stderr
    assert again.stderr.count("up to date") == 3  # but the judged one: the same bytes came out
    assert call("run", "--only", "better-3").exit_code == 1
