"""tune-index of token vectors, through the command line."""

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_pooling import pooled
from dprkit.embeddings.token_shards import TokenShards, as_float
from dprkit.models.maxsim import maxsim
from dprkit.models.retriever import load_late_retriever
from tests.conftest import call

COUNT, TOPK = 250, 10


def ran(*words):
    """The JSON of a command that ends well."""
    result = call(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_colbert, small_index, tiny_passages, tiny_examples):
    """A folder with 250 passages encoded by a ColBERT model and 8 questions with gold passages."""
    folder = tmp_path_factory.mktemp("tune-late") / "late"
    folder.mkdir()
    lines = [f"{p.id}\t{p.text}\t{p.title}" for p in read_passages(tiny_passages)]
    with contextlib.chdir(folder):
        shutil.copytree(small_colbert, "model")
        Path("corpus.tsv").write_text("\n".join(["id\ttext\ttitle", *lines[:COUNT]]) + "\n")
        words = ["--retriever", "model", "--passages", "corpus.tsv", "--output-dir", "emb"]
        ran("encode-corpus", *words)
        rows = [
            {"question": q.question, "answers": q.answers, "passage_ids": q.gold}
            for q in list(read_questions(tiny_examples))[:8]
        ]
        Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of that folder, as the current folder."""
    folder = tmp_path / "late"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


WORDS = ["tune-index", "--embeddings", "emb", "--questions", "q.jsonl", "--topk", TOPK]


def points(folder="tuning"):
    return json.loads(Path(folder, "tuning.json").read_text())


def of(found, **wanted):
    """The points that have these fields."""
    return [p for p in found if all(p.get(name) == value for name, value in wanted.items())]


@pytest.mark.slow
def test_first_stages_pooling_and_number_types_are_measured_against_late_exact(here):
    kinds = ["--first-stages", "exact,exact+bm25,ivf", "--pool-factors", "1,3"]
    report = ran(*WORDS, *kinds, "--dtypes", "float16,int8", "--output-dir", "tuning")
    assert (report["passages"], report["questions"]) == (COUNT, 8)
    found = points()
    names = {(p["type"], p["first_stage"], p["pool_factor"], p["dtype"]) for p in found}
    kinds = [("late-exact", ""), *(("late", s) for s in ("exact", "exact+bm25", "ivf"))]
    assert names == {(*kind, f, d) for kind in kinds for f in (1, 3) for d in ("float16", "int8")}
    assert len(report["rows"]) == len(names)
    (own,) = of(found, type="late-exact", pool_factor=1, dtype="float16")
    assert own["recall"] == 1
    assert all(p["p95_ms"] >= p["p50_ms"] > 0 and p["bytes"] > 0 for p in found)
    depths = [p["candidates"] for p in of(found, first_stage="exact", pool_factor=3, dtype="int8")]
    assert depths == sorted(set(depths)) and depths[0] == 50
    smaller = of(found, type="late-exact", pool_factor=3, dtype="int8")[0]
    assert smaller["bytes"] < own["bytes"] / 2
    assert sorted(p.name for p in Path("tuning").iterdir()) == [
        "manifest.json", "tuning.json", "tuning.svg",
    ]  # fmt: skip
    again = call(*WORDS, "--pool-factors", "1,3", "--first-stages", "exact,exact+bm25,ivf",
                 "--dtypes", "float16,int8", "--output-dir", "tuning")  # fmt: skip
    assert "up to date" in again.stderr
    assert "gold@10" in again.stdout and "late exact+bm25 pool 3 int8" in again.stdout


def test_recall_and_success_are_those_of_the_scores_by_hand(here):
    ran(*WORDS, "--types", "late-exact", "--pool-factors", "1,2", "--output-dir", "tuning")
    questions = list(read_questions("q.jsonl"))
    asked = load_late_retriever("model").question_vectors([q.question for q in questions])
    shards = TokenShards(Embeddings("emb"))
    tokens = as_float(shards.take(np.arange(COUNT)))
    ids = Embeddings("emb").ids()
    best = [
        np.argsort(-maxsim(asked, kept), axis=1, kind="stable")[:, :TOPK].tolist()
        for kept in (tokens, pooled(tokens, 2))
    ]
    for point, rows in zip(points(), best, strict=True):
        shared = [len({*a} & {*b}) / TOPK for a, b in zip(rows, best[0], strict=True)]
        assert point["recall"] == pytest.approx(np.mean(shared), abs=0.015)
        gold = [(q.gold, row) for q, row in zip(questions, rows, strict=True) if {*q.gold} & {*ids}]
        hits = [bool({*names} & {ids[r] for r in row}) for names, row in gold]
        assert point["success"] == pytest.approx(np.mean(hits), abs=1e-4)


def test_the_command_that_is_recommended_builds_what_was_measured(here):
    limits = ["--types", "late", "--first-stages", "ivf", "--target-recall", 0.2]
    report = ran(*WORDS, *limits, "--pool-factors", 2, "--dtypes", "int8", "--output-dir", "tuning")
    best = report["recommended"]
    assert (best["pool_factor"], best["dtype"]) == (2, "int8")
    first, second = report["notes"][0].split(" && ")
    for command in (first, second):  # as it would be pasted
        assert call(*shlex.split(command)[1:]).exit_code == 0
    manifest = json.loads(Path("index-late-ivf/manifest.json").read_bytes())
    assert manifest["counts"]["candidates"] == best["candidates"]
    assert manifest["counts"]["first"]["nprobe"] == best["nprobe"]
    encoded = json.loads(Path("emb-pool2-int8/manifest.json").read_bytes())
    assert (encoded["settings"]["pool_factor"], encoded["settings"]["dtype"]) == (2, "int8")
    found = call("search", "--index", "index-late-ivf", "--questions", "q.jsonl", "--topk", 3)
    assert found.exit_code == 0 and len(found.stdout.splitlines()) == 8


@pytest.mark.slow
def test_without_flags_the_late_types_are_tried_as_the_embeddings_are(here):
    report = ran(*WORDS, "--output-dir", "tuning")
    assert {(p["pool_factor"], p["dtype"]) for p in points()} == {(1, "float16")}
    stages = ["", "exact", "exact+bm25", "ivf", "hnsw"]
    assert [row["first_stage"] for row in report["rows"]] == stages
    command = report["notes"][0]
    assert command.startswith("dprkit index --embeddings emb --type late")
    assert call(*shlex.split(command)[1:]).exit_code == 0


@pytest.mark.slow
def test_a_sample_of_the_passages_is_measured_instead(here):
    words = ["--first-stages", "exact+bm25", "--sample", 60, "--output-dir", "tuning"]
    report = ran(*WORDS, *words)
    assert report["passages"] == 60
    assert [p["recall"] for p in of(points(), type="late")][-1] == 1


@pytest.mark.slow
def test_a_run_that_was_killed_keeps_what_it_measured(here):
    words = ["--first-stages", "exact,ivf,hnsw", "--dtypes", "float16,int8"]
    command = [
        sys.executable,
        "-m",
        "dprkit",
        *map(str, [*WORDS, *words]),
        "--output-dir",
        "tuning",
    ]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    state = Path("tuning/progress.json")
    deadline = time.monotonic() + 120
    while not (state.exists() and '"points"' in state.read_text()):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = json.loads(state.read_text())["state"]["points"]
    ran(*WORDS, *words, "--output-dir", "tuning")
    assert points()[: len(kept)] == kept
    assert len({(p["type"], p["first_stage"], p["dtype"]) for p in points()}) == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--types", "flat"], "--types: flat: only indexes of token vectors can be compared"),
        (["--dtypes", "float32"], "holds float16, from which float32 cannot be made"),
        (["--first-stages", "late"], "--first-stage: 'late' is not valid"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is(here, words, told):
    result = call(*WORDS, *words, "--output-dir", "tuning")
    assert result.exit_code == 1 and told in result.stderr
    assert not Path("tuning/scratch").exists()


def test_a_pool_factor_of_0_and_pooling_twice_are_refused(here):
    zero = call(*WORDS, "--pool-factors", 0, "--output-dir", "tuning")
    assert zero.exit_code in (1, 2) and "pool-factors" in zero.stderr
    words = ["--retriever", "model", "--passages", "corpus.tsv", "--pool-factor", 2]
    ran("encode-corpus", *words, "--output-dir", "pooled")
    twice = call(*WORDS, "--embeddings", "pooled", "--pool-factors", 2, "--output-dir", "tuning")
    assert twice.exit_code == 1 and "was pooled by 2 already" in twice.stderr


def test_late_types_are_refused_for_single_vectors(small_index, here):
    dense = str(small_index.parent / "embeddings")
    told = call(*WORDS, "--embeddings", dense, "--types", "late", "--output-dir", "tuning").stderr
    assert "--types: late: only indexes of vectors can be compared" in told


def test_settings_of_token_vectors_are_told_idle_for_single_vectors(small_index, here):
    words = ["--embeddings", small_index.parent / "embeddings", "--types", "flat"]
    result = call(*WORDS, *words, "--pool-factors", "1,2", "--output-dir", "idle")
    assert result.exit_code == 0, result.stderr
    assert "--pool-factors: without effect on one vector a passage" in result.stderr
