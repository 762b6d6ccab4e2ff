"""Pages made by the command, read again, and compared with the files that they were made from."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from dprkit.progress import Run
from dprkit.records import Hit, Question, Ranking
from dprkit.report.in_turn import InTurn
from dprkit.report.trainings import LOWER_IS_BETTER, POINTS, best_step, thinned
from dprkit.store.begin_or_resume import draft
from tests.conftest import call
from tests.report.reading import Page

EVIL = "</script><script>window.bad = 1</script><!-- &amp; \u2028 "
TEXTS = {
    "1": f"{EVIL}In 1969 the moon",
    "2": "\U0001f600\U0001f600 caf\u00e9, Caf\u00e9 and cafes",
    "3": "nothing here",
    "4": "Neil Armstrong; NEIL  ARMSTRONG walked",
    "5": "the moon in 1969",
    "6": 'a "quoted" text',
}
QUESTIONS = {
    "q1": ("when was the landing", ["1969"], ["1", "5"]),
    "q2": (f"where {EVIL}", ["cafe\u0301"], ["2"]),
    "q3": ("who walked", ["neil armstrong", "Armstrong"], []),
}
DENSE = {"q1": "3 1 5 2", "q2": "2 4 6 1", "q3": "6 5 3 4"}
SPARSE = {"q3": "4 6 1", "q1": "2 3 6", "q2": "1 3 2"}
"""Question -> passages, best first; the order of the questions is another."""


def write_results(path, rankings, texts=TEXTS, questions=QUESTIONS):
    rows = []
    for id_, passages in rankings.items():
        text, answers, gold = questions[id_]
        ctxs = [
            {"id": p, "title": f"<b>{p}", "text": texts[p], "score": 70.125 - rank / 8}
            for rank, p in enumerate(passages.split())
        ]
        row = {"id": id_, "question": text, "answers": answers, "gold": gold, "ctxs": ctxs}
        rows.append(json.dumps(row))
    path.write_text("\n".join(rows) + "\n")
    return path


def evaluated(folder, name, rankings, **how):
    """A results artifact of rankings."""
    given = write_results(folder / f"{name}.jsonl", rankings, **how)
    done = call(
        "evaluate", "--results", given, "--output-dir", folder / name, "--topk", "1,2,4", "-q"
    )
    assert done.exit_code == 0, done.stderr
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of two systems: dense, and sparse in a folder with quotes in its name."""
    folder = tmp_path_factory.mktemp("results")
    evaluated(folder, "dense", DENSE)
    evaluated(folder, "spar'se \"<b>", SPARSE)
    return folder


@pytest.fixture
def two(folder):
    return folder / "dense", folder / "spar'se \"<b>"


def made(*words):
    """The page of a command that succeeds, with its report."""
    done = call("report", "--json", *words)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    return Page(Path(report["outputs"][0])), report


def refused(*words):
    done = call("report", *words)
    assert done.exit_code == 1, done.output
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_a_page_holds_every_question_ranking_and_text_as_they_were(two, tmp_path):
    page, report = made(*two, "-o", tmp_path / 'it\'s "new".html')
    assert [question[:2] for question in page.questions] == [
        [id_, text] for id_, (text, _, _) in QUESTIONS.items()
    ]
    assert [question[2:] for question in page.questions] == [
        [answers, gold] for _, answers, gold in QUESTIONS.values()
    ]
    for at, id_ in enumerate(QUESTIONS):
        for system, rankings in enumerate((DENSE, SPARSE)):
            shown = page.ranking(at, system)
            assert [one[1] for one in shown] == rankings[id_].split()
            assert [one[2] for one in shown] == [70.125 - rank / 8 for rank in range(len(shown))]
    assert sorted(page.texts) == sorted([id_, f"<b>{id_}", text] for id_, text in TEXTS.items())
    assert report["texts"] == report["passages"] == len(TEXTS)
    assert report["bytes"] == len(page.bytes)
    assert (
        report["systems"]
        == ["dense", "spar'se \"<b>"]
        == [s["name"] for s in page.summary["systems"]]
    )


