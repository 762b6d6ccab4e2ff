"""evaluate --answers: exact match and F1 by depth, against values worked out by hand."""

from __future__ import annotations

import json

import pytest

from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.evaluation.compare import compare
from dprkit.evaluation.evaluate import evaluate
from dprkit.settings import CompareSettings, EvaluateSettings
from tests.conftest import call
from tests.report.reading import Page


def line(id_, answers, *texts, **more):
    """A line of answers.jsonl with an answer at depth 10 and one at depth 20."""
    predictions = [{"depth": k, "text": t} for k, t in zip((10, 20), texts, strict=True)]
    asked = {"id": id_, "question": f"what is {id_}", "answers": answers}
    return asked | {"predictions": predictions} | more


LINES = [
    line("q1", ["Denver Broncos"], "the Denver Broncos", "Broncos", dataset="nq"),
    line("q2", ["Santa Clara", "California"], "Clara", "California.", dataset="squad"),
    line("q3", [], "1880", "1881", dataset="squad"),
    line("q4", ["none of it"], "", "wrong", dataset="squad"),
]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def answers(tmp_path):
    return write(tmp_path / "answers.jsonl", LINES)


def test_exact_match_and_f1_are_means_of_the_questions_that_have_answers(answers):
    report = evaluate(EvaluateSettings(answers=answers, by=("dataset",), output_dir=None))
    assert report.metrics == {
        "exact_match": {"10": pytest.approx(1 / 3), "20": pytest.approx(1 / 3)},
        "f1": {"10": pytest.approx((1 + 2 / 3) / 3), "20": pytest.approx((2 / 3 + 1) / 3)},
    }
    assert report.counts == {"exact_match": 3, "f1": 3}
    assert report.unjudged["f1"] == {"10": 1, "20": 1}
    low, high = report.intervals["exact_match"]["10"]  # Wilson's, of 1 in 3
    assert (low, high) == (pytest.approx(0.0615, abs=1e-4), pytest.approx(0.7923, abs=1e-4))
    assert report.slices["dataset"]["nq"].metrics["exact_match"] == {"10": 1.0, "20": 0.0}
    assert report.notes == ["questions without answers, left out: 1"]


def test_the_questions_may_be_given_beside_the_answers(answers, tmp_path):
    asked = [
        {"id": "q2", "question": "what is Q2", "answers": ["clara"]},
        {"id": "q3", "question": "what is q3", "answers": ["1881"]},
        {"id": "q9", "question": "what is q9", "answers": ["nine"]},
    ]
    questions = write(tmp_path / "questions.jsonl", asked)
    report = evaluate(EvaluateSettings(answers=answers, questions=questions, output_dir=None))
    assert report.metrics["exact_match"] == {"10": pytest.approx(1 / 3), "20": pytest.approx(1 / 3)}
    assert report.missing["exact_match"] == {"10": 1, "20": 1}
    assert any(note.endswith("left out: 2") for note in report.notes)
    assert any(note.endswith("count 0: 1") for note in report.notes)
    other = write(tmp_path / "other.jsonl", [asked[0] | {"question": "what is it"}])
    with pytest.raises(
        MismatchError, match=r"'q2' is 'what is it' in .*other.jsonl and 'what is q"
    ):
        evaluate(EvaluateSettings(answers=answers, questions=other, output_dir=None))
    none = write(tmp_path / "none.jsonl", asked[2:])
    with pytest.raises(InputError, match=r"holds no answer to a question in .*none.jsonl"):
        evaluate(EvaluateSettings(answers=answers, questions=none, output_dir=None))


def test_dprs_own_file_of_predictions_is_read(tmp_path):
    rows = [
        {
            "question": "where",
            "gold_answers": ["Santa Clara"],
            "predictions": [{"top_k": 50, "prediction": {"text": "santa clara", "score": 1.5}}],
        }
    ]
    (tmp_path / "dpr.json").write_text(json.dumps(rows, indent=4))
    report = evaluate(EvaluateSettings(answers=str(tmp_path / "dpr.json"), output_dir=None))
    assert report.metrics == {"exact_match": {"50": 1.0}, "f1": {"50": 1.0}}


def test_folders_of_results_of_answers_can_be_compared_and_shown(answers, tmp_path):
    better = [line | {"predictions": LINES[0]["predictions"]} for line in LINES[:3]]
    better = [*better, line("q4", ["none of it"], "none of it", "none of it", dataset="squad")]
    for name, path in (("a", answers), ("b", write(tmp_path / "better.jsonl", better))):
        evaluate(EvaluateSettings(answers=path, output_dir=str(tmp_path / name)))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "manifest.json",
        "metrics.json",
        "per_question.jsonl",
    ]
    paths = (str(tmp_path / "a"), str(tmp_path / "b"))
    report = compare(CompareSettings(systems=paths))
    assert report.metrics["exact_match@10"].pairs[0].difference == pytest.approx(1 / 3)
    assert call("report", *paths, "-o", str(tmp_path / "page.html")).exit_code == 0
    shown = Page(tmp_path / "page.html").summary["systems"][0]
    assert shown["metrics"]["exact_match"]["10"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([LINES[0], LINES[0]], r"answers.jsonl:2: the question id 'q1' was answered before"),
        (
            [LINES[0], LINES[1] | {"predictions": [{"depth": 5, "text": "x"}]}],
            r"answers.jsonl:2: has answers from depths 5, and the first line from depths 10, 20",
        ),
        ([LINES[0] | {"predictions": []}], r"answers.jsonl:1: a prediction lacks its depth or"),
        ([LINES[0] | {"predictions": [{"text": "x"}]}], r":1: a prediction lacks its depth or"),
        ([{"id": "q1", "question": "x", "ctxs": []}], r"lacks the field predictions; it looks li"),
        ([LINES[2]], r"no question has answers to compare with; give them with --questions"),
    ],
)
def test_bad_answers_are_told_by_their_lines(tmp_path, lines, problem):
    with pytest.raises((FormatError, InputError), match=problem):
        evaluate(EvaluateSettings(answers=write(tmp_path / "answers.jsonl", lines)))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"metrics": "nDCG@10"}, "--metrics: is for rankings, and --answers names answers"),
        ({"results": "results.jsonl"}, "--results: is for rankings"),
        ({"topk": (5,)}, "--topk: is for rankings"),
        ({"match": "regex"}, "--match regex: is for passages"),
    ],
)
def test_settings_of_rankings_are_refused_with_answers(answers, more, problem):
    with pytest.raises(SettingsError, match=problem):
        evaluate(EvaluateSettings(answers=answers, **more))


def test_a_folder_of_something_else_is_no_folder_of_answers(tmp_path):
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"holds no answers \(answers.jsonl\)"):
        evaluate(EvaluateSettings(answers=str(tmp_path)))


def test_the_command_prints_answers_from_a_pipe(answers):
    from pathlib import Path

    done = call("evaluate", "--answers", "-", "--json", input=Path(answers).read_bytes())
    assert json.loads(done.stdout)["metrics"]["exact_match"] == {"10": 1 / 3, "20": 1 / 3}
