"""--csv: the figures of a report as CSV, and tables in a pipe."""

from __future__ import annotations

import csv
import io
import json

import pytest

from dprkit.cli.tables import Sheet, bar, print_csv, sheet_of, table
from dprkit.indexes.tuning_points import Point
from tests.conftest import call, shell


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


# --- the commands ---------------------------------------------------------------------------------


def test_evaluate_prints_its_metrics_as_csv_and_nothing_else(work):
    told = json.loads(call("evaluate", "--json").stdout)
    ran = call("evaluate", "--csv")
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[0] == "metric,k,value,low,high,n,missing,unjudged,tied"
    assert {(row["metric"], row["k"]) for row in rows_of(ran.stdout)} == {
        (name, k) for name, shares in told["metrics"].items() for k in shares
    }
    for row in rows_of(ran.stdout):
        name, k = row["metric"], row["k"]
        assert float(row["value"]) == told["metrics"][name][k]
        assert [float(row["low"]), float(row["high"])] == told["intervals"][name][k]
        assert int(row["n"]) == told["counts"][name]
    assert "results/metrics.json" in ran.stderr  # where it wrote is told on stderr
    assert call("evaluate", "--csv", "--quiet").stdout == ran.stdout


def test_tune_index_prints_its_points_as_csv(work):
    asked = ["--embeddings", "runs/dprkit/embeddings", "--questions", "runs/dprkit/data/test.jsonl"]
    asked += ["--types", "flat", "--topk", "5", "--output-dir", "tuning"]
    ran = call("tune-index", *asked, "--csv")
    told = json.loads(call("tune-index", *asked, "--json").stdout)
    [row], [point] = rows_of(ran.stdout), told["rows"]
    assert row == {name: "" if value is None else str(value) for name, value in point.items()} | {
        "recommended": "true"
    }


def test_explain_prints_its_matches_as_csv(small_colbert):
    asked = ["explain", "--retriever", small_colbert, "--question", 'who, "he"', "--passage", "a"]
    ran = call(*asked, "--csv")
    matches = json.loads(call(*asked, "--json").stdout)["matches"]
    rows = rows_of(ran.stdout)
    assert [row["question_token"] for row in rows] == [m["question_token"] for m in matches]
    assert [float(row["similarity"]) for row in rows] == [m["similarity"] for m in matches]


def test_json_and_csv_together_are_refused(work):
    ran = call("evaluate", "--json", "--csv")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "--json and --csv both choose what stdout is; give one of them" in ran.stderr


def test_csv_and_an_output_on_stdout_are_refused(small_colbert):
    asked = ["explain", "--retriever", small_colbert, "--question", "a", "--passage", "b"]
    ran = call(*asked, "-o", "-", "--csv")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "--csv and --output both write to stdout; give --output a file" in ran.stderr


def test_a_command_without_figures_has_no_csv(work):
    ran = shell("index", "--csv", cwd=work)
    assert ran.returncode == 2
    assert "--csv" not in call("index", "--help").stdout


# --- sheets and tables ----------------------------------------------------------------------------


def test_a_sheet_keeps_whole_values(capfdbinary):
    print_csv(Sheet(("a", "b"), [(1 / 3, None), (True, 'é,"x"'), ([1, 2], "")]))
    assert capfdbinary.readouterr().out.decode() == (
        'a,b\n0.3333333333333333,\ntrue,"é,""x"""\n1 2,\n'
    )


def test_a_sheet_of_structs_has_their_fields_but_those_left_out():
    figures = dict.fromkeys(("recall", "build_seconds", "p50_ms", "p95_ms", "per_second"), 0.5)
    point = Point(type="flat", factory="Flat", bytes=1, memory=2, **figures)
    header, rows = sheet_of([point], leave=("factory",))
    assert header[:2] == ["type", "first_stage"]
    assert rows[0][:2] == ["flat", ""]
    assert sheet_of([]) == Sheet([], [])


def test_a_table_in_a_pipe_is_plain_and_has_a_line_a_row():
    header, rows = ("name", "what", "n"), [("a", "long words", "1"), ("bb", "x", "20")]
    assert table(header, rows, shares=[0.5, 1.0]) == [
        "name  what         n",
        "a     long words   1",
        "bb    x           20",
    ]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, ""), (0.5, "█████"), (0.55, "█████▌"), (1.0, "█" * 10), (None, ""), (2.0, "█" * 10)],
)
def test_a_bar_is_exact_to_an_eighth_of_a_character(share, shown):
    assert bar(share, 10) == shown