def test_answers_are_lit_where_they_stand(two, tmp_path):
    page, _ = made(*two, "-o", tmp_path / "page.html")
    lit = [[one[3] for one in page.ranking(at, 0)] for at in range(3)]
    assert lit[0] == [None, ["1969"], ["1969"], None]
    assert lit[1] == [["caf\u00e9", "Caf\u00e9"], None, None, None]  # behind two emoji
    assert lit[2] == [None, None, None, ["Neil Armstrong", "NEIL  ARMSTRONG"]]


def test_nothing_of_a_text_is_html(two, tmp_path):
    page, _ = made(*two, "-o", tmp_path / "page.html", "--title", EVIL)
    assert b"window.bad" not in page.bytes.replace(
        b"\\u003c/script>\\u003cscript>window.bad", b""
    ).replace(b"&lt;/script&gt;&lt;script&gt;window.bad", b"")
    assert page.summary["title"] == EVIL


def test_columns_are_the_figures_of_each_question(two, tmp_path):
    page, _ = made(*two, "-o", tmp_path / "page.html")
    assert page.column("answer_rank.0") == [2, 1, 4]
    assert page.column("answer_rank.1") == [0, 3, 1]
    assert page.column("gold_rank.0") == [2, 1, 65535]
    assert page.column("hits.1") == [3, 3, 3]
    assert page.column("words") == [4, len(QUESTIONS["q2"][0].split()), 2]
    measures = [measure["id"] for measure in page.summary["measures"]]
    for system, folder in enumerate(two):
        lines = map(json.loads, (folder / "per_question.jsonl").read_bytes().splitlines())
        figures = {line["id"]: line["measures"] for line in lines}
        for number, measure in enumerate(measures):
            for value, id_ in zip(page.column(f"value.{system}.{number}"), QUESTIONS, strict=True):
                known = figures[id_].get(measure)
                assert value != value if known is None else value == pytest.approx(known)


def test_metrics_are_those_of_evaluate_and_curves_agree_with_them(two, tmp_path):
    page, _ = made(*two, "-o", tmp_path / "page.html")
    for folder, system, number in zip(two, page.summary["systems"], (0, 1), strict=True):
        written = json.loads((folder / "metrics.json").read_text())
        assert system["metrics"] == written["metrics"]
        assert system["intervals"] == written["intervals"]
        curve = page.summary["curves"][0]
        own = dict(
            zip(
                curve["k"],
                zip(*[curve["systems"][number][n] for n in ("values", "low", "high")], strict=True),
                strict=True,
            )
        )
        for k in ("1", "2"):
            share, low, high = own[int(k)]
            assert share == written["metrics"]["answer_recall"][k]
            assert [low, high] == written["intervals"]["answer_recall"][k]
        assert curve["systems"][number]["questions"] == 3
    assert page.summary["curves"][0]["systems"][1]["values"][3] is None  # no ranking has four


def test_a_file_of_rankings_has_the_figures_that_evaluate_would_write(two, tmp_path):
    some = {id_: QUESTIONS[id_] for id_ in ("q1", "q2")}  # of q3 it has no ranking
    run = write_results(tmp_path / "run.jsonl", {"q1": "3 1 5", "q2": "4 2 1"}, questions=some)
    rows = [json.loads(line) for line in run.read_text().splitlines()]
    rows[0]["ctxs"][1]["score"] = rows[0]["ctxs"][0]["score"]
    run.write_text("\n".join(map(json.dumps, rows)))
    asked = [{"id": i, "question": q, "answers": a} for i, (q, a, _) in QUESTIONS.items()]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (tmp_path / "qrels").write_text("q1 0 1 1\nq2 0 2 2\nq3 0 4 1\n")
    judged = ("--questions", tmp_path / "q.jsonl", "--qrels", tmp_path / "qrels")
    done = call("evaluate", "--results", run, *judged, "--topk", "1,5,20,100", "--json")
    expected = json.loads(done.stdout)
    page, _ = made(run, two[0], *judged, "-o", tmp_path / "page.html")
    shown = page.summary["systems"][0]
    for name in ("metrics", "intervals", "counts", "missing", "unjudged", "tied"):
        assert shown[name] == expected[name]
    assert shown["missing"]["R"] == {"1": 1} and shown["tied"]["R"] == {"1": 1}
    assert shown["notes"][1:] == expected["notes"]


