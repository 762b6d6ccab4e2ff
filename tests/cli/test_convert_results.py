"""convert-results: every form into every other, as other programs read it, and what is lost."""

from __future__ import annotations

import gzip
import json
import subprocess
from itertools import product
from pathlib import Path

import ir_measures
import pytest
from click.testing import Result

from dprkit.data.rankings import read_results
from dprkit.records import Hit, Question, Ranking
from tests.conftest import DPRKIT, call, environment

RANKINGS = [
    Ranking(
        Question("q1", 'who "wrote" <b>it</b>', ("Ann", "B"), ("2",), "nq", ("long",)),
        (
            Hit("2", 0.1 + 0.2, '"Heroes" (album)', "by\nAnn", True),
            Hit("10", 0.1, "", "é", False),
            Hit("1", 0.1, "T", "t", False),
        ),
    ),
    Ranking(Question("é 2", "and then?", ("x",)), ()),
]
FORMS = ("jsonl", "dpr", "trec", "pyserini", "run-dict")
"""Those that are read again."""
PASSAGES = "id\ttext\ttitle\n" + "".join(
    f'{hit.id}\t"{hit.text}"\t"{hit.title.replace(chr(34), chr(34) * 2)}"\n'
    for hit in RANKINGS[0].hits
)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """results.jsonl, p.tsv and q.jsonl in the folder at hand."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "id": r.question.id,
            "question": r.question.question,
            "answers": r.question.answers,
            "gold": r.question.gold,
            "dataset": r.question.dataset,
            "tags": r.question.tags,
            "ctxs": [
                {name: getattr(hit, name) for name in ("id", "title", "text", "score")}
                | ({} if hit.has_answer is None else {"has_answer": hit.has_answer})
                for hit in r.hits
            ],
        }
        for r in RANKINGS
    ]
    Path("results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("p.tsv").write_text(PASSAGES)
    asked = ({"passage_ids": row["gold"]} | row for row in rows)
    Path("q.jsonl").write_text(
        "".join(json.dumps({k: v for k, v in row.items() if k != "ctxs"}) + "\n" for row in asked)
    )
    assert list(read_results("results.jsonl")) == RANKINGS


def converted(source: str, form: str, output: str, *more: str) -> Result:
    result = call("convert-results", "--results", source, "--to", form, "-o", output, *more)
    assert result.exit_code == 0, result.output
    return result


SOURCES = ("--passages", "p.tsv", "--questions", "q.jsonl")


@pytest.mark.parametrize(("first", "second"), list(product(FORMS, FORMS)))
def test_every_form_goes_into_every_other_and_back(given: None, first: str, second: str) -> None:
    """With texts and questions from their files nothing is lost but what was said."""
    converted("results.jsonl", first, "one.gz")
    converted("one.gz", second, "two", *SOURCES)
    converted("two", "jsonl", "back.jsonl", *SOURCES)
    back = list(read_results("back.jsonl"))
    expected = RANKINGS[:1] if "trec" in (first, second) else RANKINGS
    assert [ranking.question for ranking in back] == [ranking.question for ranking in expected]
    for found, wanted in zip(back, expected, strict=True):
        assert [(h.id, h.title, h.text) for h in found.hits] == [
            (h.id, h.title, h.text) for h in wanted.hits
        ]
        assert [h.score for h in found.hits] == pytest.approx([h.score for h in wanted.hits])


def test_jsonl_keeps_everything(given: None) -> None:
    assert "cannot hold" not in converted("results.jsonl", "jsonl", "again.jsonl").output
    assert list(read_results("again.jsonl")) == RANKINGS


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("dpr", "gold passages, data sets, tags"),
        ("pyserini", "gold passages, data sets, tags"),
        (
            "run-dict",
            "question texts, answers, gold passages, data sets, tags, texts, titles, has_answer",
        ),
        (
            "trec",
            "question texts, answers, gold passages, data sets, tags, texts, titles, has_answer, "
            "empty rankings",
        ),
    ],
)
def test_what_a_form_cannot_hold_is_said(given: None, form: str, lost: str) -> None:
    said = converted("results.jsonl", form, "out").stderr
    assert f"{form} cannot hold {lost}; left out" in " ".join(said.split())


def test_the_forms_are_those_of_the_programs_that_read_them(given: None) -> None:
    for form in FORMS:
        converted("results.jsonl", form, form)
    first = json.loads(Path("dpr").read_text())[0]
    assert first["ctxs"][0] == {
        "id": "2",
        "title": '"Heroes" (album)',
        "text": "by\nAnn",
        "score": "0.30000000000000004",
        "has_answer": True,
    }
    assert (first["question"], first["answers"]) == ('who "wrote" <b>it</b>', ["Ann", "B"])
    pyserini = json.loads(Path("pyserini").read_text())
    assert list(pyserini) == ["q1", "é 2"]
    assert pyserini["q1"]["contexts"][2] == {
        "docid": "1",
        "score": "0.1",
        "text": '"T"\nt',
        "has_answer": False,
    }
    run = json.loads(Path("run-dict").read_text())
    assert (list(run), run["é 2"]) == (["q1", "é 2"], {})
    assert list(run["q1"]) == ["2", "10", "1"]
    assert run["q1"]["10"] > run["q1"]["1"], "else readers would take the larger id first"


@pytest.mark.parametrize("form", ["trec", "run-dict"])
def test_ir_measures_finds_the_order_of_the_rankings(given: None, form: str) -> None:
    """The passage "10" is second, though its score is that of "1": 1 / log2(3) of a gain."""
    converted("results.jsonl", form, "run")
    run = (
        ir_measures.read_trec_run("run") if form == "trec" else json.loads(Path("run").read_text())
    )
    found = ir_measures.calc_aggregate([ir_measures.RR, ir_measures.nDCG], {"q1": {"10": 1}}, run)
    assert found[ir_measures.RR] == 0.5
    assert found[ir_measures.nDCG] == pytest.approx(0.6309, abs=1e-4)


def test_it_stands_in_a_pipe(given: None) -> None:
    ran = subprocess.run(
        [*DPRKIT, "convert-results", "--results", "-", "--to", "run-dict"],
        input=gzip.compress(Path("results.jsonl").read_bytes()),
        capture_output=True,
        env=environment(),
        check=True,
    )
    assert list(json.loads(ran.stdout)) == ["q1", "é 2"]


def test_what_it_made_is_evaluated(given: None) -> None:
    """answer_recall and passage_recall of question q1 alone; the other found nothing."""
    converted("results.jsonl", "run-dict", "run.json")
    converted("run.json", "jsonl", "full.jsonl", *SOURCES)
    result = call("evaluate", "--results", "full.jsonl", "--topk", "1,2", "--json")
    assert json.loads(result.stdout)["metrics"]["answer_recall"] == {"1": 0.5, "2": 0.5}
    assert json.loads(result.stdout)["metrics"]["passage_recall"] == {"1": 1.0, "2": 1.0}


def test_a_file_of_an_artifact_is_not_written_over(given: None) -> None:
    asked = ["evaluate", "--results", "results.jsonl", "--topk", "1", "--output-dir", "judged"]
    assert call(*asked).exit_code == 0
    into = ["convert-results", "--results", "judged", "--to", "trec", "-o"]
    refused = call(*into, "judged/run.trec")
    assert refused.exit_code == 1 and "run.trec: is a file of the results there" in refused.stderr
    assert call(*into, "judged/new.trec").exit_code == 0
    assert json.loads(call(*asked, "--json").stdout)["up_to_date"]


def test_rankings_of_stdin_are_measured_and_files_of_them_refused(given: None) -> None:
    piped, text = ["evaluate", "--results", "-", "--topk", "1"], Path("results.jsonl").read_text()
    ran = call(*piped, "--json", input=text)
    assert json.loads(ran.stdout)["outputs"] == []
    for more in (["--output-dir", "new"], ["--parquet"]):
        refused = call(*piped, *more, input=text)
        assert refused.exit_code == 1 and f"Error: {more[0]}: of stdin" in refused.stderr
    assert not Path("new").exists()


def test_stdin_is_read_by_one_setting_alone(given: None) -> None:
    for asked in (["evaluate", "--qrels", "-"], ["convert-results", "--passages", "-"]):
        refused = call(*asked, "--results", "-", input=Path("results.jsonl").read_text())
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"--results and {asked[1]} both read stdin" in refused.stderr


def test_without_texts_titles_stay(given: None) -> None:
    converted("results.jsonl", "jsonl", "short.jsonl", "--no-texts")
    [first, _] = read_results("short.jsonl")
    assert [(hit.title, hit.text) for hit in first.hits[::2]] == [
        ('"Heroes" (album)', ""),
        ("T", ""),
    ]


def test_ids_that_are_not_there_are_said(given: None) -> None:
    converted("results.jsonl", "run-dict", "run.json")
    Path("p.tsv").write_text('id\ttext\n2\t"by"\n')
    Path("q.jsonl").write_text('{"id": "é 2", "question": "and then?"}\n')
    output = " ".join(converted("run.json", "jsonl", "out.jsonl", *SOURCES).stderr.split())
    assert "p.tsv: passages that it lacks: 2, such as '1'" in output
    assert "q.jsonl: questions that it lacks: 1, such as 'q1'" in output
    assert [h.text for h in next(read_results("out.jsonl")).hits] == ["by", "", ""]


@pytest.mark.parametrize(
    ("flag", "text", "problem"),
    [
        ("--passages", 'id\ttext\n7\t"by"\n', "lacks: 3, such as '1', which are all"),
        ("--questions", '{"id": "7", "question": "x"}', "lacks: 2, such as 'q1', which are all"),
        (
            "--questions",
            '{"id": "q1", "question": "where"}',
            """question 'q1' is 'where', and in the rankings 'who "wrote" <b>it</b>'""",
        ),
        ("--questions", '{"id": 1, "question": "x"}\n' * 2, "two questions have the id '1'"),
    ],
)
def test_files_of_something_else_are_refused(
    given: None, flag: str, text: str, problem: str
) -> None:
    Path("other").write_text(text)
    source = "results.jsonl"
    if flag == "--passages":
        converted(source, "trec", source := "run.trec")
    words = ["convert-results", "--results", source, flag, "other", "-o", "out.jsonl"]
    result = call(*words)
    assert result.exit_code != 0
    assert problem in " ".join(result.stderr.split())
    assert not Path("out.jsonl").exists()


def test_no_file_of_rankings_is_said(given: None) -> None:
    assert "no file of rankings given; name it with --results" in call("convert-results").stderr


# --- training examples ----------------------------------------------------------------------------


def test_examples_have_gold_passages_or_those_with_an_answer_as_positives(
    tmp_path, small_retriever, monkeypatch
):
    """And a retriever learns a teacher's scores of rankings from them."""
    hits = [
        {
            "id": str(n),
            "title": "T",
            "text": f"text {n}",
            "score": 9.0 - n,
            "has_answer": n in (1, 3),
        }
        for n in range(5)
    ]
    asked = {"question": "who", "answers": ["me"], "ctxs": hits}
    rows = [
        asked | {"id": "gold", "gold": ["2"], "dataset": "nq", "tags": ["a"]},
        asked | {"id": "answers", "gold": ["99"]},
        asked | {"id": "none", "ctxs": [hits[0], hits[2]]},
    ]
    monkeypatch.chdir(tmp_path)
    Path("r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--results", "r.jsonl", "--teacher", small_retriever, "--output-dir", "scored")
    assert call("score-teacher", *words).exit_code == 0
    words = ("--results", "scored/results.jsonl", "--to", "examples", "-o", "found.jsonl")
    result = call("convert-results", *words)
    assert result.exit_code == 0, result.stderr
    made = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    of = [
        [[p["passage_id"] for p in row[f"{name}_ctxs"]] for name in ("positive", "hard_negative")]
        for row in made
    ]
    assert of == [[["2"], ["0", "4"]], [["1", "3"], ["0", "2", "4"]], [[], ["0", "2"]]]
    assert (made[0]["id"], made[0]["dataset"], made[0]["tags"]) == ("gold", "nq", ["a"])
    assert all("teacher_score" in p for row in made for p in row["hard_negative_ctxs"])
    words = ("--objective", "distill", "--init", small_retriever, "--output-dir", "model")
    more = ("--batch-size", 2, "--max-steps", 1, "--candidates", 3, "--valid-every", "never")
    result = call("train", "--train-file", "found.jsonl", *words, *more)
    assert result.exit_code == 0, result.stderr
