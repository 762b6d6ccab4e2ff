"""compare at the command line: each flag, what comes out, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.conftest import call

COUNT, DEPTH = 40, 5


def rows(ranks, word="what is", offset=0, **more):
    """Rankings of DEPTH passages whose answer, and gold passage, is at a rank; None: nowhere."""
    for number, rank in enumerate(ranks, start=offset):
        ctxs = [
            {"id": f"p{n}", "score": DEPTH - n, "text": "it" if n + 1 == rank else "no"}
            for n in range(DEPTH)
        ]
        gold = [f"p{rank - 1}" if rank else "elsewhere"]
        length = "a long and winding question " * (number % 2)
        yield {
            "id": f"q{number}",
            "question": f"{length}{word} {number}",
            "answers": ["it"],
            "gold": gold,
            "dataset": f"set {number % 2}",
            "ctxs": ctxs,
        } | more


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def ranks_of(seed, chance):
    generator = np.random.default_rng(seed)
    found = generator.random(COUNT) < chance
    return [
        int(r) if f else None for r, f in zip(generator.integers(1, 4, COUNT), found, strict=True)
    ]


A, B = ranks_of(0, 0.4), ranks_of(1, 0.9)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Two results files, and the artifacts that evaluate makes of them."""
    folder = tmp_path_factory.mktemp("judged")
    for name, ranks in (("a", A), ("b", B)):
        file = write(folder / f"{name}.jsonl", rows(ranks))
        ran = call("evaluate", "--results", file, "--topk", "1,5", "--output-dir", folder / name)
        assert ran.exit_code == 0, ran.stderr
    return folder


@pytest.fixture
def pair(judged, empty):
    """The same in the current folder."""
    shutil.copytree(judged, empty, dirs_exist_ok=True)
    return empty


def told(*words):
    ran = call("compare", *words, "--json")
    assert ran.exit_code == 0, ran.stderr
    return json.loads(ran.stdout)


def hits(ranks, k):
    return [rank is not None and rank <= k for rank in ranks]


# --- figures --------------------------------------------------------------------------------------