def test_measures_are_named_as_the_metrics_are(tmp_path):
    run = write_results(tmp_path / "run.jsonl", {"q1": "3 1 5"})
    folder = tmp_path / "judged"
    metrics = ("--metrics", "IPrec@0.5 R@3 AP", "--topk", "1")
    assert call("evaluate", "--results", run, "--output-dir", folder, *metrics).exit_code == 0
    page, _ = made(folder, "-o", tmp_path / "page.html")
    named = {(one["name"], str(one["depth"] or "")) for one in page.summary["measures"]}
    metrics = page.summary["systems"][0]["metrics"]
    assert named == {(name, k) for name, depths in metrics.items() for k in depths}
    assert page.summary["depths"] == [1, 3]


def test_a_depth_keeps_the_best_and_what_matters_below(two, tmp_path):
    page, report = made(*two, "-o", tmp_path / "page.html", "--depth", 1)
    assert [one[:2] for one in page.ranking(0, 0)] == [(1, "3"), (2, "1"), (3, "5")]  # gold: 1, 5
    assert [one[:2] for one in page.ranking(2, 0)] == [(1, "6"), (4, "4")]  # its first answer
    assert [one[:2] for one in page.ranking(2, 1)] == [(1, "4")]
    assert page.summary["passages"]["depth"] == report["depth"] == 1
    assert page.rankings[0][0]["g"] == [2, 3]


def test_filters_are_told_with_what_they_look_for(two, tmp_path):
    page, _ = made(*two, "-o", tmp_path / "page.html")
    kinds = [one["kind"] for one in page.summary["filters"]]
    assert kinds[:5] == ["miss", "near", "flipped", "gained", "lost"]
    assert page.summary["rank"] == "answer"
    assert page.summary["depths"] == [1, 2, 4]
    alone, _ = made(two[0], "-o", tmp_path / "alone.html")
    assert "flipped" not in [one["kind"] for one in alone.summary["filters"]]


def test_the_command_of_each_artifact_is_told_the_first_one_first(empty):
    Path("p.tsv").write_text("id\ttext\ttitle\n" + "".join(f"{i}\tword {i}\tt\n" for i in range(9)))
    Path("q.jsonl").write_text('{"question": "word 3", "answers": ["3"]}\n')
    assert (
        call(
            "index", "--type", "bm25", "--passages", "p.tsv", "--output-dir", "b m", "-q"
        ).exit_code
        == 0
    )
    words = [
        "evaluate",
        "--index",
        "b m",
        "--questions",
        "q.jsonl",
        "--output-dir",
        "r",
        "--topk",
        2,
        "-q",
    ]
    assert call(*words).exit_code == 0
    page, _ = made("r", "-o", "page.html")
    (system,) = page.summary["systems"]
    # In a test the words of the process are pytest's: what counts is that there are two, in order.
    provenance = [label for label, _ in system["provenance"]]
    assert provenance[:3] == ["results", "identity", "made by"]
    assert "its index" in provenance and "index: passages" in provenance
    shutil.rmtree("b m")
    page, _ = made("r", "-o", "page.html")  # what is gone is not in the way
    assert "index: passages" not in [label for label, _ in page.summary["systems"][0]["provenance"]]


