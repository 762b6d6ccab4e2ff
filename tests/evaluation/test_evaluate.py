import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.evaluation.evaluate import evaluate
from dprkit.settings import EvaluateSettings
from tests.conftest import call

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
    assert report.metrics["answer_recall"] == pytest.approx({"1": 1 / 3, "2": 2 / 3})
    assert list(report.metrics) == ["answer_recall"]  # MRR is at 10 and 100, which none reaches
    source = tmp_path / "their.json"
    assert report.notes == [
        f"not measured: @5; no ranking of {source} has more than 2 passages",
        "rankings of fewer than 2 passages (what was cut off counts as not found): 1",
        "rankings with equal scores at a depth and below it: @1 2",
    ]


def test_the_files_hold_what_the_report_says(tmp_path):
    report = measured(tmp_path, ROWS, topk=(1, 2))
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert written["metrics"] == report.metrics
    assert written["questions"] == 3
    lines = lines_of(tmp_path / "out/results.jsonl")
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


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def recomputed(lines, depths):
    """Every metric of metrics.json, from the lines of per_question.jsonl alone."""

    def mean(values):
        return sum(values) / len(values)

    def within(rank, k):
        return rank is not None and rank <= k

    answers = [line["answer_rank"] for line in lines if "answer_rank" in line]
    gold = [line["gold_ranks"] for line in lines if line["gold_ranks"]]
    by_depth = {
        "answer_recall": lambda k: mean([within(rank, k) for rank in answers]),
        "passage_recall": lambda k: mean([mean([within(r, k) for r in own]) for own in gold]),
        "passage_success": lambda k: mean([any(within(r, k) for r in own) for own in gold]),
    }
    found = {name: {str(k): of(k) for k in depths} for name, of in by_depth.items()}
    return found


MIXED = [
    result("both", ["x"], ["y", "x", "z"], gold=["0", "2"], id="a"),
    result("several gold passages, one of them not found", ["x"], ["x"], gold=["0", "9"], id="b"),
    result("gold alone", [], ["x", "y"], gold=["1"], id="c"),
    result("nothing found", ["x"], [], gold=["1"], id="d"),
    result("no answer among them", ["x"], ["y"], id="e"),
]


def test_the_figures_of_each_question_are_kept_and_give_every_metric_again(tmp_path):
    report = measured(tmp_path, MIXED, topk=(1, 2, 3))
    assert str(tmp_path / "out/per_question.jsonl") in report.outputs
    lines = lines_of(tmp_path / "out/per_question.jsonl")
    ties = {"ties": 2, "tied": [1, 2]}  # all scores are equal
    assert [{**line, "measures": ...} for line in lines] == [
        figures("a", "both", 3, [1, 3], answer_rank=2, **ties),
        figures("b", MIXED[1]["question"], 1, [1, None], answer_rank=1),
        figures("c", "gold alone", 2, [2], ties=1, tied=[1]),
        figures("d", "nothing found", 0, [None], answer_rank=None),
        figures("e", "no answer among them", 1, [], answer_rank=None),
    ]
    assert recomputed(lines, (1, 2, 3)) == report.metrics
    assert lines[2]["measures"] == {
        **{f"answer_recall@{k}": None for k in (1, 2, 3)},
        **{f"passage_{kind}@1": 0.0 for kind in ("recall", "success")},
        **{f"passage_{kind}@{k}": 1.0 for kind in ("recall", "success") for k in (2, 3)},
    }
    assert means_of_lines(lines) == report.metrics


def figures(id_, question, hits, gold_ranks, **more):
    line = {"id": id_, "question": question, "hits": hits, "gold_ranks": gold_ranks}
    return {**line, "measures": ..., **more}


def means_of_lines(lines):
    """metrics.json again: the means of what each question has."""
    found = {}
    for label in lines[0]["measures"]:
        name, _, depth = label.partition("@")
        values = [v for line in lines if (v := line["measures"][label]) is not None]
        found.setdefault(name, {})[depth] = sum(values) / len(values) if values else None
    return found


