"""Rankings, judgements and questions that do not fit, each said in one line with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import call

RUN = "q1 Q0 d1 1 3 r\nq1 Q0 d2 2 2 r\nq2 Q0 d1 1 1 r\n"
QRELS = "q1 0 d1 1\nq2 0 d2 1\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").write_text(RUN)
    Path("qrels").write_text(QRELS)


def refused(*words: str) -> str:
    """The one line of a command that was refused."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert result.stderr.splitlines()[-1] == errors[0], "the line is the last, and no traceback"
    return errors[0].removeprefix("Error: ")


REFUSED = {
    "NaN": ("q1 Q0 d1 1 nan r", "run:1: the score 'nan' is not a finite number"),
    "JSON's NaN": ('{"q1": {"d1": NaN}}', "run:byte 7: not JSON: NaN stands for a number"),
    "no score": ("q1 Q0 d1 1 r", "run:1: 5 columns: neither JSON nor a TREC run"),
    "null": ('{"q1": {"d1": null}}', "run:byte 7: the score of passage 'd1' for question 'q1' is"),
    "nothing": ("", "run:1: the file is empty"),
    "an empty run": ("{}", "run:1: holds no ranking"),
    "empty rankings": ('{"q1": {}, "q2": {}}', "run: no ranking has a passage"),
    "twice": (RUN + RUN, "run:4: the passage 'd1' of question 'q1' is on line 1 too"),
    "two rankings": (
        '{"q1": {"d1": 1}, "q1": {"d1": 1}}',
        "run:byte 24: the question id 'q1' is that of another ranking too",
    ),
    "other questions": ("7 Q0 d1 1 1 r", "qrels judges no question of run: their first ids are"),
    "judgements": (QRELS, "run:1: 4 columns (judgements go to --qrels): neither"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rankings_that_do_not_fit(place: None, name: str) -> None:
    text, problem = REFUSED[name]
    Path("run").write_text(text)
    assert problem in refused("evaluate", "--results", "run", "--qrels", "qrels")


REFUSED_QRELS = {
    "a run": (RUN, "qrels:1: 6 columns: a TREC run; give it as --results"),
    "no whole number": ("q1 0 d1 1.5", "qrels:1: the grade '1.5' is no whole number"),
    "twice": (
        "q1 0 d1 1\nq1 0 d1 0",
        "qrels:2: the passage 'd1' is judged for question 'q1' twice",
    ),
    "nothing": ("", "qrels:1: the file is empty"),
}


@pytest.mark.parametrize("name", REFUSED_QRELS)
def test_judgements_that_do_not_fit(place: None, name: str) -> None:
    text, problem = REFUSED_QRELS[name]
    Path("qrels").write_text(text)
    assert problem in refused("evaluate", "--results", "run", "--qrels", "qrels")


def test_two_questions_of_one_id(place: None) -> None:
    Path("q.jsonl").write_text('{"id": "q1", "question": "a"}\n{"id": "q1", "question": "b"}\n')
    words = ("evaluate", "--results", "run", "--questions", "q.jsonl")
    assert refused(*words) == "q.jsonl: two questions have the id 'q1'; ids must differ"


def test_judgements_of_unknown_questions_and_below_zero_are_counted(place: None) -> None:
    """Of q1, q2 and q7 the first two are asked; d1 of q2 has a grade of -1."""
    Path("qrels").write_text("q1 0 d1 1\nq2 0 d2 1\nq2 0 d1 -1\nq7 0 d1 1\n")
    Path("q.jsonl").write_text('{"id": "q1", "question": "a"}\n{"id": "q2", "question": "b"}\n')
    words = ("--results", "run", "--qrels", "qrels", "--metrics", "RR@10", "--json")
    report = json.loads(call("evaluate", *words).stdout)
    assert report["metrics"] == {"RR": {"10": pytest.approx(1 / 3)}}
    assert report["missing"] == {"RR": {"10": 1}}
    assert "grades below 0, which count as not relevant: 1" in report["notes"]
    report = json.loads(call("evaluate", *words, "--questions", "q.jsonl").stdout)
    assert report["metrics"] == {"RR": {"10": 0.5}}
    assert "judged questions that are not in q.jsonl, left out: 1" in report["notes"]


def test_one_id_with_two_texts_is_said_once(place: None) -> None:
    rows = [
        {"id": n, "question": "q", "answers": ["a"], "ctxs": [{"id": "1", "score": 1, "text": n}]}
        for n in "abc"
    ]
    Path("r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("evaluate", "--results", "r.jsonl", "--topk", "1")
    assert result.exit_code == 0
    said = "Warning: r.jsonl:2: the passage '1' has another text than in a ranking before"
    assert " ".join(result.stderr.split()).count(said) == 1


def test_markup_and_file_names_are_data(place: None) -> None:
    """What looks like HTML goes through every form as it is."""
    text, name = """<script>alert("1")</script> & <b>it's</b>""", 'it\'s "a" <b>&amp;.jsonl'
    hit = {"id": "<1>", "title": text, "text": text, "score": 1.0, "has_answer": True}
    row = {"id": text, "question": text, "answers": [text], "ctxs": [hit]}
    Path(name).write_text(json.dumps(row))
    source = name
    for form in ("dpr", "pyserini", "jsonl"):
        assert not call("convert-results", "--results", source, "--to", form, "-o", form).exit_code
        source = form
    result = call("evaluate", "--results", source, "--topk", "1", "--output-dir", "out <i>'")
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("out <i>'/results.jsonl").read_text()) == row