def test_systems_with_other_questions_are_refused_by_name(two, tmp_path):
    others = QUESTIONS | {"q9": ("another", ["1969"], [])}
    other = evaluated(tmp_path, "other", {"q1": "3", "q9": "5"}, questions=others)
    told = refused(two[0], other, "-o", tmp_path / "page.html")
    assert "dense" in told and "other" in told and "q9" in told and "q2" in told
    changed = {**QUESTIONS, "q1": ("when did it land", ["1969"], [])}
    same_ids = evaluated(tmp_path, "changed", DENSE, questions=changed)
    told = refused(two[0], same_ids, "-o", tmp_path / "page.html")
    assert "when was the landing" in told and "when did it land" in told
    assert not (tmp_path / "page.html").exists()


def test_what_no_report_shows_is_refused_by_name(work, two):
    assert "holds index" in refused("runs/dprkit/index")
    assert "no folder given" in refused()
    assert "are the same" in refused(two[0], two[0].parent / "." / "dense")
    Path("blank").mkdir()
    assert "blank: has no manifest.json" in refused("blank")
    assert "is a directory" in refused(two[0], "-o", "blank")
    assert "missing" in refused("missing")
    assert "--questions is for files of rankings" in refused(*two, "--questions", "gone.jsonl")
    assert "-: a report reads rankings again and again" in refused(two[0], "-")
    if Path("/sys/kernel").is_dir():  # nobody may make a file in /sys
        assert "/sys: not writable" in refused(two[0], "-o", "/sys/page.html")
    assert not Path("report.html").exists()


def test_another_text_of_the_same_id_is_another_passage(two, tmp_path):
    others = TEXTS | {"1": "another corpus, 1969"}
    other = evaluated(tmp_path, "other", DENSE, texts=others)
    page, _ = made(two[0], other, "-o", tmp_path / "page.html")
    first, second = (page.rankings[0][system]["n"][1] for system in (0, 1))
    assert page.texts[first] == ["1", "<b>1", TEXTS["1"]]
    assert page.texts[second] == ["1", "<b>1", "another corpus, 1969"]
    assert len(page.texts) == len(TEXTS) + 1


def test_a_trec_run_is_judged_by_questions_and_shows_the_texts_of_the_others(two, tmp_path):
    lines = [
        f"{id_} Q0 {passage} 1 {9 - rank} x\n"
        for id_, passages in SPARSE.items()
        for rank, passage in enumerate(passages.split())
    ]
    (tmp_path / "run.trec").write_text("".join(lines))
    asked = [
        json.dumps({"id": id_, "question": text, "answers": answers, "passage_ids": gold})
        for id_, (text, answers, gold) in QUESTIONS.items()
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(asked))
    page, _ = made(
        tmp_path / "run.trec",
        two[0],
        "--questions",
        tmp_path / "q.jsonl",
        "-o",
        tmp_path / "p.html",
    )
    assert [question[0] for question in page.questions] == ["q3", "q1", "q2"]  # as the run has it
    assert page.column("gold_rank.0") == [65535, 0, 3]
    assert page.column("answer_rank.0") == [65535] * 3
    assert page.texts[page.rankings[2][0]["n"][2]][2] == TEXTS["2"]
    assert [system["texts"] for system in page.summary["systems"]] == [False, True]
    assert page.summary["systems"][0]["counts"]["passage_recall"] == 2


def test_qrels_count_for_all_systems(two, tmp_path):
    (tmp_path / "qrels").write_text("q1 0 2 1\nq2 0 1 2\nq3 0 6 1\n")
    page, _ = made(*two, "--qrels", tmp_path / "qrels", "-o", tmp_path / "p.html")
    assert page.column("gold_rank.0") == [4, 4, 1]
    assert page.column("gold_rank.1") == [1, 1, 2]
    assert [question[3] for question in page.questions] == [["2"], ["1"], ["6"]]
    shown = page.summary["systems"][0]
    assert shown["notes"][0] == "judged by the report, from its rankings"
    assert shown["provenance"][0][0] == "results" and shown["command"]


