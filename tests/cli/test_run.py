"""run: the stages of a recipe, and what it refuses before the first one."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import FOLDERS, STAGES_RUN, call


def times(folder):
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*")}


# --- run ------------------------------------------------------------------------------------------


def test_run_passes_over_what_is_up_to_date(work):
    before = times("runs")
    result = call("run")
    assert result.exit_code == 0
    assert result.stderr.count(": up to date") == len(STAGES_RUN)
    assert times("runs") == before


def test_run_does_again_what_a_change_reaches_and_no_more(work):
    result = call("run", "--set", "encode-corpus.dtype=float16")
    assert result.exit_code == 0, result.stderr
    up_to_date = [
        name for name in STAGES_RUN if f"runs/dprkit/{FOLDERS[name]}: up to" in result.stderr
    ]
    assert up_to_date == ["select-data", "train"]
    found = json.loads(call("run", "--set", "evaluate.topk=2", "--json").stdout)
    assert set(found["stages"]) == set(STAGES_RUN)
    assert found["stages"]["evaluate"]["metrics"]["answer_recall"].keys() == {"2"}


def test_run_goes_on_where_a_stage_failed(work):
    shutil.rmtree("runs/dprkit/index")
    Path("runs/dprkit/index").write_text("in the way")
    result = call("run", "--restart")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: runs/dprkit/index: is a file")
    Path("runs/dprkit/index").unlink()
    result = call("run")
    assert result.exit_code == 0
    assert result.stderr.count(": up to date") >= 3


def test_run_ends_with_the_same_artifacts_as_the_five_commands(work):
    shutil.copy("dprkit.yaml", "five.yaml")
    for stage in STAGES_RUN:
        assert call(stage, "--config", "five.yaml", "--quiet").exit_code == 0
    for folder in FOLDERS.values():
        one, other = (
            json.loads(Path(f"runs/{name}/{folder}/manifest.json").read_bytes())
            for name in ("dprkit", "five")
        )
        assert one["identity"] == other["identity"], folder


def test_run_runs_the_stages_a_recipe_mentions(work):
    Path("two.yaml").write_text(
        "index: {embeddings: runs/dprkit/embeddings}\n"
        "evaluate: {questions: runs/dprkit/data/test.jsonl}\n"
    )
    found = json.loads(call("run", "--config", "two.yaml", "--json").stdout)
    assert set(found["stages"]) == {"index", "evaluate"}
    assert found["recipe"] == "two"
    Path("none.yaml").write_text("name: none")
    refused = call("run", "--config", "none.yaml")
    assert refused.exit_code == 1 and "none.yaml: names no stage" in refused.stderr


def made_from(folder):
    inputs = json.loads(Path(folder, "manifest.json").read_bytes())["inputs"]
    return {name: os.path.relpath(known["path"]) for name, known in inputs.items()}


@pytest.mark.parametrize("by", ["--set", "the recipe"])
def test_run_measures_the_model_that_it_trained_wherever_that_is(work, by):
    before = Path("runs/dprkit/results/metrics.json").read_bytes()
    if by == "--set":
        sets = ["--set", "train.output_dir=other", "--set", "train.max_steps=1"]
    else:
        sets, text = [], Path("dprkit.yaml").read_text()
        Path("dprkit.yaml").write_text(
            text.replace("train: {", "train: {output_dir: other, max_steps: 1, ")
        )
    assert call("run", *sets).exit_code == 0
    assert made_from("runs/dprkit/embeddings")["retriever"] == "other"
    assert made_from("runs/dprkit/index")["retriever"] == "other"
    assert Path("runs/dprkit/results/metrics.json").read_bytes() != before


def test_run_follows_the_output_of_every_stage(work):
    moved = {"select-data": "d", "train": "m", "encode-corpus": "e", "index": "i", "evaluate": "r"}
    sets = [word for s, to in moved.items() for word in ("--set", f"{s}.output_dir=new/{to}")]
    assert call("run", *sets, "--set", "train.max_epochs=1").exit_code == 0
    assert made_from("new/m")["train"] == "new/d/train.jsonl"
    assert made_from("new/m")["valid"] == "new/d/valid.jsonl"
    assert made_from("new/e")["retriever"] == "new/m"
    assert made_from("new/i")["embeddings"] == "new/e"
    assert made_from("new/r") == {"index": "new/i", "questions": "new/d/test.jsonl"}


def test_one_command_reads_what_the_recipe_says_that_the_stage_before_wrote(work):
    os.rename("runs/dprkit/model", "moved")
    for stage in ("train", "encode-corpus"):
        result = call(stage, "--set", "train.output_dir=moved")
        assert (result.exit_code, ": up to date" in result.stderr) == (0, True), result.stderr


def test_run_works_in_the_folder_of_its_recipe_from_anywhere(work, monkeypatch):
    before = times("runs")
    for here in ("runs", "/"):
        monkeypatch.chdir(work / here)
        result = call("run", "--config", os.path.relpath(work / "dprkit.yaml"))
        assert result.exit_code == 0, result.stderr
        assert result.stderr.count(": up to date") == len(STAGES_RUN)
    monkeypatch.chdir(work)
    assert times("runs") == before


# --- compare in a run -----------------------------------------------------------------------------


COMPARED = """\
short: {stage: evaluate, topk: [1], questions: runs/dprkit/data/test.jsonl}
compare: {systems: [evaluate.output_dir, short.output_dir], metrics: answer_recall@1}
"""


def test_a_comparison_in_a_run_is_kept_and_shown_again(work):
    Path("dprkit.yaml").write_text(Path("dprkit.yaml").read_text() + COMPARED)
    first = call("run")
    assert first.exit_code == 0, first.stderr
    table = first.stdout[first.stdout.index("8 questions; difference: short less results") :]
    assert "answer_recall@1" in table
    kept = json.loads(Path("runs/dprkit/comparison/comparison.json").read_text())
    alone = call("compare", "runs/dprkit/results", "runs/dprkit/short", "--json")
    metrics = json.loads(alone.stdout)["metrics"]
    assert kept["metrics"]["answer_recall@1"]["values"] == metrics["answer_recall@1"]["values"]
    before = times("runs")
    again = call("run")
    assert "runs/dprkit/comparison: up to date" in again.stderr
    assert again.stdout[again.stdout.index("8 questions; difference") :] == table
    assert times("runs") == before
    status = json.loads(call("run", "--status", "--json").stdout)["stages"]["compare"]
    assert (status["state"], status["output"]) == ("up to date", "runs/dprkit/comparison")


def test_a_gate_on_a_kept_comparison_fails_each_time(work):
    lines = Path("runs/dprkit/results/results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["ctxs"] = [{"id": "it", "text": row["answers"][0], "score": 1}]
    Path("best.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = Path("dprkit.yaml").read_text()
    systems = "systems: [best.jsonl, evaluate.output_dir], metrics: answer_recall@1"
    Path("dprkit.yaml").write_text(f"{recipe}compare: {{{systems}}}\n")
    assert call("run", "--quiet").exit_code == 0
    gated = ("run", "--set", "compare.fail_if_worse=[answer_recall@1:0]")
    gated += ("--set", "compare.flips=flips.jsonl")
    failed = call(*gated)
    assert failed.exit_code == 3
    assert "Error: compare: answer_recall@1 of runs/dprkit/results is " in failed.stderr
    flips = Path("flips.jsonl").read_bytes()
    Path("flips.jsonl").unlink()
    again = call(*gated)
    assert (again.exit_code, again.stderr.count("comparison: up to date")) == (3, 1)
    assert Path("flips.jsonl").read_bytes() == flips != b""


def test_compare_by_hand_keeps_nothing(work):
    before = times("runs")
    assert call("compare", "runs/dprkit/results", "runs/dprkit/results/run.trec").exit_code == 1
    copy = shutil.copytree("runs/dprkit/results", "copy")
    assert call("compare", "runs/dprkit/results", copy).exit_code == 0
    assert times("runs") == before


# --- run finds what is wrong before it begins -----------------------------------------------------


FIRST = "select-data: {sources: [bundled:tiny/examples.json], split: {train: 16, valid: 8}}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("evaluate: {topk: [0]}", "evaluate.topk (bad.yaml): [0] is not valid"),
        ("search: {topk: none}", "search.topk (bad.yaml): 'none' is not valid"),
        ("train: {precision: fp8}", "train.precision (bad.yaml): 'fp8' is not valid"),
        ("train: {patience: 2, valid_every: never}", "--patience counts validations"),
        ("train: {init: ./nowhere}", "--init: ./nowhere: no such folder"),
        ("train: {init: '/nowhere/model'}", "--init: /nowhere/model: no such folder"),
        ("train: {valid_file: v.jsonl}", "train.valid_file: v.jsonl: is not there"),
        (
            "train: {}\nencode-corpus: {}",
            "encode-corpus.passages: runs/bad/data/passages.tsv: is not there, and no stage "
            "before writes it; name the corpus, or set select-data.passages_out to it",
        ),
        ("encode-corpus: {passages: bundled:tiny/passages.tsv, int8: true}", "--int8 is for"),
        (
            "encode-corpus: {passages: bundled:tiny/passages.tsv, retriever: nowhere}",
            "encode-corpus.retriever: nowhere: is not there",
        ),
        (
            "encode-corpus: {passages: bundled:tiny/passages.tsv, retriever: .}",
            ".: has no manifest.json; name the folder of a retriever",
        ),
        ("index: {type: bogus, embeddings: x}", "--type: FAISS knows no 'bogus'"),
        ("index: {type: 'IVF10,Bogus', embeddings: x}", "--type: FAISS knows no 'IVF10,Bogus'"),
        ("index: {type: LSH, embeddings: x}", "'LSH' does not compare by inner product"),
        ("index: {type: auto, max_ram: much, embeddings: x}", "--max-ram: 'much' is no size"),
        ("index: {type: bm25, stemmer: klingon, embeddings: x}", "no stemmer is called 'klingon'"),
        ("index: {type: bm25, passages: p.tsv}", "index.passages: p.tsv: is not there"),
        (
            "evaluate: {index: .}",
            ".: has no manifest.json; name the folder of an index",
        ),
        (
            "train: {}\nevaluate: {index: '.', questions: nowhere}",
            "has no manifest.json",
        ),
        (
            "train: {output_dir: out}\nevaluate: {output_dir: out, results: bad.yaml}",
            "out: train and evaluate would both write it; give each its own output",
        ),
        ("evaluate: {index: '.', questions: bad.csv}", "has no manifest.json"),
        ("train: {output_dir: bad.yaml}", "bad.yaml: is a file; an output folder is needed"),
        ("train: {output_dir: bad.yaml/x}", "bad.yaml/x: a part of this path is a file"),
        ("train: {train_file: runs/bad/data/other.jsonl}", "select-data writes train.jsonl, valid"),
        ("download: {names: [data.nothing]}", "data.nothing"),
    ],
)
def test_run_refuses_before_the_first_stage_and_writes_nothing(empty, text, problem):
    Path("bad.yaml").write_text(FIRST + text)
    result = call("run", "--config", "bad.yaml")
    assert (result.exit_code, os.listdir()) == (1, ["bad.yaml"])
    said = result.stderr.splitlines()
    assert len(said) == 1
    assert problem in said[0]


def test_questions_that_no_stage_makes_are_found_before_anything_is_trained(work):
    shutil.rmtree("runs")
    Path("dprkit.yaml").write_text(Path("dprkit.yaml").read_text().replace(", test: 8", ""))
    result = call("run")
    assert (result.exit_code, os.listdir()) == (1, ["dprkit.yaml"])
    assert (
        "evaluate.questions: runs/dprkit/data/test.jsonl: is not there; "
        "select-data writes train.jsonl, valid.jsonl there" in result.stderr
    )


@pytest.mark.parametrize(
    ("setting", "content"),
    [
        ("evaluate.questions", b""),
        ("evaluate.questions", b'{"question": 3}\n'),
        ("evaluate.questions", b"\xff\xfe\x00"),
        ("encode-corpus.passages", b'{"id": "1"}\n'),
        ("encode-corpus.passages", b""),
    ],
)
def test_a_data_file_that_no_stage_can_read_is_found_before_the_first_one(work, setting, content):
    shutil.rmtree("runs")
    Path("bad.txt").write_bytes(content)
    result = call("run", "--set", f"{setting}=bad.txt")
    assert (result.exit_code, sorted(os.listdir())) == (1, ["bad.txt", "dprkit.yaml"])
    assert "bad.txt" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("extra", ["onnxruntime", "ray", "pymilvus"])
def test_a_missing_extra_is_found_before_the_first_stage(work, monkeypatch, extra):
    from dprkit import errors

    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    shutil.rmtree("runs")
    sets = {
        "onnxruntime": "encode-corpus.backend=onnx",
        "ray": "encode-corpus.engine=ray",
        "pymilvus": "index.type=milvus",
    }
    result = call("run", "--set", sets[extra])
    assert (result.exit_code, os.listdir()) == (1, ["dprkit.yaml"])
    assert f"Error: {extra} is not installed; run: pip install 'dprkit[" in result.stderr


def test_contradicting_flags_are_refused_before_the_corpus_is_read(work):
    Path("p.tsv").write_text("id\ttext\ttitle\n1\ta\tb\n")
    result = call("encode-corpus", "--int8", "--passages", "p.tsv", "--output-dir", "e")
    assert (result.exit_code, sorted(os.listdir())) == (1, ["dprkit.yaml", "p.tsv", "runs"])
    assert result.stderr == (
        "Error: --int8 is for --backend onnx; torch encodes in full precision (token vectors of a "
        "ColBERT model are kept in 8 bits by --dtype int8)\n"
    )


# --- which recipe runs is said --------------------------------------------------------------------


BUILT_IN = "Using the built-in recipe 'tiny'"


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_a_command_of_the_built_in_recipe_says_so_and_where_it_writes(empty, quiet):
    said = call("select-data", "--num-items", "5", *quiet).stderr.splitlines()[0]
    assert said == f"{BUILT_IN}, with outputs in runs/tiny: no dprkit.yaml here"
    for stage in ("train", "encode-corpus", "index", "evaluate", "search", "tune-index"):
        said = call(stage, "--set", "evaluate.topk=1", *quiet).stderr
        assert said.startswith(BUILT_IN), stage
    assert call("config", "show").stderr.startswith(BUILT_IN)


def test_rows_of_ones_own_never_land_in_runs_tiny_without_a_word(empty, tiny_examples):
    own = shutil.copyfile(tiny_examples, "own.json")
    result = call("select-data", own, "--quiet")
    assert (result.exit_code, Path("runs/tiny/data/train.jsonl").exists()) == (0, True)
    assert "with outputs in runs/tiny" in result.stderr


def test_nothing_is_said_where_the_built_in_recipe_decides_nothing(empty, tiny_examples):
    result = call("select-data", tiny_examples, "-o", "x.jsonl", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert BUILT_IN not in call("select-data", "--recipe", "tiny", "--quiet").stderr
    Path("dprkit.yaml").write_text("select-data: {sources: [bundled:tiny/examples.json]}")
    assert BUILT_IN not in call("select-data", "--quiet").stderr
    assert call("--version").stderr == call("train", "--help").stderr == ""


def test_nothing_is_said_where_the_built_in_recipe_has_the_defaults(empty):
    assert call("run", "--recipe", "tiny", "--quiet", "--set", "train.max_epochs=0").exit_code == 0
    words = ["--index", "runs/tiny/index", "--questions", "runs/tiny/data/test.jsonl"]
    result = call("evaluate", *words, "--output-dir", "own", "--quiet")
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", "")


def test_run_without_a_recipe_is_refused_and_makes_nothing(empty):
    result = call("run")
    assert (result.exit_code, result.stdout, os.listdir()) == (1, "", [])
    assert result.stderr == (
        "Error: no recipe to run: no dprkit.yaml here; --recipe tiny runs the shipped example\n"
    )


@pytest.mark.parametrize("name", ["dprkit.yml", "Dprkit.yaml", "DPRKIT.YML"])
def test_a_recipe_of_nearly_the_right_name_is_pointed_to(empty, name):
    Path(name).write_text("train: {}")
    for command in ("run", "train"):
        said = call(command, "--quiet", "--set", "train.init=./nowhere").stderr
        assert f"to use {name}, rename it dprkit.yaml or give --config {name}" in said


def test_a_recipe_in_a_folder_above_is_pointed_to(empty, monkeypatch):
    Path("dprkit.yaml").write_text("train: {}")
    Path("a/b").mkdir(parents=True)
    monkeypatch.chdir("a/b")
    for command in ("run", "evaluate"):
        said = call(command).stderr
        assert "to use ../../dprkit.yaml, work there or give --config ../../dprkit.yaml" in said
    assert os.listdir() == []


def test_run_names_the_recipe_that_it_runs(work):
    assert " recipe dprkit: dprkit.yaml" in call("run").stderr.splitlines()[0]


def test_a_dangling_dprkit_yaml_is_no_reason_to_take_another_recipe(empty):
    Path("dprkit.yaml").symlink_to("gone.yaml")
    for command in ("run", "train"):
        assert (
            call(command).stderr
            == "Error: dprkit.yaml: a link that leads nowhere (gone.yaml); check the path\n"
        )


def test_a_gate_of_a_recipe_ends_the_run_with_3_each_time(empty):
    Path("p.tsv").write_text("id\ttext\ttitle\n1\tit fell\tt\n")
    Path("q.jsonl").write_text('{"question": "what?", "answers": ["zebra"]}\n')
    gate = "audit: {passages: p.tsv, questions: q.jsonl, fail_if: ['no_answer:0.5']}\n"
    Path("dprkit.yaml").write_text(gate)
    for _ in range(2):
        failed = call("run", "--quiet")
        assert failed.exit_code == 3
        assert "audit: --fail-if no_answer: 1.0000 (1 of 1) is above 0.5" in failed.stderr
    told = call("run", "--json")
    assert told.exit_code == 3 and json.loads(told.stdout)["stages"]["audit"]["failures"]


# --- data of one's own ---------------------------------------------------------------------------


def test_the_bundled_example_beside_data_of_ones_own_is_warned_of(empty, tiny_examples):
    shutil.copyfile(tiny_examples, "own.json")
    for source, corpus in (("own.json", "bundled:tiny/passages.tsv"), ("own.json", "own.tsv")):
        text = (
            f"select-data: {{sources: [{source}], num_items: 5, passages_out: own.tsv}}\n"
            "train: {max_epochs: 0, scratch_hidden_size: 8, scratch_vocab_size: 300}\n"
            f"encode-corpus: {{passages: '{corpus}'}}\n"
        )
        Path("dprkit.yaml").write_text(text)
        warned = "bundled example, while select-data.sources is" in call("run", "--quiet").stderr
        assert warned == corpus.startswith("bundled:")


def test_the_recipe_of_the_guide_runs_on_a_file_of_ones_own(empty, tiny_examples):
    from tests.interop.foreign import save_bert

    guide = Path(__file__).parents[2] / "docs/guide.md"
    recipe, *_ = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.S)
    Path("dprkit.yaml").write_text(recipe)
    Path("my-train.json.gz").write_bytes(gzip.compress(tiny_examples.read_bytes()))
    save_bert(Path("sentence-transformers/all-MiniLM-L6-v2"))
    smaller = ["select-data.split={train: 8, valid: 4, test: 4}", "train.max_steps=1"]
    smaller += ["train.batch_size=4", "train.warmup=0", "train.passage_max_length=32"]
    result = call("run", *(word for one in smaller for word in ("--set", one)))
    assert result.exit_code == 0, result.stderr
    assert made_from("runs/mine/embeddings")["passages"] == "passages.tsv"
    assert made_from("runs/mine/results")["questions"] == "runs/mine/data/test.jsonl"
