"""import-data at the command line: what it writes, tells and refuses, and killed runs."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.imports import import_data as stage
from dprkit.imports import output
from dprkit.imports.import_data import import_data
from dprkit.settings import ImportSettings
from dprkit.store.drafts import Draft
from tests.conftest import call

ROWS = 30


def asked(*words):
    """The report of a command that goes well."""
    result = call(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture
def pairs(empty, tiny_examples):
    """pairs.csv in the current folder, a table of real questions; and its rows."""
    rows = [
        (e.question, e.answers[0], e.positives[0].text, e.hard_negatives[0].text)
        for e in read_examples(tiny_examples)
    ][:ROWS]
    with open("pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("Frage", "answer", "pos", "neg"), *rows])
    return rows


NAMED = ["--columns", "question=Frage"]


def test_a_table_becomes_examples_and_a_corpus_that_the_next_commands_use(pairs):
    report = asked("import-data", "pairs.csv", *NAMED, "--output-dir", "data")
    texts = {text for row in pairs for text in row[2:]}
    assert report["read"] == ROWS
    assert report["written"] == {"examples": ROWS, "passages": len(texts)}
    assert report["outputs"] == ["data/passages.jsonl", "data/train.jsonl"]
    found = [
        (e.question, e.answers[0], e.positives[0].text, e.hard_negatives[0].text)
        for e in read_examples("data/train.jsonl")
    ]
    assert found == pairs
    assert {p.text for p in read_passages("data/passages.jsonl")} == texts
    assert asked("import-data", "pairs.csv", *NAMED, "--output-dir", "data")["up_to_date"]
    made = ["--passages", "data/passages.jsonl", "--type", "bm25", "--output-dir", "index"]
    assert call("index", *made).exit_code == 0
    measured = ["--index", "index", "--questions", "data/train.jsonl", "--topk", "5"]
    figures = asked("evaluate", *measured, "--output-dir", "results")
    assert figures["metrics"]["passage_recall"]["5"] > 0.5


def test_a_dry_run_shows_how_columns_are_understood_and_writes_nothing(pairs):
    shown = call("import-data", "pairs.csv", *NAMED, "--dry-run").stdout
    assert "pairs.csv: table: examples: question from Frage, positive from pos" in shown
    assert shown.count("  example\n") == 3
    assert pairs[0][0] in shown
    told = asked("import-data", "pairs.csv", *NAMED, "--dry-run")
    (source,) = told["sources"]
    assert source["items"][1]["question"] == pairs[1][0]
    assert source["looked_at"] == ROWS
    assert {path.name for path in Path().iterdir()} == {"pairs.csv"}


def test_several_sources_are_one_import_and_what_is_left_out_is_told(empty):
    Path("a.tsv").write_text("docid\tcontents\n1\tone text\n2\t \n1\tone text\n1\tanother\n")
    Path("b.jsonl").write_text('["who is it?", "one text"]\n["alone"]\n')
    result = call("import-data", "a.tsv", "b.jsonl", "--kind", "table,rows", "--output-dir", "out")
    assert result.exit_code == 0, result.stderr
    for line in (
        "read 6 items, written: 1 passages, 1 examples",
        "  1 dropped: no text (first at a.tsv:3)",
        "  1 dropped: the same passage again (first at a.tsv:4)",
        "  1 dropped: the id of another passage (first at a.tsv:5)",
        "  1 dropped: a list of fewer than two texts (first at b.jsonl:2)",
    ):
        assert line in result.stderr.splitlines()
    assert lines("out/passages.jsonl") == [{"id": "1", "title": "", "text": "one text"}]
    counts = json.loads(Path("out/manifest.json").read_text())["counts"]
    assert counts["dropped"]["no text"] == {"count": 1, "first": "a.tsv:3"}


def test_a_name_in_columns_that_no_source_has_is_told(empty):
    Path("a.csv").write_text("nr,body\n1,one text\n")
    Path("b.csv").write_text("ask,answer\nwho?,me\n")
    named = ["--columns", "text=body,id=Nr,question=ask,title=head", "--output-dir", "out"]
    report = asked("import-data", "a.csv", "b.csv", *named)
    assert report["written"] == {"passages": 1, "questions": 1}
    assert report["notes"] == ["--columns title=head: no source has this column"]


def test_sets_share_no_question(pairs):
    split = ["--split", "train=60%,valid=rest", "--seed", "1", "--split-by", "question"]
    report = asked("import-data", "pairs.csv", *NAMED, *split, "--output-dir", "out")
    assert report["outputs"] == ["out/passages.jsonl", "out/train.jsonl", "out/valid.jsonl"]
    train, valid = (
        {e.question for e in read_examples(f"out/{n}.jsonl")} for n in ("train", "valid")
    )
    assert not train & valid
    assert train | valid == {row[0] for row in pairs}


# --- stopped runs ---------------------------------------------------------------------------------


def test_a_killed_import_ends_with_the_same_bytes(empty, monkeypatch):
    """It is killed whenever it saves how far it is, and goes on."""
    monkeypatch.setattr(stage, "SAVED_EVERY", 0)
    monkeypatch.setattr(output, "BATCH", 3)
    rows = [("id", "text"), *((n % 17, f"text {n % 17 % 5}") for n in range(40))]
    Path("a.tsv").write_text("".join(f"{id_}\t{text}\n" for id_, text in rows))
    Path("b.jsonl").write_text("".join(f'["q{n}", "p{n % 7}"]\n' for n in range(20)))
    whole = {"sources": ("a.tsv", "b.jsonl"), "split": {"train": "50%", "valid": "rest"}}
    report = import_data(ImportSettings(**whole, output_dir="whole"))
    saves, kills = Draft.save, 0

    def kill(work):
        saves(work)
        if work.state != before:
            raise KeyboardInterrupt

    monkeypatch.setattr(Draft, "save", kill)
    while kills < 100:
        progress = Path("killed/progress.json")
        before = json.loads(progress.read_text())["state"] if progress.exists() else {}
        try:
            again = import_data(ImportSettings(**whole, output_dir="killed"))
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 6
    assert again.written == report.written
    assert again.dropped == report.dropped
    names = {path.name for path in Path("whole").iterdir()}
    assert names == {path.name for path in Path("killed").iterdir()}
    assert len(names) == 4
    for name in names - {"manifest.json"}:
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes()


def test_an_import_that_the_system_kills_goes_on(empty, monkeypatch):
    monkeypatch.setattr(stage, "SAVED_EVERY", 0)
    monkeypatch.setattr(output, "BATCH", 200)
    Path("big.tsv").write_text("".join(f"{n}\tthe text of {n}\n" for n in range(20_000)))
    settings = ImportSettings(sources=("big.tsv",), kind=("passages",), output_dir="out")
    if not (child := os.fork()):
        import_data(settings)
        os._exit(0)
    progress = Path("out/progress.json")
    while not (progress.exists() and b'"items":' in progress.read_bytes().replace(b" ", b"")):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert json.loads(progress.read_text())["state"]["items"] < 20_000
    report = asked("import-data", "big.tsv", "--kind", "passages", "--output-dir", "out")
    assert report["written"] == {"passages": 20_000}
    expected = [{"id": str(n), "title": "", "text": f"the text of {n}"} for n in range(20_000)]
    assert lines("out/passages.jsonl") == expected


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "no source given; name files or folders to import"),
        (["pairs.csv"], "no output given; name it with --output-dir"),
        (["-", "--output-dir", "out"], "save the stream to a file first"),
        (["none.csv", "--output-dir", "out"], "none.csv: no such file"),
        (["pairs.csv", "--kind", "tabel"], "there are beir, "),
        (["pairs.csv", "--columns", "pos"], "expected pairs such as question=query,positive=pos"),
        (["pairs.csv", "--columns", "text=a,text=b"], "text is named twice"),
        (["pairs.csv", "--columns", "texts=a"], "there are id, text, title"),
        (["pairs.csv", "--kind", "table,rows", "--output-dir", "out"], "2 kinds for 1 sources"),
        (["pairs.csv", *NAMED, "--split", "a=90%,b=rest", "--seed", "x"], "--seed"),
        (["empty.csv", "--output-dir", "out"], "empty.csv:1: the file is empty"),
        (["header.csv", "--output-dir", "out"], "header.csv: nothing to import (no rows)"),
        (["lacking.csv", "--output-dir", "out"], "1 dropped: no positive (first at lacking.csv:2)"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_leaves_nothing(pairs, words, problem):
    Path("empty.csv").touch()
    Path("header.csv").write_text("query,pos\n")
    Path("lacking.csv").write_text("query,pos\nq,\n")
    result = call("import-data", *words)
    assert result.exit_code in (1, 2)
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if "rror" in line]) == 1
    assert not Path("out/manifest.json").exists()
    assert not list(Path("out").glob("*"))


def test_what_is_not_to_be_parted_is_for_sets(pairs):
    refused = call(
        "import-data", "pairs.csv", *NAMED, "--split-by", "title", "--output-dir", "data"
    )
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "--split-by title: there is no --split; give shares, such as train=80%" in refused.stderr
    assert not Path("data").exists()