def test_audits_tag_questions(two, tmp_path):
    with draft(tmp_path / "audit", "audit", {}, {}, Run()) as artifact:
        with artifact.file("audit.json") as file:
            figure = {"count": 1, "of": 3, "share": 1 / 3, "examples": ["who?"]}
            none = {"count": 0, "of": 3, "share": 0.0, "examples": []}
            figures = {"no_answer": figure, "empty_answer": none, "repeated_question": none}
            why = {"in_train": "give --train-file", "near_train": "give --train-file"}
            audit = {"questions": 3, "ceiling": 2 / 3, "figures": figures, "not_measured": why}
            file.write(json.dumps(audit).encode())
        with artifact.file("tags.jsonl") as file:
            file.write(b'{"id": "q2", "tags": ["no-answer-in-corpus", "near-train"]}\n')
        artifact.finish({})
    page, _ = made(*two, tmp_path / "audit", "-o", tmp_path / "p.html")
    assert page.summary["tags"] == ["no-answer-in-corpus", "near-train"]
    assert page.column("tag.0") == [0, 1, 0]
    meaning = "no passage holds an answer, so no retriever can find one"
    assert page.summary["audits"][0]["figures"] == [
        ["answer recall can reach", "0.6667 at most"],
        ["no answer in the corpus", f"1 of 3 (33.33%): {meaning}"],
        ["not found", "empty answer, question asked before"],
        [
            "not measured",
            "question in the training data, nearly a training question (give --train-file)",
        ],
    ]
    labels = [filter_["label"] for filter_ in page.summary["filters"]]
    assert labels[-2:] == ["no answer in the corpus", "nearly a training question"]
    assert {"tag": 1}.items() <= page.summary["filters"][-1].items()


