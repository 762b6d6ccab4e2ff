"""evaluate --beir: a folder of BEIR encoded, indexed, searched and judged by one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest

import dprkit
from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.data.qrels import read_qrels
from tests.conftest import call

QUESTIONS = 12


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_examples: Path, tiny_passages: Path
) -> Path:
    """A folder of BEIR, in which the last four questions are those of another split."""
    monkeypatch.chdir(tmp_path)
    folder = Path("set")
    (folder / "qrels").mkdir(parents=True)
    examples = list(read_examples(tiny_examples))[:QUESTIONS]
    wanted = {passage.id for one in examples for passage in (*one.positives, *one.hard_negatives)}
    corpus = [
        json.dumps({"_id": p.id, "title": p.title, "text": p.text})
        for p in read_passages(tiny_passages)
        if p.id in wanted
    ]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    queries = [{"_id": f"q{n}", "text": one.question} for n, one in enumerate(examples)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    for split, rows in (("test", range(8)), ("dev", range(8, QUESTIONS))):
        lines = ["query-id\tcorpus-id\tscore"]
        for row in rows:
            [*positives] = examples[row].positives
            lines += [f"q{row}\t{one.id}\t{2 - (n > 0)}" for n, one in enumerate(positives)]
        (folder / f"qrels/{split}.tsv").write_text("\n".join(lines))
    return folder


def measured(*flags: object) -> dict[str, Any]:
    result = call("evaluate", "--beir", "set", *flags, "--json")
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def exact_run(retriever: Path, queries: dict[str, str]) -> dict[str, dict[str, float]]:
    """The scores of all passages, by the vectors of the retriever."""
    model = dprkit.load_retriever(str(retriever))
    passages = list(read_passages("set/corpus.jsonl"))
    vectors = model.encode_passages([(one.title, one.text) for one in passages])
    scores = np.asarray(model.encode_questions(list(queries.values())) @ vectors.T)
    ids = [one.id for one in passages]
    return {
        q: dict(zip(ids, row.tolist(), strict=True)) for q, row in zip(queries, scores, strict=True)
    }


def test_one_command_measures_a_retriever(folder: Path, small_retriever: Path) -> None:
    """As brute force over the vectors and ir_measures find it."""
    flags = ("--retriever", small_retriever, "--output-dir", "out", "--topk", "5,20")
    report = measured(*flags)
    queries = {one.id: one.question for one in dprkit.read_questions("set/queries.jsonl")}
    run = exact_run(small_retriever, queries)
    for split, found in (("test", report), ("dev", measured(*flags, "--split", "dev"))):
        grades = read_qrels(f"set/qrels/{split}.tsv").grades
        expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], grades, run)
        value = found["metrics"]["nDCG"]["10"]
        assert value == pytest.approx(expected[ir_measures.nDCG @ 10], abs=1e-5)
        assert found["questions"] == len(grades)
    assert json.loads(Path("out/metrics.json").read_text())["questions"] == 4


def test_what_lies_below_the_results_is_used_again(folder: Path, small_retriever: Path) -> None:
    flags = ("--retriever", small_retriever, "--output-dir", "out")
    assert measured(*flags)["up_to_date"] is False
    made = [Path("out", name, "manifest.json") for name in ("embeddings", "index")]
    stamps = [path.stat().st_mtime_ns for path in made]
    assert measured(*flags)["up_to_date"] is True
    assert measured(*flags, "--split", "dev")["up_to_date"] is False
    assert [path.stat().st_mtime_ns for path in made] == stamps
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('\n{"_id": "new", "text": "more"}')
    measured(*flags)
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    assert json.loads(made[1].read_text())["counts"]["passages"] == len(lines)


def test_a_colbert_model_is_measured_too(folder: Path, small_colbert: Path) -> None:
    report = measured("--retriever", small_colbert, "--output-dir", "out")
    assert report["questions"] == 8
    assert json.loads(Path("out/index/manifest.json").read_text())["counts"]["type"] == "late"


def test_an_index_and_a_run_are_judged_by_the_folder(folder: Path) -> None:
    words = ("--type", "bm25", "--passages", "set/corpus.jsonl", "--output-dir", "words")
    assert call("index", *words).exit_code == 0
    of_index = measured("--index", "words", "--output-dir", "out")
    assert of_index["questions"] == 8
    for run in ("out/run.trec", "out"):
        of_run = measured("--results", run)
        assert of_run["metrics"]["nDCG"] == of_index["metrics"]["nDCG"]
    deep = measured("--index", "words", "--metrics", "AP P@14", "--topk", "3")
    assert "of the 14 passages that were searched for: AP" in deep["notes"]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ((), "nothing to measure; name a model with --retriever, or --index or --results"),
        (("--questions", "q.jsonl"), "has its own questions and qrels; leave --questions out"),
        (("--qrels", "q.tsv"), "has its own questions and qrels; leave --qrels out"),
        (("--split", "train"), "set: no qrels/train.tsv there; give --split one of dev, test"),
        (("--beir", "qrels"), "qrels: no folder; a folder of BEIR is needed"),
        (("--beir", "set/qrels"), "corpus.jsonl and queries.jsonl not there"),
    ],
)
def test_what_does_not_go_together_is_refused(
    folder: Path, flags: tuple[str, ...], problem: str
) -> None:
    given = ("--beir", "set", *(("--retriever", "m") if "--split" in flags else ()), *flags)
    result = call("evaluate", *given)
    assert result.exit_code != 0
    assert problem in " ".join(result.stderr.split())


def test_what_is_wrong_is_said_before_the_corpus_is_encoded(
    folder: Path, small_retriever: Path
) -> None:
    flags = ("--beir", "set", "--retriever", small_retriever, "--output-dir", "out")
    assert "nDCGG" in call("evaluate", *flags, "--metrics", "nDCGG@10").stderr
    (folder / "qrels/test.tsv").write_text("7\td\t1\n")
    assert "judges no question of" in call("evaluate", *flags).stderr
    assert not Path("out").exists()


def test_a_recipe_measures_a_folder_of_beir(folder: Path, small_retriever: Path) -> None:
    lines = ["evaluate:", "  beir: set", f"  retriever: {small_retriever}", "  topk: [5]"]
    Path("dprkit.yaml").write_text("\n".join(lines))
    state = json.loads(call("run", "--status", "--json").stdout)["stages"]["evaluate"]["state"]
    assert state == "not begun"
    ran = call("run")
    assert ran.exit_code == 0, ran.stderr
    assert Path("runs/dprkit/results/index/manifest.json").is_file()
    assert json.loads(Path("runs/dprkit/results/metrics.json").read_text())["questions"] == 8
    state = json.loads(call("run", "--status", "--json").stdout)["stages"]["evaluate"]["state"]
    assert state == "up to date"