def test_json_has_the_figures_of_each_system_and_of_each_pair(pair):
    report = told("a", "b")
    assert report["questions"] == COUNT and report["systems"] == ["a", "b"]
    assert {"answer_recall@1", "answer_recall@5", "passage_recall@1"} <= report["metrics"].keys()
    found = report["metrics"]["answer_recall@1"]
    first, second = hits(A, 1), hits(B, 1)
    assert found["values"] == [sum(first) / COUNT, sum(second) / COUNT]
    evaluated = [json.loads((pair / f"{name}/metrics.json").read_text()) for name in "ab"]
    assert found["intervals"] == [one["intervals"]["answer_recall"]["1"] for one in evaluated]
    [of_pair] = found["pairs"]
    wins = sum(b > a for a, b in zip(first, second, strict=True))
    losses = sum(b < a for a, b in zip(first, second, strict=True))
    assert (of_pair["a"], of_pair["b"]) == (0, 1)
    assert (of_pair["wins"], of_pair["losses"], of_pair["ties"]) == (
        wins,
        losses,
        COUNT - wins - losses,
    )
    assert of_pair["difference"] == pytest.approx((sum(second) - sum(first)) / COUNT)
    assert of_pair["p"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    assert of_pair["p"] <= of_pair["p_holm"] <= 1
    assert of_pair["interval"][0] < of_pair["difference"] < of_pair["interval"][1]


def test_intervals_of_means_are_those_that_evaluate_wrote(empty):
    for name, ranks in (("a", A), ("b", B)):
        deep = [dict(row, ctxs=[*row["ctxs"], *fill(row)]) for row in rows(ranks)]
        write(empty / f"{name}.jsonl", deep)
        call("evaluate", "--results", f"{name}.jsonl", "--output-dir", name)
    found = told("a", "b")["metrics"]["mrr@10"]
    for place, name in enumerate("ab"):
        evaluated = json.loads((empty / f"{name}/metrics.json").read_text())
        assert found["values"][place] == evaluated["metrics"]["mrr"]["10"]
        assert found["intervals"][place] == pytest.approx(evaluated["intervals"]["mrr"]["10"])
    assert found["pairs"][0]["test"] == "randomisation"


def fill(row):
    return [{"id": f"more{n}", "score": -n, "text": "no"} for n in range(6)]


def test_files_of_rankings_are_judged_and_compare_as_their_results_do(pair):
    assert told("a.jsonl", "b.jsonl", "--metrics", "answer_recall passage_recall@1")["metrics"] == {
        name: found
        for name, found in told("a", "b", "--metrics", "answer_recall passage_recall@1")[
            "metrics"
        ].items()
    }


def test_depths_that_evaluate_was_not_asked_for_come_from_the_ranks(pair):
    report = told("a", "b", "--metrics", "answer_recall@3 passage_recall@2")
    for name, k in (("answer_recall@3", 3), ("passage_recall@2", 2)):
        expected = [sum(hits(ranks, k)) / COUNT for ranks in (A, B)]
        assert report["metrics"][name]["values"] == expected
    ran = call("compare", "b", "a", "--fail-if-worse", "answer_recall@2:0.01")
    assert ran.exit_code == 3 and "answer_recall@2 of a" in ran.stderr


def test_questions_that_a_run_lacks_count_0_and_are_said_once(pair):
    lines = (pair / "b/run.trec").read_text().splitlines(keepends=True)
    (pair / "part.trec").write_text("".join(line for line in lines if line[:3] != "q7 "))
    (pair / "qrels").write_text("".join(f"q{n} 0 p0 1\n" for n in range(COUNT)))
    ran = call("compare", "b/run.trec", "part.trec", "--qrels", "qrels", "--json")
    assert json.loads(ran.stdout)["notes"] == [
        "part.trec has no ranking of questions that count 0: 1"
    ]
    assert ran.stderr.count("part.trec has no ranking of") == 1


def test_trec_runs_are_judged_by_qrels_and_by_questions(pair):
    lines = [f"q{n}\t0\tp{r - 1}\t1\n" for n, r in enumerate(A) if r]
    (pair / "qrels").write_text("".join(lines))
    judged = told("a/run.trec", "b/run.trec", "--qrels", "qrels", "--metrics", "nDCG@5 P@1")
    assert judged["metrics"]["P@1"]["values"][0] == sum(hits(A, 1)) / len(lines)
    assert judged["metrics"]["nDCG@5"]["questions"] == len(lines)
    questions = [
        {"id": r["id"], "question": r["question"], "passage_ids": r["gold"]} for r in rows(A)
    ]
    write(pair / "questions.jsonl", questions)
    asked = told("a/run.trec", "b/run.trec", "--questions", "questions.jsonl")
    assert asked["metrics"]["passage_recall@1"]["values"][0] == sum(hits(A, 1)) / COUNT


def test_more_systems_are_all_paired(pair):
    write(pair / "c.jsonl", rows(ranks_of(2, 0.5)))
    report = told("a", "b", "c.jsonl", "--metrics", "answer_recall@1 answer_recall@5")
    pairs = [(p["a"], p["b"]) for p in report["metrics"]["answer_recall@1"]["pairs"]]
    assert pairs == [(0, 1), (0, 2), (1, 2)]
    assert report["tests"] == 6
    shown = call("compare", "a", "b", "c.jsonl").stdout
    assert "a a" in shown and "b b" in shown and "c c" in shown


def test_slices_are_compared_each_on_its_own_questions(pair):
    report = told("a", "b", "--by", "dataset,length", "--metrics", "answer_recall@1")
    even = report["slices"]["dataset"]["set 0"]
    assert even["questions"] == COUNT / 2
    assert even["metrics"]["answer_recall@1"]["values"] == [
        sum(hits(ranks[::2], 1)) / (COUNT / 2) for ranks in (A, B)
    ]
    assert set(report["slices"]["length"]) == {"1-5 words", "6-10 words"}
    shown = call("compare", "a", "b", "--by", "dataset").stdout
    assert "by dataset" in shown and "set 1" in shown


def test_an_option_that_is_given_again_adds_to_what_was_given(pair):
    twice = told("a", "b", "--by", "dataset", "--by", "length")
    assert list(twice["slices"]) == ["dataset", "length"]
    assert twice["slices"] == told("a", "b", "--by", "dataset,length")["slices"]


def test_a_seed_repeats_and_permutations_bound_p(pair):
    asked = ["a", "b", "--permutations", "99"]
    assert told(*asked, "--seed", "3")["metrics"] == told(*asked, "--seed", "3")["metrics"]


# --- several trainings ----------------------------------------------------------------------------


def test_one_training_against_one_is_a_comparison_of_models_and_said_so(pair):
    shown = call("compare", "a", "b").stdout
    assert "two models" in " ".join(shown.split())
    assert "not whether their methods do" in told("a", "b")["meaning"]


def test_trainings_of_a_system_are_one_system_with_a_spread(empty):
    for name, chance in (("base", 0.4), ("new", 0.9)):
        for seed in (1, 2, 3):
            ranks = ranks_of(seed, chance)
            write(empty / f"{name}-{seed}.jsonl", rows(ranks))
    base, new = (",".join(f"{name}-{n}.jsonl" for n in (1, 2, 3)) for name in ("base", "new"))
    report = told(base, new, "--metrics", "answer_recall@5")
    assert report["systems"] == ["base", "new"] and report["trainings"] == [3, 3]
    found = report["metrics"]["answer_recall@5"]
    means = [np.mean(hits(ranks_of(seed, 0.4), 5)) for seed in (1, 2, 3)]
    assert found["values"][0] == pytest.approx(np.mean(means))
    assert found["spreads"][0] == pytest.approx(np.std(means, ddof=1))
    assert found["pairs"][0]["test"] == "trainings" and found["pairs"][0]["p"] < 0.01
    assert "methods differ" in report["meaning"]
    shown = call("compare", base, new).stdout
    assert re.search(r"0\.\d{4} ±0\.\d{4}", shown)


def test_a_slice_of_one_question_has_no_interval_over_trainings(empty):
    for name in ("a1", "a2", "b1", "b2"):
        lines = [*rows(ranks_of(ord(name[0]) + int(name[1]), 0.5))]
        lines[0]["dataset"] = "lonely"
        write(empty / f"{name}.jsonl", lines)
    asked = ["a1.jsonl,a2.jsonl", "b1.jsonl,b2.jsonl", "--by", "dataset"]
    found = told(*asked)["slices"]["dataset"]["lonely"]["metrics"]["answer_recall@1"]
    assert found["questions"] == 1 and found["intervals"] == [None, None]
    assert found["pairs"][0]["p"] == 1.0 and found["pairs"][0]["interval"] is None
    assert "lonely" in call("compare", *asked).stdout


def test_trainings_that_have_only_a_first_letter_in_common_keep_their_names(empty):
    for number, name in enumerate(("bm25-1", "bert-1", "new-1", "new-2")):
        write(empty / f"{name}.jsonl", rows(ranks_of(number, 0.5)))
    report = told("bm25-1.jsonl,bert-1.jsonl", "new-1.jsonl,new-2.jsonl")
    assert report["systems"] == ["bm25-1,bert-1", "new"]


def test_a_file_with_a_comma_in_its_name_is_one_system(pair):
    (pair / "a.jsonl").rename(pair / "x,y.jsonl")
    assert told("x,y.jsonl", "b.jsonl")["trainings"] == [1, 1]


# --- forms and files ------------------------------------------------------------------------------


def test_markdown_is_a_table_that_its_readers_take(pair):
    lines = call("compare", "a", "b", "--format", "markdown").stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0].startswith("| metric | a | b | difference |")
    assert set(table[1]) <= set("|-: ")
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1
    assert r"answer\_recall@1" in table[2]