def test_tags_and_data_sets_of_the_questions_themselves_are_filters(tmp_path):
    rows = [
        {
            "id": "a",
            "question": "x",
            "answers": ["y"],
            "dataset": "nq",
            "tags": ["hard"],
            "ctxs": [],
        },
        {"id": "b", "question": "z", "answers": ["y"], "dataset": "squad", "ctxs": []},
    ]
    for row in rows:
        row["ctxs"] = [{"id": "1", "title": "", "text": "y", "score": 1}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page, _ = made(tmp_path / "r.jsonl", "-o", tmp_path / "p.html")
    assert page.summary["datasets"] == ["nq", "squad"]
    assert page.column("dataset") == [0, 1]
    assert page.column("tag.0") == [1, 0]
    assert [one["id"] for one in page.summary["filters"][-3:]] == [
        "tag:hard",
        "dataset:nq",
        "dataset:squad",
    ]


def test_a_training_that_has_ended_shows_its_curves(work):
    page, report = made("runs/dprkit/model", "-o", "page.html")
    (training,) = page.summary["runs"]
    lines = [
        json.loads(line)
        for line in Path("runs/dprkit/model/metrics.jsonl").read_text().splitlines()
    ]
    steps = [line for line in lines if "loss" in line]
    series = {one["id"]: one for one in training["series"]}
    assert series["loss"]["x"] == [line["step"] for line in steps]
    assert series["lr"]["y"] == pytest.approx([line["lr"] for line in steps], rel=1e-5)
    checks = [line for line in lines if "valid" in line]
    assert series["valid.mrr@10"]["y"] == [line["valid"]["mrr@10"] for line in checks]
    manifest = json.loads(Path("runs/dprkit/model/manifest.json").read_text())
    assert training["best_step"] == manifest["counts"]["best_step"]
    assert training["finished"] and training["last_step"] == steps[-1]["step"]
    assert report["trainings"] == 1 and report["questions"] == 0
    assert "questions" not in page.blocks


def test_a_training_that_goes_on_shows_how_far_it_is(work):
    settings = {"max_steps": 40, "best_by": "mrr@10"}
    with draft(Path("going"), "retriever", settings, {}, Run()) as artifact:
        artifact.save()
        checks = [
            {"step": step, "valid": {"mrr@10": m}} for step, m in ((0, 0.2), (1, 0.5), (2, 0.5))
        ]
        lines = '{"step": 1, "loss": 2.5, "lr": 0.1}\n{"step": 2, "loss": 1.5, "lr": 0.2}\n'
        lines += "".join(f"{json.dumps(check)}\n" for check in checks)
        Path("going/metrics.jsonl").write_text(lines + '{"step": 3, "lo')
        page, _ = made("going", "runs/dprkit/model", "-o", "page.html")
    going, ended = page.summary["runs"]
    assert not going["finished"] and ended["finished"]
    assert going["series"][0]["y"] == [2.5, 1.5]  # the third line is being written
    assert going["best_step"] == 1
    assert going["notes"] == ["in training: step 2 of at most 40"]


def test_a_retriever_that_was_not_trained_is_refused(small_colbert, tmp_path):
    assert "has no metrics.jsonl" in refused(small_colbert, "-o", tmp_path / "p.html")


def test_the_best_validation_is_chosen_as_training_chooses_it():
    from dprkit.training import validation

    assert set(LOWER_IS_BETTER) == set(validation.LOWER_IS_BETTER)
    checks = [
        {"step": s, "valid": {"loss": loss, "mrr@10": m}}
        for s, loss, m in ((0, 3, 0.1), (5, 1, 0.4), (9, 2, 0.4))
    ]
    assert best_step(checks, "loss") == 5 == best_step(checks, "mrr@10")
    assert best_step([{"step": 1, "loss": 2}], "loss") is None


def test_long_series_are_thinned_to_means():
    x, y = thinned(list(range(1, 2501)), [float(step) for step in range(1, 2501)])
    assert len(x) == 834 <= POINTS
    assert (x[0], y[0], x[-1], y[-1]) == (3, 2.0, 2500, 2500.0)
    assert thinned([1, 2], [0.5, 0.25]) == ([1, 2], [0.5, 0.25])


def test_index_tuning_shows_quality_latency_and_bytes(work):
    words = [
        "--embeddings",
        "runs/dprkit/embeddings",
        "--questions",
        "runs/dprkit/data/valid.jsonl",
    ]
    done = call(
        "tune-index", *words, "--types", "flat,sq8", "--topk", 5, "--output-dir", "tuning", "-q"
    )
    assert done.exit_code == 0, done.stderr
    page, report = made("tuning", "-o", "page.html")
    (tuning,) = page.summary["tuning"]
    points = json.loads(Path("tuning/tuning.json").read_text())
    assert [one["name"] for one in tuning["points"]] == ["flat", "sq8"]
    for shown, point in zip(tuning["points"], points, strict=True):
        assert shown["quality"] == point["recall"] and shown["p50_ms"] == point["p50_ms"]
        assert shown["bytes_per_passage"] * tuning["passages"] == pytest.approx(point["bytes"])
    assert sum(one["recommended"] for one in tuning["points"]) <= 1
    assert tuning["quality"] == "recall@5" and report["tunings"] == 1


def test_a_page_to_stdout_is_the_page(two, tmp_path):
    done = call("report", *two, "-o", "-", "-q")
    (tmp_path / "p.html").write_bytes(done.stdout_bytes)
    assert len(Page(tmp_path / "p.html").questions) == 3
    assert "--json and --output both write to stdout" in refused(*two, "-o", "-", "--json")


def test_rankings_are_found_in_any_order():
    rankings = [Ranking(Question(str(n), "q"), (Hit(str(n), 1.0, text="t"),)) for n in range(200)]
    asked = list(range(200))
    random.Random(1).shuffle(asked)
    with closing(InTurn(iter(rankings))) as in_turn:
        assert [in_turn.of(str(n)) for n in asked] == [rankings[n] for n in asked]
        assert in_turn.of("999") is None