def test_the_example_in_the_docs_computes_answer_recall(tmp_path):
    measured(tmp_path, [*MIXED, result("deep", ["x"], ["y"] * 19 + ["x"], id="f")], topk=(1, 20))
    docs = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    [example] = [block for block in docs.split("```") if "per_question.jsonl" in block[:200]]
    program = example.removeprefix("python").replace("results/", f"{tmp_path}/out/")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) == 3 / 5


def test_questions_that_found_nothing_do_not_make_a_file_without_texts_one_of_misses(tmp_path):
    bare = {"question": "a", "answers": ["x"], "gold": ["1"], "ctxs": [{"id": "1", "score": 2}]}
    report = measured(tmp_path, [bare, {**bare, "question": "b", "ctxs": []}], topk=(1,))
    assert report.metrics == {"passage_recall": {"1": 0.5}}
    assert lines_of(tmp_path / "out/per_question.jsonl") == [
        figures("0", "a", 1, [1], measures={"passage_recall@1": 1.0}),
        figures("1", "b", 0, [None], measures={"passage_recall@1": 0.0}),
    ]


def test_without_an_output_folder_it_only_measures(tmp_path):
    path = tmp_path / "their.json"
    path.write_text(json.dumps(ROWS))
    report = evaluate(EvaluateSettings(results=str(path), topk=(1,)))
    assert (report.outputs, report.counts) == ([], {"answer_recall": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["their.json"]


def test_mrr_is_of_gold_passages_and_answer_mrr_of_answers(tmp_path):
    deep = ["y", "x"] + ["y"] * 8
    rows = [result("a", ["x"], ["x"], gold=["wiki:9"]), result("b", ["x"], deep)]
    report = measured(tmp_path, rows, topk=(2,))
    assert report.counts == {"answer_recall": 2, "answer_mrr": 2, "passage_recall": 1, "mrr": 1}
    assert (report.metrics["answer_mrr"], report.metrics["mrr"]) == ({"10": 0.75}, {"10": 0.0})


def test_gold_passages_are_found_behind_dprs_prefix(tmp_path):
    rows = [result("a", [], ["x", "y"], gold=["wiki:1"]), result("b", [], ["x"], gold=["9"])]
    report = measured(tmp_path, rows, topk=(1, 2))
    assert report.metrics["passage_recall"] == {"1": 0.0, "2": 0.5}
    assert "answer_recall" not in report.metrics


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
    assert report.notes == ["answers that are no regular expression and match nothing: 2"]


def test_flags_are_taken_as_they_are_where_there_is_no_text(tmp_path):
    row = {
        "question": "a",
        "answers": ["x"],
        "ctxs": [{"id": "1", "score": 2}, {"id": "2", "score": 1, "has_answer": True}],
    }
    report = measured(tmp_path, [row], topk=(1, 2))
    assert report.metrics["answer_recall"] == {"1": 0.0, "2": 1.0}


def test_a_file_without_texts_and_flags_is_not_taken_for_misses(tmp_path):
    """Its passages cannot be judged, so answer recall is of the others, or of none."""
    bare = {"question": "a", "answers": ["x"], "ctxs": [{"id": "1", "score": 2}]}
    with pytest.raises(InputError, match="neither texts nor has_answer"):
        measured(tmp_path, [bare])
    report = measured(tmp_path, [bare, result("b", ["y"], ["y"])], topk=(1,))
    assert (report.counts["answer_recall"], report.metrics["answer_recall"]["1"]) == (1, 1.0)
    assert "questions whose passages have no texts, not in answer_recall: 1" in report.notes
    report = measured(tmp_path, [{**bare, "gold": ["1"]}], topk=(1,))
    assert report.metrics == {"passage_recall": {"1": 1.0}}


def test_a_depth_that_no_ranking_has_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"more than 2 passages.*--topk 20,100; give a smaller"):
        measured(tmp_path, ROWS, topk=(20, 100))


@pytest.mark.parametrize(
    ("scores", "ties", "tied"),
    [
        ([3, 3, 3], 2, [1, 2]),
        ([3, 2, 2], 1, [2]),
        ([3, 3, 2], 1, [1]),
        ([3, 2, 1], None, None),
    ],
)
def test_equal_scores_at_a_depth_are_counted_for_each_ranking(tmp_path, scores, ties, tied):
    ctxs = [{"id": f"{n}", "text": "y", "score": score} for n, score in enumerate(scores, 1)]
    report = measured(tmp_path, [{"question": "q", "gold": ["1"], "ctxs": ctxs}], topk=(1, 2, 3))
    [line] = lines_of(tmp_path / "out/per_question.jsonl")
    assert (line.get("ties"), line.get("tied")) == (ties, tied)
    expected = {f"{k}": int(k in (tied or [])) for k in (1, 2, 3)}
    assert report.tied["passage_recall"] == expected


def test_questions_that_repeat_another_are_counted(tmp_path):
    rows = [result(text, ["x"], ["x"], id=f"{n}") for n, text in enumerate(("Who?", "who?", "why"))]
    report = measured(tmp_path, rows, topk=(1,))
    assert report.notes == ["questions with the text of another one: 2"]


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


# --- through the command line ---------------------------------------------------------------------

PASSAGES = {"1": "red apple", "2": "red pear", "3": "blue sky", "4": "red wine"}


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A folder with a BM25 index of four passages, and questions with answers."""
    monkeypatch.chdir(tmp_path)
    Path("dprkit.yaml").write_text("index: {}\n")
    rows = [{"id": id_, "text": text} for id_, text in PASSAGES.items()]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [
        {"question": "what is red", "answers": ["pear"], "passage_ids": ["2"]},
        {"question": "what is blue", "answers": ["sky"], "passage_ids": ["3"]},
        {"question": "what is green", "answers": ["grass"], "passage_ids": ["1"]},
    ]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    built = call("index", "--type", "bm25", "--passages", "p.jsonl", "--output-dir", "index", "-q")
    assert (built.exit_code, built.stderr) == (0, "")
    return tmp_path


def test_an_index_is_measured_at_every_depth_and_a_file_at_those_it_has(words):
    """A BM25 index gives all that it finds; a file of rankings may have been cut."""
    searched = ["evaluate", "--index", "index", "--questions", "q.jsonl", "--topk", "1,2,10"]
    result = call(*searched, "--output-dir", "r", "-q")
    assert "questions that found nothing and count as misses: 1" in result.stderr
    metrics = json.loads(Path("r/metrics.json").read_bytes())["metrics"]
    assert metrics["passage_recall"] == {"1": 1 / 3, "2": 2 / 3, "10": 2 / 3}
    again = call("evaluate", "--results", "r/results.jsonl", "--topk", "1,2,10", "--json", "-q")
    found = json.loads(again.stdout)["metrics"]
    assert found["passage_recall"] == {"1": 1 / 3, "2": 2 / 3}
    assert "mrr" not in found  # at 10, which the file does not reach
    assert "not measured: @10; no ranking of r/results.jsonl has more than 3" in again.stderr
    table = call("evaluate", "--results", "r/results.jsonl", "--topk", "1,2,10")
    assert "@10" not in table.stdout


def test_the_figures_of_each_question_are_the_same_from_an_index_and_from_its_results(words):
    line = ["--topk", "1,2", "-q", "--output-dir"]
    call("evaluate", "--index", "index", "--questions", "q.jsonl", *line, "r")
    call("evaluate", "--results", "r/results.jsonl", *line, "again")
    figures = lines_of("r/per_question.jsonl")
    assert [(one["hits"], one["answer_rank"], one["gold_ranks"]) for one in figures] == [
        (3, 2, [2]),  # "red apple" and "red pear" score the same: in the order of the corpus
        (1, 1, [1]),
        (0, None, [None]),
    ]
    for one in figures:  # the file does not tell that the index had no tenth passage
        del one["measures"]["answer_mrr@10"], one["measures"]["mrr@10"]
    assert lines_of("again/per_question.jsonl") == figures


def test_an_index_is_searched_for_ten_passages_at_least(words):
    line = ["evaluate", "--index", "index", "--questions", "q.jsonl", "--topk", "1", "--json"]
    metrics = json.loads(call(*line).stdout)["metrics"]
    assert (metrics["mrr"], metrics["answer_mrr"]) == ({"10": 0.5}, {"10": 0.5})


def test_search_counts_what_it_found(words):
    line = ["search", "--index", "index", "--questions", "q.jsonl", "-o", "out.jsonl"]
    found = json.loads(call(*line, "--json").stdout)
    counts = {"questions": 3, "passages": 4, "fewest": 0, "most": 3, "short": 3, "topk": 100}
    assert {name: found[name] for name in counts} == counts
    assert found["notes"] == ["found nothing for 1 questions, such as '2'"]
    told = call(*line).stderr
    assert "3 questions, 0 to 3 (on average 1.3) passages each" in told
    assert "3 found fewer than the 100 asked for" in told
    assert call(*line, "-q").stderr == "Warning: found nothing for 1 questions, such as '2'\n"


def test_results_without_texts_give_the_same_figures_again(words):
    line = ["evaluate", "--index", "index", "--questions", "q.jsonl", "--topk", "1,2"]
    figures = {}
    for kind, more in (("whole", []), ("bare", ["--no-texts"])):
        call(*line, *more, "--output-dir", kind)
        assert ('"text"' in Path(kind, "results.jsonl").read_text()) == (kind == "whole")
        again = call("evaluate", "--results", f"{kind}/results.jsonl", "--topk", "1,2", "--json")
        figures[kind] = json.loads(again.stdout)["metrics"]
        measured = json.loads(Path(kind, "metrics.json").read_bytes())["metrics"]
        assert figures[kind] == {
            name: measured[name] for name in ("answer_recall", "passage_recall")
        }
    assert figures["whole"] == figures["bare"]


def test_a_search_without_texts_can_be_measured_by_its_gold_passages(words):
    rows = [{"question": text, "answers": ["pear"]} for text in ("red", "found nowhere")]
    Path("plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("q", "plain"):
        line = ["search", "--index", "index", "--questions", f"{name}.jsonl", "--no-texts"]
        assert call(*line, "-o", name).exit_code == 0
    (first, *_) = map(json.loads, Path("q").read_text().splitlines())
    assert [set(hit) for hit in first["ctxs"]] == [{"id", "title", "score"}] * 3
    refused = call("evaluate", "--results", "plain")
    assert (refused.exit_code, "neither texts nor has_answer" in refused.stderr) == (1, True)


def test_questions_with_nothing_to_look_for_are_refused_before_the_search(words, monkeypatch):
    Path("plain.txt").write_text("what is red\n")
    monkeypatch.setattr("dprkit.search.open_index.open_index", lambda *_, **__: 1 / 0)
    result = call("evaluate", "--index", "index", "--questions", "plain.txt", "--output-dir", "r")
    expected = (
        "Error: plain.txt: no question has an answer or a gold passage to look for; add answers or "
        "passage_ids to it, or give --qrels (docs/formats.md tells how)"
    )
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, expected)
    assert not Path("r").exists()


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


def test_the_page_on_formats_computes_a_metric_from_the_figures_of_questions(tmp_path):
    rows = [result("who", ["x"], ["x"]), result("what", ["x"], ["no"]), result("why", [], ["x"])]
    report = measured(tmp_path, rows, topk=(1,))
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0].replace("@20", "@1")
    folder = tmp_path / "results"
    (tmp_path / "out").rename(folder)
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, text=True, stdout=-1
    )
    assert float(told.stdout) == report.metrics["answer_recall"]["1"] == 0.5
