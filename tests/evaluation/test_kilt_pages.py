"""KILT's provenance, against values worked out by hand from its definition."""

from __future__ import annotations

import json

import pytest

from dprkit.data.questions import read_questions
from dprkit.evaluation.kilt_pages import page_of, values_of_pages
from tests.conftest import call


@pytest.mark.parametrize(
    ("passages", "sets", "precision", "recalls"),
    [
        (["7-0", "8-1"], [["8"]], 0.0, [0, 1, 1]),
        (["7-0", "7-3", "8"], [["8"]], 0.0, [0, 1, 1]),  # page 7 counts once
        (["1-0", "9-0", "2-0"], [["1", "2"]], 0.5, [0, 1, 1]),  # 9, and then the set
        (["1-0", "2-0"], [["1", "2"]], 1.0, [1, 1, 1]),  # one place for both pages
        (["1-0", "9-0"], [["1", "2"]], 0.5, [0, 0, 0]),  # half a set is none
        (["1-0", "9-0"], [["1"], ["2"]], 1.0, [0.5, 0.5, 0.5]),  # the better of two answers
        (["1-0", "9-0"], [["1"], ["1"]], 1.0, [1, 1, 1]),  # the same set twice
        ([], [["1"]], 0.0, [0, 0, 0]),
    ],
)
def test_pages_are_found_at_the_place_of_the_last_of_a_set(passages, sets, precision, recalls):
    found = values_of_pages(passages, sets, (1, 2, 3))
    assert found == [precision, *recalls, *(float(recall > 0) for recall in recalls)]


def test_questions_without_pages_have_no_values():
    assert all(value != value for value in values_of_pages(["1"], [], (1,)))


def test_a_passage_is_of_the_page_whose_id_it_begins_with():
    assert [page_of(id_) for id_ in ("12-3", "12", "a-b-0", "x-y")] == ["12", "12", "a-b", "x-y"]


def test_provenance_is_read_from_kilts_questions_and_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = {"wikipedia_id": "12", "title": "Paris"}
    rows = [
        {"id": "a", "input": "one?", "output": [{"answer": "x"}, {"provenance": [page]}]},
        {"id": "b", "input": "two?", "output": [{"answer": "x"}]},
    ]
    (tmp_path / "kilt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [one.pages for one in read_questions("kilt.jsonl")] == [(("12",),), ()]
    (tmp_path / "run").write_text("a Q0 7-0 1 2 x\na Q0 12-4 2 1 x\nb Q0 12-4 1 1 x\n")
    line = ("evaluate", "--results", "run", "--topk", "1,2", "--pages", "--json")
    report = json.loads(call(*line, "--questions", "kilt.jsonl").stdout)
    assert report["metrics"] == {
        "page_rprec": {"": 0.0},
        "page_recall": {"1": 0.0, "2": 1.0},
        "page_success": {"1": 0.0, "2": 1.0},
    }
    assert (report["counts"]["page_recall"], report["unjudged"]["page_rprec"]) == (1, {"": 1})
    refused = call(*line)
    assert refused.stderr == "Error: --pages: KILT's questions name the pages; give --questions\n"
    (tmp_path / "plain.jsonl").write_text(json.dumps(rows[1]) + "\n")
    refused = call(*line, "--questions", "plain.jsonl")
    assert "plain.jsonl: no question names pages" in refused.stderr