def test_latex_is_a_table_of_systems_with_the_best_in_bold(pair):
    (pair / "b").rename(pair / "50%_new")
    shown = call(
        "compare", "a", "50%_new", "--format", "latex", "--metrics", "answer_recall"
    ).stdout
    assert r"\begin{tabular}{llrr}" in shown and r"answer\_recall@5" in shown
    line = next(line for line in shown.splitlines() if line.startswith("$b$"))
    assert r"50\%\_new" in line and r"\textbf{" in line and "$^{a}$" in line
    assert shown.count("{") == shown.count("}")
    pairs = shown.split(r"\end{tabular}")[1].splitlines()
    assert [line.split(" & ")[:2] for line in pairs if line.startswith("answer")] == [
        [rf"answer\_recall@{k}", "a b"] for k in (1, 5)
    ]
    assert len({line.count(" & ") for line in pairs if line.endswith(r"\\")}) == 1


def test_warnings_tell_the_file_that_they_are_about(pair):
    lines = (pair / "b" / "results.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    for hit in row["ctxs"]:
        hit["score"] = 1.0
    (pair / "tied.jsonl").write_text("\n".join([json.dumps(row), *lines[1:]]))
    warned = call("compare", "a", "tied.jsonl").stderr
    assert "Warning: tied.jsonl: " in warned


def test_csv_has_a_row_for_each_pair_by_each_measure(pair):
    report = told("a", "b")
    found = list(csv.DictReader(io.StringIO(call("compare", "a", "b", "--csv").stdout)))
    assert [row["metric"] for row in found] == list(report["metrics"])
    for row in found:
        [of_pair] = report["metrics"][row["metric"]]["pairs"]
        assert float(row["p_holm"]) == of_pair["p_holm"]
        assert (row["a"], row["b"], int(row["wins"])) == ("a", "b", of_pair["wins"])
    sliced = call("compare", "a", "b", "--csv", "--by", "dataset").stdout.splitlines()
    assert sliced[0].startswith("by,slice,metric") and len(sliced) == 1 + 3 * len(found)


def test_flipped_questions_are_written_and_can_be_searched_with(pair):
    ran = call("compare", "a", "b", "--flips", "flips.jsonl")
    assert "flips.jsonl" in ran.stderr
    lines = [json.loads(line) for line in (pair / "flips.jsonl").read_text().splitlines()]
    at_5 = {line["id"]: v for line in lines if (v := line["measures"].get("answer_recall@5"))}
    expected = {
        f"q{n}": [float(a), float(b)]
        for n, (a, b) in enumerate(zip(hits(A, 5), hits(B, 5), strict=True))
        if a != b
    }
    assert at_5 == expected and expected
    (pair / "corpus.tsv").write_text("id\ttext\ttitle\n1\twhat is it\tt\n2\tno\tt\n")
    call("index", "--type", "bm25", "--passages", "corpus.tsv", "--output-dir", "index")
    found = call("search", "--index", "index", "--questions", "flips.jsonl", "-o", "found.jsonl")
    assert found.exit_code == 0, found.stderr
    assert len((pair / "found.jsonl").read_text().splitlines()) == len(lines)


def test_flipped_questions_on_stdout_are_alone_there(pair):
    call("compare", "a", "b", "--flips", "flips.jsonl")
    ran = call("compare", "a", "b", "--flips", "-")
    assert ran.stdout == (pair / "flips.jsonl").read_text()
    assert "won/lost/same" in ran.stderr


# --- --fail-if-worse ------------------------------------------------------------------------------


def test_a_system_that_is_worse_than_allowed_fails_after_the_table(pair):
    ran = call("compare", "b", "a", "--fail-if-worse", "answer_recall@5:0.005")
    assert ran.exit_code == 3
    assert "answer_recall@5" in ran.stdout
    assert re.search(r"Error: answer_recall@5 of a is 0\.\d{4}, 0\.\d{4} below b", ran.stderr)
    ran = call("compare", "b", "a", "--fail-if-worse", "answer_recall@5:0.005", "--json")
    assert ran.exit_code == 3 and json.loads(ran.stdout)["failures"]


def test_a_system_that_is_better_or_as_worse_as_allowed_passes(pair):
    assert call("compare", "a", "b", "--fail-if-worse", "answer_recall@5:0").exit_code == 0
    worse = (sum(hits(B, 5)) - sum(hits(A, 5))) / COUNT
    gate = f"answer_recall@5:{worse}"
    assert call("compare", "b", "a", "--fail-if-worse", gate).exit_code == 0
    gates = ["--fail-if-worse", gate, "--fail-if-worse", "answer_recall@1:0.001"]
    ran = call("compare", "b", "a", *gates)
    assert ran.exit_code == 3 and "answer_recall@1 of a" in ran.stderr


def test_the_others_are_held_against_the_first_system_alone(pair):
    write(pair / "c.jsonl", rows(A))
    gate = ("--fail-if-worse", "answer_recall@5:0")
    assert call("compare", "a", "b", "c.jsonl", *gate).exit_code == 0  # c is worse than b
    failed = call("compare", "b", "c.jsonl", "a", *gate, "--json")
    failures = json.loads(failed.stdout)["failures"]
    assert [re.search(r"of (\S+) is", one)[1] for one in failures] == ["c", "a"]


# --- what is refused ------------------------------------------------------------------------------


def refused(*words):
    ran = call("compare", *words)
    assert ran.exit_code == 1 and ran.stdout == ""
    [line] = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    return line


def test_an_arm_that_did_not_run_is_an_error_and_no_zero(pair):
    gate = ["--fail-if-worse", "answer_recall@5:0.5"]
    assert "gone: no such file" in refused("a", "gone", *gate)
    (pair / "empty.trec").write_text("")
    assert "empty.trec" in refused("a", "empty.trec", *gate)
    write(pair / "idle.jsonl", [dict(row, ctxs=[]) for row in rows(A)])
    assert "idle.jsonl: no ranking has a passage" in refused("a", "idle.jsonl", *gate)


def test_a_gate_is_not_decided_by_questions_that_a_run_lacks(pair):
    (pair / "qrels").write_text("".join(f"q{n} 0 p{n} 1\n" for n in range(10)))
    for name, has in (("whole", 10), ("half", 5), ("nearly", 9)):
        lines = (f"q{n} Q0 p{n} 1 2.5 run\nq{n} Q0 x 2 1.5 run\n" for n in range(has))
        (pair / f"{name}.trec").write_text("".join(lines))
    gate = ["--qrels", "qrels", "--metrics", "RR@2", "--fail-if-worse"]
    for words in (["half.trec", "whole.trec"], ["whole.trec", "half.trec"]):
        line = refused(*words, *gate, "RR@2:0.1")
        assert "half.trec has no ranking of 5 of 10 questions that others have" in line
    assert call("compare", "nearly.trec", "whole.trec", *gate, "RR@2:0.1").exit_code == 0
    assert "lacks" in refused("nearly.trec", "whole.trec", *gate, "RR@2:0.05")
    (pair / "same.trec").write_bytes((pair / "half.trec").read_bytes())
    assert call("compare", "half.trec", "same.trec", *gate, "RR@2:0").exit_code == 0


def test_a_search_that_found_nothing_at_all_is_no_zero_either(pair):
    (pair / "corpus.tsv").write_text("id\ttext\ttitle\n1\tzebra\tt\n")
    call("index", "--type", "bm25", "--passages", "corpus.tsv", "--output-dir", "index")
    call("evaluate", "--index", "index", "--questions", "a.jsonl", "--output-dir", "idle")
    assert "idle: has no passage for any of 40 questions" in refused("a", "idle")


def test_other_questions_are_refused_and_named(pair):
    write(pair / "others.jsonl", rows(A, offset=3))
    line = refused("a", "others.jsonl")
    assert "3 of 40 questions are in a alone, such as q0 ('what is 0')" in line
    write(pair / "words.jsonl", rows(A, word="who is"))
    assert "40 questions have another text, such as q0" in refused("a", "words.jsonl")


def test_questions_with_one_text_are_counted_and_one_id_twice_is_refused(pair):
    doubled = [dict(row, question="the same") for row in rows(A)]
    write(pair / "x.jsonl", doubled)
    write(pair / "y.jsonl", doubled)
    assert "40 questions have the text of another one" in " ".join(
        told("x.jsonl", "y.jsonl")["notes"]
    )
    write(pair / "z.jsonl", [dict(row, id="1") for row in rows(A)])
    assert "z.jsonl:2: the question id '1'" in refused("a", "z.jsonl")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a"], "two systems or more"),
        ([], "two systems or more"),
        (["a", "a"], "a and a are the same; name it once"),
        (["a", "b,"], "a path is empty"),
        (["a", "b", "--metrics", "answer_recall@7"], "was not measured for a"),
        (["a", "b", "--metrics", "answer_recall@7"], "evaluate --topk adds depths"),
        (["a", "b", "--metrics", "nDCG@10"], "was not measured for a"),
        (["a", "b", "--metrics", ""], "names nothing"),
        (["a", "b", "--fail-if-worse", "answer_recall@5"], "write MEASURE:SHARE"),
        (["a", "b", "--fail-if-worse", "answer_recall@5:x"], "write MEASURE:SHARE"),
        (["a", "b", "--fail-if-worse", "answer_recall@5:5"], "below 1"),
        (["a", "b", "--fail-if-worse", "answer_recal@5:0"], "did you mean 'answer_recall@5'"),
        (["a", "b", "--by", "tag"], "no question has a tag"),
        (["a", "b", "--questions", "gone.jsonl"], "--questions is for files of rankings"),
        (["a", "b", "--match", "regex"], "--match is for files of rankings"),
        (["a.jsonl", "b.jsonl", "--flips", "a.jsonl"], "is an input too"),
        (["a", "b", "--flips", "b/per_question.jsonl"], "is a file of the results there"),
        (["a.jsonl", "b.jsonl", "--flips", "a/manifest.json"], "is a file of the results there"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(pair, words, problem):
    assert problem in refused(*words)


def test_a_folder_that_was_changed_is_refused(pair):
    with (pair / "b/per_question.jsonl").open("a") as file:
        file.write("\n")
    assert "b/per_question.jsonl: damaged" in refused("a", "b")


def test_measures_that_only_one_system_has_are_left_out_and_said(pair):
    call("evaluate", "--results", "b.jsonl", "--topk", "1,3", "--output-dir", "c")
    report = told("a", "c")
    assert "answer_recall@3" not in report["metrics"]
    assert (
        "not all systems have them: answer_recall@5, passage_recall@5, answer_recall@3"
        in (report["notes"][0])
    )


# --- recipes and terminals ------------------------------------------------------------------------


def test_a_recipe_names_systems_relative_to_itself(pair, monkeypatch):
    write(pair / "b2.jsonl", rows(ranks_of(4, 0.9)))
    (pair / "dprkit.yaml").write_text(
        "compare:\n"
        "  systems: [a.jsonl, 'b.jsonl,b2.jsonl']\n"
        "  metrics: answer_recall@1\n"
        "  fail_if_worse: ['answer_recall@1:0.01']\n"
    )
    (pair / "below").mkdir()
    monkeypatch.chdir(pair / "below")
    report = told("--config", "../dprkit.yaml")
    assert report["trainings"] == [1, 2] and list(report["metrics"]) == ["answer_recall@1"]


@pytest.mark.parametrize("width", [44, 80, 200])
def test_a_narrow_terminal_gets_the_columns_that_are_needed_most(pair, width, monkeypatch):
    monkeypatch.setattr("dprkit.cli.tables.columns", lambda: width)
    monkeypatch.setattr("dprkit.cli.comparison_tables.columns", lambda: width)
    shown = call("compare", "a", "b").stdout.splitlines()
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert "difference" in text and "Holm" in text
    assert ("effect" in text) == (width == 200)


def test_answers_that_are_patterns_are_compared_as_such(empty):
    for name, ranks in (("a", A), ("b", B)):
        write(empty / f"{name}.jsonl", rows(ranks, answers=["i.$"]))
    found = told("a.jsonl", "b.jsonl", "--match", "regex")["metrics"]["answer_recall@1"]
    assert found["values"] == [sum(hits(A, 1)) / COUNT, sum(hits(B, 1)) / COUNT]


def test_results_keep_their_way_to_compare_answers_where_qrels_judge_the_passages(empty):
    for name, ranks in (("a", A), ("b", B)):
        file = write(empty / f"{name}.jsonl", rows(ranks, answers=["i.$"]))
        call("evaluate", "--results", file, "--match", "regex", "--output-dir", empty / name, "-q")
    (empty / "qrels").write_text("".join(f"q{n} 0 p0 1\n" for n in range(COUNT)))
    found = told("a", "b", "--qrels", "qrels")["metrics"]
    assert found["answer_recall@1"]["values"] == [sum(hits(A, 1)) / COUNT, sum(hits(B, 1)) / COUNT]
    assert found["R@1"]["values"] == [1, 1]
