import gzip
import json
from pathlib import Path

import pytest

from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.evaluation.evaluate import evaluate
from dprkit.settings import EvaluateSettings

FIXTURES = Path(__file__).parents[3] / "shared" / "data" / "eval_fixtures" / "dpr"


def result(question, answers, texts, **more):
    ctxs = [
        {"id": f"wiki:{i}", "title": "", "text": t, "score": "1.5"} for i, t in enumerate(texts)
    ]
    return {"question": question, "answers": answers, "ctxs": ctxs, **more}


def measured(tmp_path, rows, **more):
    path = tmp_path / "their.json"
    path.write_text(json.dumps(rows))
    return evaluate(EvaluateSettings(results=str(path), output_dir=str(tmp_path / "out"), **more))


ROWS = [
    result("a", ["Paris"], ["London", "paris, France"]),
    result("b", ["10"], ["in 2010", "of 110"]),
    result("c", ["café", "tea"], ["some cafe\u0301"]),
]


def test_answer_recall_is_what_a_hand_counts(tmp_path):
    report = measured(tmp_path, ROWS, topk=(1, 2, 5))
    assert report.questions == 3
    assert report.metrics["answer_recall"] == pytest.approx({"1": 1 / 3, "2": 2 / 3, "5": 2 / 3})
    assert report.metrics["mrr"] == pytest.approx({"5": (0.5 + 0 + 1) / 3})
    assert report.notes == ["3 rankings have fewer than 5 passages"]


def test_the_files_hold_what_the_report_says(tmp_path):
    report = measured(tmp_path, ROWS, topk=(1, 2))
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert written["metrics"] == report.metrics
    assert written["questions"] == 3
    lines = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert [[c["has_answer"] for c in line["ctxs"]] for line in lines] == [
        [False, True],
        [False, False],
        [True],
    ]
    assert lines[0]["ctxs"][0] == {
        "id": "0",
        "title": "",
        "text": "London",
        "score": 1.5,
        "has_answer": False,
    }
    assert (tmp_path / "out/run.trec").read_text().splitlines()[1].split() == (
        ["0", "Q0", "1", "2", "1.49999988", "dprkit"]  # a tie: the least step below 1.5
    )


def test_without_an_output_folder_it_only_measures(tmp_path):
    path = tmp_path / "their.json"
    path.write_text(json.dumps(ROWS))
    report = evaluate(EvaluateSettings(results=str(path), topk=(1,)))
    assert (report.outputs, report.counts) == ([], {"answer_recall": 3, "mrr": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["their.json"]


def test_mrr_is_of_answers_unless_every_question_names_its_gold_passage(tmp_path):
    rows = [result("a", ["x"], ["x"], gold=["wiki:9"]), result("b", ["x"], ["y", "x"])]
    report = measured(tmp_path, rows, topk=(5,))
    assert report.counts == {"answer_recall": 2, "passage_recall": 1, "mrr": 2}
    assert report.metrics["mrr"] == {"5": 0.75}


def test_gold_passages_are_found_behind_dprs_prefix(tmp_path):
    rows = [result("a", [], ["x", "y"], gold=["wiki:1"]), result("b", [], ["x"], gold=["9"])]
    report = measured(tmp_path, rows, topk=(1, 2))
    assert report.metrics["passage_recall"] == {"1": 0.0, "2": 0.5}
    assert "answer_recall" not in report.metrics
    assert report.metrics["mrr"] == {"2": 0.25}


def test_an_empty_answer_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(FormatError, match=r"question 'b'.*empty"):
        measured(tmp_path, [ROWS[0], result("b", ["x", " "], ["t"])])
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_an_answer_of_control_characters_is_refused_too(tmp_path):
    with pytest.raises(InputError, match="question 'b'"):
        measured(tmp_path, [ROWS[0], result("b", ["\u200b"], ["t"])])


def test_invalid_patterns_are_counted_and_match_nothing(tmp_path):
    rows = [result("a", ["(", "Par.s"], ["Paris"]), result("b", ["("], ["("])]
    report = measured(tmp_path, rows, match="regex", topk=(1,))
    assert report.metrics["answer_recall"] == {"1": 0.5}
    assert report.notes == ["2 answers are no valid regular expression and match nothing"]


def test_flags_are_taken_as_they_are_where_there_is_no_text(tmp_path):
    row = {
        "question": "a",
        "answers": ["x"],
        "ctxs": [{"id": "1", "score": 2}, {"id": "2", "score": 1, "has_answer": True}],
    }
    report = measured(tmp_path, [row], topk=(1, 2))
    assert report.metrics["answer_recall"] == {"1": 0.0, "2": 1.0}


def test_index_and_results_together_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="--index and --results"):
        evaluate(EvaluateSettings(results="r", index="i", output_dir=str(tmp_path / "o")))


def test_results_without_anything_to_look_for_are_refused(tmp_path):
    with pytest.raises(InputError, match="no question has an answer or a gold passage"):
        measured(tmp_path, [result("a", [], ["x"])])


def test_mended_results_are_measured_after_a_refusal(tmp_path):
    with pytest.raises(FormatError):
        measured(tmp_path, [ROWS[0], result("b", [""], ["t"])])
    assert measured(tmp_path, ROWS).questions == 3


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs ../shared/data/eval_fixtures")
@pytest.mark.parametrize(
    "name", ["bm25_squad_dev300", "bm25_trivia_string150", "bm25_curatedtrec_regex100"]
)
def test_accuracies_equal_dprs_at_every_k(name, tmp_path):
    expected = json.loads((FIXTURES / f"{name}.expected.json").read_text())
    depth = expected["k"]
    report = evaluate(
        EvaluateSettings(
            results=str(FIXTURES / f"{name}.json.gz"),
            output_dir=str(tmp_path / "out"),
            topk=tuple(range(1, depth + 1)),
            match=expected["match_type"],
        )
    )
    assert report.questions == expected["questions"]
    counts = [round(s * report.questions) for s in report.metrics["answer_recall"].values()]
    assert counts == expected["top_k_hits"]
    with gzip.open(FIXTURES / f"{name}.json.gz") as file:
        theirs = [[ctx["has_answer"] for ctx in row["ctxs"]] for row in json.load(file)]
    lines = (tmp_path / "out/results.jsonl").read_text().splitlines()
    assert [[c["has_answer"] for c in json.loads(line)["ctxs"]] for line in lines] == theirs
