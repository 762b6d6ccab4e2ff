"""import-data on benchmarks: from a clean folder to recall in a few commands."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.imports import import_data as stage
from dprkit.imports.examples import ExampleMaker
from dprkit.settings import ImportSettings
from tests.conftest import call

QUESTIONS = 10


def asked(*words: object) -> Any:
    """A command that goes well, its report read where it has --json."""
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout) if "--json" in words else result


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture
def examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_examples: Path, tiny_passages: Path
) -> list[Any]:
    """The shipped examples, and in the current folder beir.zip of them with two splits."""
    monkeypatch.chdir(tmp_path)
    found = list(read_examples(tiny_examples))[:QUESTIONS]
    corpus = [
        json.dumps({"_id": p.id, "title": p.title, "text": p.text})
        for p in read_passages(tiny_passages)
    ]
    queries = [{"_id": f"q{n}", "text": one.question} for n, one in enumerate(found)]
    with zipfile.ZipFile("beir.zip", "w") as archive:
        archive.writestr("set/corpus.jsonl", "\n".join(corpus))
        archive.writestr("set/queries.jsonl", "\n".join(map(json.dumps, queries)))
        for split, rows in (("test", range(4)), ("train", range(4, QUESTIONS))):
            judged = ["query-id\tcorpus-id\tscore"]
            for row in rows:
                judged += [f"q{row}\t{p.id}\t{2 - n}" for n, p in enumerate(found[row].positives)]
                judged += [f"q{row}\t{found[row].hard_negatives[0].id}\t0"]
            judged += ["q0\tnowhere\t1"] if split == "test" else ["q77\tnowhere\t1"]
            archive.writestr(f"set/qrels/{split}.tsv", "\n".join(judged))
    return found


def test_a_zip_of_beir_becomes_examples_negatives_and_recall(examples: list[Any]) -> None:
    report = asked("import-data", "beir.zip", "--output-dir", "data", "--json")
    assert report["written"]["questions"] == report["written"]["examples"] == QUESTIONS
    (note,) = report["notes"]
    assert not report["dropped"] and note.startswith(
        "judgements of passages that are not there: 1, the first at beir.zip/set/qrels/test.tsv:"
    )
    assert "for questions that are not there: 1, the first at beir.zip/set/qrels/train.tsv:" in note
    for row, made in enumerate(lines("data/test.jsonl") + lines("data/train.jsonl")):
        own = examples[row]
        assert made["question"] == own.question
        assert [p["text"] for p in made["positive_ctxs"]] == [p.text for p in own.positives][:2]
        assert [p["passage_id"] for p in made["hard_negative_ctxs"]] == [own.hard_negatives[0].id]
    asked("index", "--type", "bm25", "--passages", "data/passages.jsonl", "--output-dir", "index")
    mine = ("--train-file", "data/train.jsonl", "--index", "index", "--num", 3)
    rules = ("--match", "none", "--relative-margin", 0.05)
    asked("mine-negatives", *mine, *rules, "--output-dir", "mined")
    assert all(row["hard_negative_ctxs"] for row in lines("mined/train.jsonl"))
    judged = ("--questions", "data/test.questions.jsonl", "--qrels", "data/test.qrels.tsv")
    found = asked("evaluate", "--index", "index", *judged, "--output-dir", "results", "--json")
    shares = []
    for row, result in enumerate(lines("results/results.jsonl")):
        ids, gold = {p["id"] for p in result["ctxs"][:5]}, [p.id for p in examples[row].positives]
        relevant = {*gold[:2]} | ({"nowhere"} if row == 0 else set())
        shares.append(len(ids & relevant) / len(relevant))
    assert found["metrics"]["R"]["5"] == pytest.approx(sum(shares) / 4) and max(shares) == 1


@pytest.mark.parametrize(("grade", "positives"), [(1, 2), (2, 1)])
def test_the_grade_from_which_a_passage_is_a_positive_is_chosen(
    examples: list[Any], grade: int, positives: int
) -> None:
    asked("import-data", "beir.zip", "--output-dir", "data", "--min-grade", grade)
    most = max(len(row["positive_ctxs"]) for row in lines("data/train.jsonl"))
    assert most == min(positives, max(len(one.positives) for one in examples))


def test_an_import_that_was_stopped_among_the_examples_ends_as_one_that_was_not(
    examples: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked("import-data", "beir.zip", "--output-dir", "whole")
    settings, made = ImportSettings(sources=("beir.zip",), output_dir="data"), ExampleMaker.of

    def stopped(maker: ExampleMaker, questions: Path, *about: Any) -> Any:
        yield from list(made(maker, questions, *about))[:3]
        if questions.name.startswith("train"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExampleMaker, "of", stopped)
        patch.setattr(stage, "BLOCK", 1)
        with pytest.raises(KeyboardInterrupt):
            stage.import_data(settings)
    assert not Path("data/manifest.json").exists()
    stage.import_data(settings)
    for whole in Path("whole").glob("*[!n]"):
        assert (Path("data") / whole.name).read_bytes() == whole.read_bytes()
    assert len(lines("data/test.jsonl")) == 4


def test_files_of_msmarco_are_one_import(examples: list[Any]) -> None:
    gold = [one.positives[0] for one in examples]
    rows = {p.id: f"{p.id}\t{' '.join(p.text.split())}\n" for p in gold}
    Path("collection.tsv").write_text("".join(rows.values()))
    asks = [f"{n + 1000}\t{one.question}\n" for n, one in enumerate(examples)]
    Path("queries.dev.tsv").write_text("".join(asks))
    judged = [f"{n + 1000}\t0\t{p.id}\t1\n" for n, p in enumerate(gold)]
    Path("qrels.dev.tsv").write_text("".join(judged))
    files = ("queries.dev.tsv", "qrels.dev.tsv", "collection.tsv")
    shown = asked("import-data", *files, "--output-dir", "data", "--dry-run", "--json")
    assert [one["kind"] for one in shown["sources"]] == ["questions", "qrels", "passages"]
    asked("import-data", *files, "--output-dir", "data")
    assert [row["id"] for row in lines("data/passages.jsonl")] == list(rows)
    made = lines("data/train.jsonl")
    assert [row["question"] for row in made] == [one.question for one in examples]
    assert [row["positive_ctxs"][0]["passage_id"] for row in made] == [p.id for p in gold]


def test_a_zip_that_climbs_out_and_a_wrong_folder_are_one_line(examples: list[Any]) -> None:
    with zipfile.ZipFile("beir.zip", "a") as archive:
        archive.writestr("../../evil", "x")
    Path("wrong/below").mkdir(parents=True)
    (Path("wrong/below/corpus.jsonl")).write_text("{}")
    (Path("wrong/below/queries.jsonl")).write_text("{}")
    for source, problem in (("beir.zip", "leads out of it"), ("wrong", "did you mean wrong/below")):
        refused = call("import-data", source, "--output-dir", "data")
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
        assert problem in refused.stderr and not Path("data").exists()


def beir_of(files: dict[str, str]) -> None:
    """A folder b of BEIR: two questions, three passages, and these judgements."""
    Path("b/qrels").mkdir(parents=True)
    Path("b/corpus.jsonl").write_text("".join(f'{{"_id":"{n}","text":"t{n}"}}\n' for n in range(3)))
    Path("b/queries.jsonl").write_text(
        "".join(f'{{"_id":"q{n}","text":"q{n}"}}\n' for n in range(2))
    )
    for split, judged in files.items():
        Path(f"b/qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


def test_each_split_keeps_its_own_judgements(empty: Path) -> None:
    splits = {"train": "q0\t0\t1\nq0\t1\t0\n", "test": "q0\t0\t0\nq0\t1\t2\nq1\t2\t1\n"}
    beir_of(splits)
    report = asked("import-data", "b", "--output-dir", "data", "--json")
    assert report["dropped"] == {} and report["written"]["judgements"] == 5
    for split in splits:
        judged = Path(f"data/{split}.qrels.tsv").read_text()
        assert judged == Path(f"b/qrels/{split}.tsv").read_text()
    found = {
        split: [
            [
                [p["passage_id"] for p in row[f"{kind}_ctxs"]]
                for kind in ("positive", "hard_negative")
            ]
            for row in lines(f"data/{split}.jsonl")
        ]
        for split in splits
    }
    assert found == {"train": [[["0"], ["1"]]], "test": [[["1"], ["0"]], [["2"], []]]}
    asked("export-data", "data", "--to", "beir", "--output-dir", "back")
    for split in splits:
        judged = Path(f"back/qrels/{split}.tsv").read_text()
        assert judged == Path(f"b/qrels/{split}.tsv").read_text()


def test_judgements_that_name_nothing_that_is_there_are_refused(empty: Path) -> None:
    beir_of({"train": "q0\tx\t1\n", "test": "q9\t0\t1\n"})
    refused = call("import-data", "b", "--output-dir", "data")
    assert (refused.exit_code, Path("data").exists()) == (1, False)
    error = refused.stderr.splitlines()[-1]
    assert "no judgement names a question and a passage that are there" in error
    assert (
        "b/qrels/train.tsv:2 (passage x)" in error and "b/qrels/test.tsv:2 (question q9)" in error
    )
    assert error.endswith("; import files that belong together")


def test_questions_without_splits_are_judged_by_those_of_the_judgements(empty: Path) -> None:
    """As the hub has BEIR: a data set of questions and passages, another of judgements."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import Table, parquet

    Path("judged").mkdir()
    for split, passage in (("train", "0"), ("test", "1")):
        row = {"query-id": "q0", "corpus-id": passage, "score": 1}
        parquet.write_table(Table.from_pylist([row]), f"judged/{split}-00000-of-00001.parquet")
    beir_of({})
    asked("import-data", "b/corpus.jsonl", "b/queries.jsonl", "judged", "--output-dir", "data")
    for split, passage in (("train", "0"), ("test", "1")):
        (made,) = lines(f"data/{split}.jsonl")
        assert [p["passage_id"] for p in made["positive_ctxs"]] == [passage]
