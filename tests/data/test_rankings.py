"""Rankings of other systems, against what their formats say and trec_eval's order."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.data import json_rows
from dprkit.data.rankings import read_results
from dprkit.errors import FormatError, InputError
from dprkit.records import Hit, Question, Ranking

SHARED = Path(__file__).resolve().parents[3] / "shared/data/eval_fixtures"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


def save(folder: Path, data: bytes | str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path) -> FormatError:
    with pytest.raises(FormatError) as caught:
        list(read_results(path))
    assert re.match(rf"{re.escape(str(path))}:(\d+|byte \d+): .+$", str(caught.value))
    return caught.value


# --- Pyserini -------------------------------------------------------------------------------------


def context(docid: object, score: object, text: str = '"T"\nx', **more: object) -> dict[str, Any]:
    return {"docid": docid, "score": score, "text": text, **more}


PYSERINI = {
    "0": {
        "question": "who {wrote} it",
        "answers": ["Ann"],
        "contexts": [
            context("12", "3.25", '"It"\nby Ann', has_answer=True),
            context(7, 3, "no title", has_answer=False),
        ],
    },
    'q"1\\': {"question": "next", "answers": [], "contexts": []},
    "é": {"question": "last", "answers": ["x"], "contexts": [context("a", -1.5, "T\nline\nline")]},
}
EXPECTED = [
    Ranking(
        Question("0", "who {wrote} it", ("Ann",)),
        (Hit("12", 3.25, "It", "by Ann", True), Hit("7", 3.0, "", "no title", False)),
    ),
    Ranking(Question('q"1\\', "next"), ()),
    Ranking(Question("é", "last", ("x",)), (Hit("a", -1.5, "T", "line\nline"),)),
]


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 18])
def test_pyserinis_form_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, chunk: int
) -> None:
    monkeypatch.setattr(json_rows.streams, "CHUNK", chunk)
    for ascii_ in (True, False):
        text = json.dumps(PYSERINI, indent=indent, ensure_ascii=ascii_)
        assert list(read_results(save(tmp_path, text))) == EXPECTED
        assert list(read_results(save(tmp_path, gzip.compress(text.encode())))) == EXPECTED


def test_pyserinis_form_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    text = json.dumps(PYSERINI).encode()
    for cut in range(1, len(text)):
        with pytest.raises(FormatError):
            list(read_results(save(tmp_path, text[:cut])))
    for broken in (text + b"x", text.replace(b'}, "', b'} "', 1), text + text):
        with pytest.raises(FormatError):
            list(read_results(save(tmp_path, broken)))


# --- TREC -----------------------------------------------------------------------------------------

IDS = st.text("abAB1é_-", min_size=1, max_size=3)
SCORES = st.sampled_from(["1", "1.00000001", "0.1", "-2", "1e-9", "16777216", "16777217", "-0.0"])


@given(st.dictionaries(IDS, SCORES, min_size=1, max_size=8), st.sampled_from([" ", "\t", "  "]))
def test_a_trec_run_is_ordered_as_trec_eval_orders_it(
    tmp_path_factory: pytest.TempPathFactory, scores: dict[str, str], blank: str
) -> None:
    """By float32 falling, then by the bytes of the passage's id falling."""
    lines = [blank.join(["q", "Q0", id_, "9", score, "run"]) for id_, score in scores.items()]
    path = save(tmp_path_factory.getbasetemp(), "\n".join(lines), "run.trec")
    [ranking] = read_results(path)
    order = sorted(scores, key=lambda id_: id_.encode(), reverse=True)
    order = sorted(order, key=lambda id_: -np.float32(scores[id_]))
    assert [hit.id for hit in ranking.hits] == order
    assert [hit.score for hit in ranking.hits] == [float(np.float32(scores[i])) for i in order]
    assert ranking.question == Question("q", "")


def test_the_questions_of_a_trec_run_follow_one_another(tmp_path: Path) -> None:
    path = save(tmp_path, "a Q0 1 1 2 r\na Q0 2 2 3 r\n\nb 0 1 1 1 r\n")
    assert list(read_results(path)) == [
        Ranking(Question("a", ""), (Hit("2", 3.0), Hit("1", 2.0))),
        Ranking(Question("b", ""), (Hit("1", 1.0),)),
    ]
    path = save(tmp_path, "a Q0 1 1 2 r\nb Q0 1 1 1 r\na Q0 2 2 1 r\n")
    error = refusal(path)
    assert (error.where, "'a' is that of another ranking" in error.problem) == (3, True)


