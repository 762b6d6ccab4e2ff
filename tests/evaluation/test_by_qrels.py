"""Figures by graded judgements: equal to trec_eval's published ones, and to ir-measures'."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from pathlib import Path

import ir_measures
import pytest

from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.evaluation.evaluate import evaluate
from dprkit.evaluation.measures import Measure, parse
from dprkit.settings import EvaluateSettings
from tests.conftest import call

SHARED = Path(__file__).parents[3] / "shared/data"
TREC_EVAL = SHARED / "eval_fixtures/trec_eval"
SCIFACT = SHARED / "scifact"

BOTH_DEFINE = {
    "AP": "map",
    "Rprec": "Rprec",
    "Bpref": "bpref",
    "RR": "recip_rank",
    "infAP": "infAP",
    "nDCG": "ndcg",
    "SetP": "set_P",
    "SetP(relative=True)": "set_relative_P",
    "SetR": "set_recall",
    "SetAP": "set_map",
    "SetF": "set_F",
    **{f"IPrec@{n / 10}": f"iprec_at_recall_{n / 10:.2f}" for n in range(11)},
    **{f"Success@{k}": f"success_{k}" for k in (1, 5, 10)},
    **{
        f"{ours}@{k}": f"{theirs}_{k}"
        for ours, theirs in (("P", "P"), ("R", "recall"), ("nDCG", "ndcg_cut"), ("AP", "map_cut"))
        for k in (5, 10, 15, 20, 30, 100, 200, 500, 1000)
    },
}
"""Measures of ir-measures, and what trec_eval calls them."""


def judged(tmp_path, run, qrels, **more):
    """The report of a run and qrels given as lines, and the lines of per_question.jsonl."""
    paths = {}
    for name, lines in (("results", run), ("qrels", qrels)):
        paths[name] = str(tmp_path / name)
        Path(paths[name]).write_text("".join(f"{line}\n" for line in lines))
    output = tmp_path / "out"
    report = evaluate(EvaluateSettings(**paths, output_dir=str(output), **more))
    return report, lines_of(output / "per_question.jsonl")


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def by_label(report):
    return {
        f"{name}@{k}" if k else name: value
        for name, of_depths in report.metrics.items()
        for k, value in of_depths.items()
    }


# --- published figures ----------------------------------------------------------------------------


@pytest.mark.skipif(not TREC_EVAL.is_dir(), reason="needs ../shared/data/eval_fixtures")
def test_trec_evals_published_figures_are_ours_for_all_questions_and_for_each(tmp_path):
    published = defaultdict(dict)
    for name in ("out.test.aq", "out.test.a"):
        for line in (TREC_EVAL / name).read_text().splitlines():
            measure, question, value = line.split(maxsplit=2)
            published[question][measure] = value
    report = evaluate(
        EvaluateSettings(
            results=str(TREC_EVAL / "results.test"),
            qrels=str(TREC_EVAL / "qrels.test"),
            metrics=" ".join(BOTH_DEFINE),
            output_dir=str(tmp_path / "out"),
        )
    )
    found = {line["id"]: line["measures"] for line in lines_of(tmp_path / "out/per_question.jsonl")}
    found["all"] = by_label(report)
    assert len(found) == 4
    for question, values in found.items():
        theirs = {ours: published[question][name] for ours, name in BOTH_DEFINE.items()}
        parsed = {str(ir_measures.parse_measure(ours)): value for ours, value in theirs.items()}
        assert {label: f"{value:.4f}" for label, value in values.items()} == parsed


@pytest.mark.skipif(not SCIFACT.is_dir(), reason="needs ../shared/data/scifact")
def test_scifacts_bm25_run_has_the_figures_that_came_with_it(tmp_path):
    baseline = json.loads((SCIFACT / "bm25_baseline.json").read_text())
    report = evaluate(
        EvaluateSettings(
            results=str(SCIFACT / "run.bm25s.trec.gz"), qrels=str(SCIFACT / "qrels/test.tsv")
        )
    )
    labels = ("nDCG@10", "R@100", "AP@100")
    found = {f"bm25s_{label}": round(by_label(report)[label], 4) for label in labels}
    assert found == {name: value for name, value in baseline.items() if name in found}
    assert report.counts["nDCG"] == report.questions == 300


# --- against ir-measures --------------------------------------------------------------------------


def test_a_run_with_ties_has_the_figures_that_ir_measures_reads_from_it(tmp_path):
    draw = random.Random(13)
    run, qrels = [], []
    for question in range(20):
        for passage in range(60):
            if draw.random() < 0.2:
                qrels.append(f"{question} 0 d{passage} {draw.choice((-1, 0, 1, 1, 2, 3))}")
            if draw.random() < 0.7:
                run.append(f"{question} Q0 d{passage} 1 {draw.randrange(8)} tag")
    names = "nDCG@10 nDCG AP AP(rel=2)@20 P@5 R@20 RR Bpref Success@3 IPrec@0.5"
    report, lines = judged(tmp_path, run, qrels, metrics=names)
    measures = list(map(ir_measures.parse_measure, names.split()))
    theirs = ir_measures.calc(
        measures,
        list(ir_measures.read_trec_qrels(str(tmp_path / "qrels"))),
        list(ir_measures.read_trec_run(str(tmp_path / "results"))),
    )
    expected = defaultdict(dict)
    for metric in theirs.per_query:
        expected[metric.query_id][str(metric.measure)] = pytest.approx(metric.value)
    assert {line["id"]: line["measures"] for line in lines} == expected
    assert by_label(report) == pytest.approx({str(m): v for m, v in theirs.aggregated.items()})


RUN = ["1 Q0 a 1 9 x", "1 Q0 b 2 8 x", "1 Q0 c 3 7 x", "2 Q0 a 1 9 x", "2 Q0 c 2 8 x"]


def test_defaults_are_worked_out_by_hand(tmp_path):
    qrels = ["1 0 b 2", "1 0 z 1", "1 0 a 0", "2 0 a 1"]
    report, lines = judged(tmp_path, RUN, qrels, topk=(1, 2))
    assert report.metrics == {
        "R": {"1": 0.5, "2": 0.75},
        "Success": {"1": 0.5, "2": 1.0},
        "P": {"1": 0.5, "2": 0.5},
    }
    assert [line["gold_ranks"] for line in lines] == [[2, None], [1]]
    assert report.notes == [
        f"not measured: nDCG@10, AP@100; no ranking of {tmp_path}/results has more than 3 passages"
    ]
    deep = [f"3 Q0 d{n} 1 {-n} x" for n in range(100)]
    report, lines = judged(tmp_path, deep, ["3 0 d1 1", "3 0 d2 3"], topk=(100,))
    assert report.metrics["mrr"] == {"10": 0.5, "100": 0.5}
    assert report.metrics["AP"] == {"100": pytest.approx((1 / 2 + 2 / 3) / 2)}
    # gains 1 and 3 at ranks 2 and 3, discounted by log2(3) and log2(4); ideal is 3 then 1
    ideal = 3 + 1 / 1.584962500721156
    expected = (1 / 1.584962500721156 + 3 / 2) / ideal
    assert report.metrics["nDCG"] == {"10": pytest.approx(expected)}


def test_a_missing_question_counts_0_an_unjudged_one_not_at_all(tmp_path):
    qrels = ["1 0 a 1", "7 0 a 1", "8 0 a 0", "8 0 b -1"]
    report, lines = judged(tmp_path, RUN, qrels, metrics="P@1 AP")
    assert report.metrics == {"P": {"1": 0.5}, "AP": {"": 0.5}}  # of 1 and 7
    assert (report.questions, report.counts) == (4, {"P": 2, "AP": 2})
    assert (report.missing["AP"], report.unjudged["AP"]) == ({"": 1}, {"": 2})
    assert [(line["id"], line["measures"]["AP"]) for line in lines] == [
        ("1", 1.0),
        ("2", None),
        ("7", 0.0),
        ("8", None),
    ]
    assert [line.get("missing") for line in lines] == [None, None, True, True]
    run = tmp_path / "results"
    assert report.notes == [
        f"judged questions that {run} has no ranking of and that count 0: 1",
        "questions that the qrels do not judge, left out by them: 1",
        "questions without a relevant passage in the qrels, left out (trec_eval counts 0): 1",
        "grades below 0, which count as not relevant: 1",
    ]


def test_a_measure_of_high_grades_is_null_where_none_is_so_high(tmp_path):
    report, lines = judged(tmp_path, RUN, ["1 0 a 1"], metrics="AP(rel=2) AP")
    assert report.metrics == {"AP(rel=2)": {"": None}, "AP": {"": 1.0}}
    assert lines[0]["measures"] == {"AP(rel=2)": None, "AP": 1.0}
    assert report.intervals["AP(rel=2)"] == {"": None}
    assert "undefined for every question: AP(rel=2)" in report.notes


def test_equal_scores_of_our_own_rankings_keep_their_order(tmp_path):
    """A TREC run would put z first."""
    ctxs = [{"id": id_, "score": 1.0} for id_ in "az"]
    row = json.dumps({"id": "1", "question": "q", "ctxs": ctxs})
    own, _ = judged(tmp_path, [row], ["1 0 a 1"], metrics="RR AP@2")
    assert own.metrics == {"RR": {"": 1.0}, "AP": {"2": 1.0}}
    assert own.tied == {"RR": {"": 1}, "AP": {"2": 0}}
    run = ["1 Q0 a 1 1.0 x", "1 Q0 z 2 1.0 x"]
    theirs, _ = judged(tmp_path, run, ["1 0 a 1"], metrics="RR P@1")
    assert theirs.metrics == {"RR": {"": 0.5}, "P": {"1": 0.0}}
    assert theirs.tied == {"RR": {"": 1}, "P": {"1": 1}}


def test_gold_passages_are_judgements_where_there_are_no_qrels(tmp_path):
    ctxs = [{"id": id_, "score": 3 - n} for n, id_ in enumerate("abc")]
    row = json.dumps({"id": "1", "question": "q", "gold": ["b", "c"], "ctxs": ctxs})
    (tmp_path / "r").write_text(row + "\n")
    report = evaluate(EvaluateSettings(results=str(tmp_path / "r"), metrics="AP", topk=(1,)))
    assert report.metrics["AP"] == {"": pytest.approx((1 / 2 + 2 / 3) / 2)}
    assert report.metrics["passage_success"] == {"1": 0.0}


# --- the questions of --questions -----------------------------------------------------------------


def asked(tmp_path, questions, **more):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in questions))
    return str(path)


def test_a_runs_questions_get_their_texts_gold_passages_and_tags(tmp_path):
    rows = [
        {"id": "1", "question": "one?", "passage_ids": ["b"], "dataset": "nq", "tags": ["x", "y"]},
        {"id": "3", "question": "three?", "passage_ids": ["b"], "tags": ["y"]},
    ]
    (tmp_path / "run").write_text("\n".join(RUN) + "\n")
    settings = {"results": str(tmp_path / "run"), "questions": asked(tmp_path, rows)}
    output = tmp_path / "out"
    report = evaluate(
        EvaluateSettings(**settings, topk=(1, 2), by=("tag", "dataset"), output_dir=str(output))
    )
    lines = lines_of(output / "per_question.jsonl")
    assert [(line["id"], line["question"], line["gold_ranks"]) for line in lines] == [
        ("1", "one?", [2]),
        ("3", "three?", [None]),  # missing; 2 was not asked for
    ]
    assert (lines[0]["dataset"], lines[0]["tags"]) == ("nq", ["x", "y"])
    recalls = {
        by: {value: one.metrics["passage_recall"]["2"] for value, one in slices.items()}
        for by, slices in report.slices.items()
    }
    assert recalls == {"tag": {"x": 1.0, "y": 0.5}, "dataset": {"nq": 1.0, "(none)": 0.0}}
    assert report.slices["tag"]["y"].counts == {"passage_recall": 2}


def test_a_question_with_another_text_is_refused(tmp_path):
    row = {"id": "1", "question": "what?", "ctxs": [{"id": "a", "score": 1}]}
    (tmp_path / "r").write_text(json.dumps(row) + "\n")
    questions = asked(tmp_path, [{"id": "1", "question": "which?", "passage_ids": ["a"]}])
    with pytest.raises(MismatchError, match=r"question '1' is 'which\?' in .* and 'what\?' in"):
        evaluate(EvaluateSettings(results=str(tmp_path / "r"), questions=questions))


def test_two_questions_with_one_id_are_refused(tmp_path):
    (tmp_path / "run").write_text("\n".join(RUN) + "\n")
    questions = asked(tmp_path, [{"id": "1", "question": text} for text in ("a?", "b?")])
    with pytest.raises(InputError, match="two questions have the id '1'"):
        evaluate(EvaluateSettings(results=str(tmp_path / "run"), questions=questions))


# --- refused --------------------------------------------------------------------------------------


def test_qrels_of_other_questions_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"judges no question of .*: their first ids are 'q1' and '1'; give the"
    ):
        judged(tmp_path, RUN, ["q1 0 a 1"])


def test_qrels_without_a_relevant_passage_are_refused(tmp_path):
    with pytest.raises(InputError, match="no passage is relevant to any of its questions"):
        judged(tmp_path, RUN, ["1 0 a 0", "2 0 a -1"])


def test_a_run_with_nan_is_refused_with_its_line(tmp_path):
    with pytest.raises(FormatError, match=r"results:2: the score 'nan' is not a finite number"):
        judged(tmp_path, [RUN[0], "1 Q0 b 2 nan x"], ["1 0 a 1"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("nope@3", "'nope@3' is no measure that ir-measures knows; some are nDCG@10"),
        ("ndcg_cut_10", "'ndcg_cut_10' is called nDCG@10 here"),
        ("NumRet", "'NumRet' counts and has no mean"),
        ("answer_recall@5", "its depths are those of --topk"),
        ("alpha_nDCG@10", "'alpha_nDCG@10' cannot be computed here: .*pyndeval"),
        (" , ", "names nothing"),
        ("nDCG@0", "'nDCG@0': a depth is from 1 to 1,000,000"),
        ("P@5 R@99999999999999999999", "'R@9+': a depth is from 1"),
    ],
)
def test_a_measure_that_cannot_be_is_refused(tmp_path, names, message):
    with pytest.raises(SettingsError, match=message):
        judged(tmp_path, RUN, ["1 0 a 1"], metrics=names)


def test_measures_are_named_as_ir_measures_names_them():
    assert parse("MAP, NDCG@10  IPrec@0.5 AP(rel=2,judged_only=True)@20 nDCG@10") == (
        Measure("AP"),
        Measure("nDCG", "10", 10),
        Measure("IPrec", "0.5"),
        Measure("AP(rel=2,judged_only=True)", "20", 20),
    )


# --- through the command line ---------------------------------------------------------------------


@pytest.fixture
def beir(tmp_path, monkeypatch):
    """An index of four passages, questions of two splits, and the judgements of one of them."""
    monkeypatch.chdir(tmp_path)
    Path("dprkit.yaml").write_text("index: {}\n")
    passages = {"1": "red apple", "2": "red pear", "3": "blue sky", "4": "red wine"}
    rows = [{"_id": id_, "title": "", "text": text} for id_, text in passages.items()]
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [{"_id": "a", "text": "red pear"}, {"_id": "b", "text": "sky"}]
    questions.append({"_id": "train", "text": "wine"})
    Path("queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    header = "query-id\tcorpus-id\tscore"
    Path("test.tsv").write_text(f"{header}\na\t2\t2\na\t4\t1\nb\t3\t1\nb\tgone\t1\n")
    built = call("index", "--type", "bm25", "--passages", "corpus.jsonl", "--output-dir", "i", "-q")
    assert (built.exit_code, built.stderr) == (0, "")
    return tmp_path


INDEX = ("evaluate", "--index", "i", "--questions", "queries.jsonl", "--qrels", "test.tsv")


def test_an_index_is_measured_by_qrels_with_the_questions_they_judge(beir):
    ran = call(*INDEX, "--topk", "1,3,10", "--output-dir", "r", "--json")
    report = json.loads(ran.stdout)
    assert report["questions"] == 2
    assert report["metrics"]["R"]["3"] == pytest.approx((1 + 1 / 2) / 2)
    assert report["metrics"]["Success"]["1"] == 1.0
    assert report["metrics"]["mrr"] == {"10": 1.0}
    assert set(report["inputs"]) == {"index", "questions", "qrels"}
    assert "1 relevant passages are not in the corpus and count as misses, such as gone" in (
        ran.stderr
    )
    assert "questions that nothing judges, not searched for: 1" in ran.stderr
    again = call("evaluate", "--results", "r", "--qrels", "test.tsv", "--topk", "1,2", "--json")
    found = json.loads(again.stdout)["metrics"]
    assert found["Success"] == {"1": 1.0, "2": 1.0}
    by_run = call(
        "evaluate", "--results", "r/run.trec", "--qrels", "test.tsv", "--json", "--topk=1"
    )
    assert json.loads(by_run.stdout)["metrics"]["P"] == {"1": 1.0}


def test_metrics_deepen_the_search(beir):
    line = (*INDEX, "--topk", "1", "--metrics", "nDCG@10 AP", "--output-dir", "r", "--json")
    report = json.loads(call(*line).stdout)
    assert list(report["metrics"]) == ["nDCG", "AP"]
    assert max(line["hits"] for line in lines_of("r/per_question.jsonl")) == 3  # all with "red"
    shallow = call(*INDEX, "--topk", "1", "--json")
    assert json.loads(shallow.stdout)["metrics"]["nDCG"].keys() == {"10"}  # always so deep
    assert "not measured: AP@100; an index is searched for 10 passages" in shallow.stderr


def test_other_qrels_or_another_seed_make_another_artifact(beir):
    line = (*INDEX, "--metrics", "nDCG@10", "--output-dir", "r", "--json")
    first = json.loads(call(*line).stdout)
    assert json.loads(call(*line).stdout)["up_to_date"]
    Path("test.tsv").write_text("a\t1\t1\nb\t3\t1\n")
    second = json.loads(call(*line).stdout)
    assert (second["up_to_date"], first["metrics"] == second["metrics"]) == (False, False)
    assert not json.loads(call(*line, "--seed", "3").stdout)["up_to_date"]


def test_slices_are_in_the_table_the_csv_and_metrics_json(beir):
    line = (*INDEX, "--metrics", "RR", "--by", "length", "--output-dir", "r")
    table = call(*line, "--restart").stdout
    assert "RR      1-5 words  1.0000" in table
    assert "length,1-5 words,RR,,1.0," in call(*line, "--csv").stdout
    slices = json.loads(Path("r/metrics.json").read_text())["slices"]
    assert slices["length"]["1-5 words"]["questions"] == 2
    refused = call(*line[:-1], "s", "--by", "dataset")
    assert refused.exit_code == 1
    assert (
        '--by dataset: no question has a data set; give each line of the questions a "dataset"'
        in (refused.stderr)
    )


def test_parquet_has_the_figures_of_per_question_jsonl(beir):
    pq = pytest.importorskip("pyarrow.parquet")
    assert call(*INDEX, "--output-dir", "r", "--parquet", "-q").exit_code == 0
    rows = pq.read_table("r/per_question.parquet").to_pylist()
    for row, line in zip(rows, lines_of("r/per_question.jsonl"), strict=True):
        measures = line.pop("measures")
        assert {name: row[name] for name in (*line, *measures)} == line | measures
        assert row["dataset"] is None


def test_compressed_qrels_are_read(beir):
    with gzip.open("test.tsv.gz", "wb") as file:
        file.write(Path("test.tsv").read_bytes())
    ran = call(*INDEX[:-1], "test.tsv.gz", "--json", "-q")
    plain = call(*INDEX, "--json", "-q")
    assert json.loads(ran.stdout)["metrics"] == json.loads(plain.stdout)["metrics"]
