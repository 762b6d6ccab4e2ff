"""An index is updated from the shell, day after day, and what is found is what it should be."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest

from dprkit.data.passages import read_passages
from tests.conftest import call

CHANGED = "the first day of march was changed"
QUESTION = f"{CHANGED}\n"
TUESDAY = ("--add", "fresh-emb", "--remove", "gone-tuesday.txt")


def done(*words, **how):
    """The JSON of a command that ends well."""
    result = call(*words, "--json", **how)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def write_corpus(name, lines):
    Path(name).write_text("\n".join(["id\ttext\ttitle", *lines]) + "\n")


@pytest.fixture(scope="module")
def days(tmp_path_factory, finished, tiny_passages):
    """Monday's corpus of 200 passages with its index; Tuesday's, too; and what changes on the way.

    30 passages are new on Tuesday, 10 have another text, 20 are gone. On Wednesday 5 more are gone.
    """
    folder = tmp_path_factory.mktemp("days") / "days"
    shutil.copytree(finished, folder)
    lines = [f"{p.id}\t{p.text}\t{p.title}" for p in read_passages(tiny_passages)]
    ids = [line.split("\t")[0] for line in lines]
    fresh = lines[200:230] + [f"{id}\t{CHANGED} {id}\tMarch" for id in ids[40:50]]
    with contextlib.chdir(folder):
        write_corpus("monday.tsv", lines[:200])
        write_corpus("fresh.tsv", fresh)
        write_corpus("tuesday.tsv", lines[:40] + lines[70:200] + fresh)
        for corpus in ("monday", "tuesday", "fresh"):
            words = ["--passages", f"{corpus}.tsv", "--output-dir", f"{corpus}-emb"]
            done("encode-corpus", *words)
        for corpus in ("monday", "tuesday"):
            done("index", "--embeddings", f"{corpus}-emb", "--output-dir", f"{corpus}-index")
        Path("gone-tuesday.txt").write_text("".join(f"{id}\n" for id in ids[50:70]))
        Path("gone-wednesday.txt").write_text("".join(f"{id}\n" for id in ids[:5]))
    return folder


@pytest.fixture
def week(days, tmp_path, monkeypatch):
    """A copy of the folder of the days, as the current folder; Monday's index has Tuesday's changes
    in up-tuesday."""
    shutil.copytree(days, tmp_path / "week")
    monkeypatch.chdir(tmp_path / "week")
    update("monday-index", "up-tuesday", *TUESDAY)


def update(index, out, *words):
    return done("update-index", "--index", index, *words, "--output-dir", out)


def found(index, question=QUESTION, topk=30):
    """What `dprkit search` prints for a question: ids, texts and scores."""
    words = ["--index", index, "--questions", "-", "--topk", topk]
    result = call("search", *words, input=question)
    assert result.exit_code == 0, result.stderr
    hits = json.loads(result.stdout)["ctxs"]
    return [(hit["id"], hit["text"], round(hit["score"], 4)) for hit in hits]


def test_search_and_evaluate_find_what_they_would_in_an_index_built_anew(week):
    every = found("tuesday-index", topk=300)
    assert found("up-tuesday", topk=300) == every
    assert sum(CHANGED in text for _, text, _ in every) == 10
    asked = ["--questions", "runs/dprkit/data/test.jsonl", "--topk", "1,5"]
    figures = [
        done("evaluate", "--index", index, *asked, "--output-dir", f"results-{index}")
        for index in ("up-tuesday", "tuesday-index")
    ]
    for name in ("questions", "metrics", "intervals"):
        assert figures[0][name] == figures[1][name]
    update("up-tuesday", "up-wednesday", "--remove", "gone-wednesday.txt")
    gone = Path("gone-wednesday.txt").read_text().split()
    assert found("up-wednesday", topk=300) == [hit for hit in every if hit[0] not in gone]


def test_an_update_tells_what_it_did_and_is_up_to_date_afterwards(week):
    words = ["--index", "monday-index", *TUESDAY]
    result = call("update-index", *words, "--output-dir", "again")
    assert "210 passages: 40 added, 30 removed\n  -> again\n" in result.stderr
    again = done("update-index", *words, "--output-dir", "again")
    assert (again["passages"], again["up_to_date"]) == (210, True)
    Path("gone-tuesday.txt").write_text("1\n")
    anew = done("update-index", *words, "--output-dir", "again")
    assert (anew["removed"], anew["up_to_date"]) == (11, False)


def test_an_update_of_an_index_that_was_moved_is_told_and_mended(week):
    before = found("up-tuesday")
    Path("monday-index").rename("elsewhere")
    for words in (
        ["search", "--index", "up-tuesday", "--questions", "-"],
        ["update-index", "--index", "up-tuesday", "--add", "fresh-emb", "--output-dir", "more"],
    ):
        result = call(*words, input=QUESTION)
        assert result.exit_code == 1
        [problem] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert re.search(r"up-tuesday: .*/monday-index is gone; put it back", problem)
    assert not Path("more").exists()
    update("elsewhere", "up-tuesday", *TUESDAY)
    assert found("up-tuesday") == before


def test_an_update_of_an_index_that_was_made_anew_is_refused(week):
    done("index", "--embeddings", "tuesday-emb", "--output-dir", "monday-index")
    result = call("search", "--index", "up-tuesday", "--questions", "-", input=QUESTION)
    assert result.exit_code == 1
    assert re.search(
        r"up-tuesday: .*/monday-index .*; run dprkit update-index again", result.stderr
    )