@with_shared
def test_a_published_run_has_the_order_of_its_evaluation() -> None:
    """num_ret and the order of ties of trec_eval's own example."""
    path = SHARED / "trec_eval/results.test"
    rows = [line.split() for line in path.read_text().splitlines()]
    for ranking in read_results(path):
        own = [row for row in rows if row[0] == ranking.question.id]
        own.sort(key=lambda row: (np.float32(row[4]), row[2]), reverse=True)
        assert [hit.id for hit in ranking.hits] == [row[2] for row in own]


@with_shared
def test_dprs_own_results_pass_every_check() -> None:
    for path in sorted((SHARED / "dpr").glob("*.json.gz")):
        with gzip.open(path) as file:
            rows = json.load(file)
        found = list(read_results(path))
        assert [[hit.id for hit in ranking.hits] for ranking in found] == [
            [str(ctx["id"]).removeprefix("wiki:") for ctx in row["ctxs"]] for row in rows
        ]


# --- what is refused ------------------------------------------------------------------------------


def ranking(*ctxs: dict[str, object], **more: object) -> str:
    return json.dumps({"question": "q", "answers": ["a"], "ctxs": ctxs, **more})


GOOD = ranking({"id": "1", "score": 2}, {"id": "2", "score": "1.5"}, id="x")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ranking({"id": "1", "score": 1}, {"id": 1, "score": 0}), "the passage '1' is 2 times in"),
        (
            ranking({"id": "wiki:1", "score": 1}, {"id": 1, "score": 0}),
            "the passage '1' is 2 times in",
        ),
        (GOOD, "the question id 'x' is that of another ranking too"),
        (
            ranking({"id": "1", "score": 1}, {"id": "2", "score": 1.5}),
            "not in the order of its scores: 1.5 at rank 2 follows 1; sort it",
        ),
        (ranking({"id": "1"}), "the passage at rank 1 has no score"),
        (ranking({"id": "1", "score": None}), "the passage at rank 1 has no score"),
        (ranking({"id": "1", "score": "nan"}), "the score 'nan' at rank 1 is not a finite number"),
        (
            ranking({"id": "1", "score": "-inf"}),
            "the score '-inf' at rank 1 is not a finite number",
        ),
        (
            ranking({"id": "1", "score": "1e999"}),
            "the score '1e999' at rank 1 is not a finite number",
        ),
        (
            ranking({"id": "1", "score": "high"}),
            "the score 'high' at rank 1 is not a finite number",
        ),
        (ranking({"id": "1", "score": float("nan")}), "not JSON"),
        (ranking({"id": "1", "score": True}), "score is true or false; it has to be"),
        (ranking({"score": 1}), r"ctxs[0] lacks the field id"),
        (ranking(answers="a"), "the field answers is text; it has to be a list"),
    ],
)
def test_a_ranking_that_cannot_be_measured_is_refused_with_its_line(
    tmp_path: Path, row: str, problem: str
) -> None:
    error = refusal(save(tmp_path, f"{GOOD}\n\n{row}\n"))
    assert error.where == 3
    assert problem in error.problem
    error = refusal(save(tmp_path, f"[{GOOD}, {row}]"))
    assert error.where == f"byte {len(GOOD) + 3}"
    assert problem in error.problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q Q0 2 2 nan r", "the score 'nan' is not a finite number"),
        ("q Q0 2 2 1e39 r", "the score '1e39' is not a finite number"),  # beyond float32
        ("q Q0 2 2 high r", "the score 'high' is not a finite number"),
        ("q Q0 2 2 1", "5 columns: neither JSON nor a TREC run, whose lines have six"),
        ("question,answer", "1 columns: neither JSON nor a TREC run"),
        ("q Q0 1 2 1 r", "the passage '1' is 2 times in the ranking of question 'q'"),
    ],
)
def test_a_line_that_is_none_of_a_trec_run_is_refused(
    tmp_path: Path, line: str, problem: str
) -> None:
    error = refusal(save(tmp_path, f"q Q0 1 1 2 r\n{line}\n"))
    assert problem in error.problem
    assert error.where == (1 if "times" in problem else 2)


def test_a_folder_of_results_is_its_file(tmp_path: Path) -> None:
    save(tmp_path, GOOD + "\n", "results.jsonl")
    assert list(read_results(tmp_path)) == list(read_results(tmp_path / "results.jsonl"))
    (tmp_path / "results.jsonl").unlink()
    with pytest.raises(InputError, match="is a directory; name a file in it"):
        list(read_results(tmp_path))
