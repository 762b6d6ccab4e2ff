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

from dprkit.data import json_rows, rankings, trec
from dprkit.data.rankings import read_results
from dprkit.errors import FormatError, InputError
from dprkit.records import Hit, Question, Ranking

SHARED = Path(__file__).resolve().parents[3] / "shared/data/eval_fixtures"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


IDS = st.text("abAB1é_-", min_size=1, max_size=3)
SCORES = st.sampled_from(["1", "1.00000001", "0.1", "-2", "1e-9", "16777216", "16777217", "-0.0"])


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


# --- run dicts ------------------------------------------------------------------------------------

SCORED = {"q2": {"b": 1, "a": 1.0, "c": "2.5"}, "q1": {}, "é": {'"x': -3e-7}}
META = {"mteb_model_meta": {"model_name": "m", "revision": None}}


@pytest.mark.parametrize(
    "nested",
    [SCORED, META | {"default": {"test": SCORED}}, {"en": {"test": SCORED}} | META],
    ids=["plain", "MTEB's", "MTEB's, the model last"],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_run_dict_is_read_and_ordered_as_trec_eval_does(
    tmp_path: Path, nested: dict[str, Any], indent: int | None
) -> None:
    path = save(tmp_path, gzip.compress(json.dumps(nested, indent=indent).encode()))
    assert list(read_results(path)) == [
        Ranking(Question("q2", ""), (Hit("c", 2.5), Hit("b", 1.0), Hit("a", 1.0))),
        Ranking(Question("q1", ""), ()),
        Ranking(Question("é", ""), (Hit('"x', -3e-7),)),
    ]


@given(st.dictionaries(IDS, st.floats(-3e38, 3e38), max_size=8))
def test_a_run_dict_has_the_order_of_the_same_run_as_trec_writes_it(
    tmp_path_factory: pytest.TempPathFactory, scores: dict[str, float]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    lines = "".join(f"q Q0 {id_} 1 {score!r} r\n" for id_, score in scores.items())
    expected = list(read_results(save(folder, lines))) if lines else []
    [found] = read_results(save(folder, json.dumps({"q": scores})))
    order = [hit.id for ranking in expected for hit in ranking.hits]
    assert [hit.id for hit in found.hits] == order
    assert [np.float32(hit.score) for hit in found.hits] == [np.float32(scores[i]) for i in order]


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ({"q": {"a": None}}, "the score of passage 'a' for question 'q' is null"),
        ({"q": {"a": "high"}}, "the score 'high' of passage 'a' for question 'q' is not a finite"),
        ({"q": {"a": float("nan")}}, "not JSON: NaN stands for a number"),
        ({"q": {"a": [1]}}, "is a list; it has to be"),
        (META | {"default": {"dev": SCORED, "test": SCORED}}, "two runs, default/dev and default/"),
        (META | {"en": {"dev": SCORED}, "de": {"dev": SCORED}}, """jq '."de"."dev"' FILE"""),
        ({}, "holds no ranking"),
        (META, "holds no ranking"),
    ],
)
def test_a_run_dict_that_cannot_be_measured_is_refused(
    tmp_path: Path, run: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(save(tmp_path, json.dumps(run))).problem


# --- sentence-transformers ------------------------------------------------------------------------


def test_predictions_of_sentence_transformers_are_read(tmp_path: Path) -> None:
    """As InformationRetrievalEvaluator writes them with write_predictions=True."""
    row = {
        "query_id": "0",
        "query": "who wrote it",
        "results": [{"corpus_id": "7", "score": 0.5}, {"corpus_id": "12", "score": -0.25}],
    }
    path = save(tmp_path, json.dumps(row) + "\n")
    hits = (Hit("7", 0.5), Hit("12", -0.25))
    assert list(read_results(path)) == [Ranking(Question("0", "who wrote it"), hits)]
    row = {"query_id": "0", "query": "who", "positive": ["x"], "documents": ["x", "y"]}
    problem = refusal(save(tmp_path, json.dumps(row))).problem
    assert "lacks the field results; it looks like fused predictions" in problem


# --- TREC -----------------------------------------------------------------------------------------


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


RUN = "a Q0 1 1 2 r\nb \t0\t1 x \t1\t1\tr\na Q0 2 2 3 r\n\nc Q0 1 1 0 r\n"
GROUPED = [
    Ranking(Question("a", ""), (Hit("2", 3.0), Hit("1", 2.0))),
    Ranking(Question("b", ""), (Hit("1 x", 1.0),)),
    Ranking(Question("c", ""), (Hit("1", 0.0),)),
]


def test_the_lines_of_a_question_of_a_trec_run_may_lie_apart(tmp_path: Path) -> None:
    assert list(read_results(save(tmp_path, RUN))) == GROUPED


def test_lines_too_far_apart_for_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, RUN)
    monkeypatch.setattr(trec, "HELD", 2)
    error = refusal(path)
    assert (error.where, "sort the run: LC_ALL=C sort -s -k1,1" in error.problem) == (3, True)
    ordered = "\n".join(sorted(path.read_text().splitlines(), key=lambda line: line[:1]))
    assert list(read_results(save(tmp_path, ordered))) == GROUPED


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
        (ranking({"id": "1", "score": float("nan")}), "not JSON: NaN stands for a number"),
        (
            ranking({"id": "1", "score": float("-inf")}),
            "not JSON: -Infinity stands for a number",
        ),
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
        ("q 0 1 2", "4 columns (judgements go to --qrels): neither JSON nor"),
        ("q\t1\t1", "3 columns (MS MARCO's form has no scores): neither JSON nor"),
        ("q Q0 1 2 1 r", "the passage '1' of question 'q' is on line 1 too"),
    ],
)
def test_a_line_that_is_none_of_a_trec_run_is_refused(
    tmp_path: Path, line: str, problem: str
) -> None:
    error = refusal(save(tmp_path, f"q Q0 1 1 2 r\n{line}\n"))
    assert problem in error.problem
    assert error.where == 2


def test_a_folder_of_results_is_its_file(tmp_path: Path) -> None:
    save(tmp_path, GOOD + "\n", "results.jsonl")
    assert list(read_results(tmp_path)) == list(read_results(tmp_path / "results.jsonl"))
    (tmp_path / "results.jsonl").unlink()
    with pytest.raises(InputError, match="is a directory; name a file in it"):
        list(read_results(tmp_path))


def test_a_passage_that_has_two_texts_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        ranking({"id": "1", "score": 1, "text": text}, {"id": "2", "score": 0}, id=id_)
        for id_, text in (("a", "one"), ("b", ""), ("c", "one"), ("d", "two"), ("e", "three"))
    ]
    path, told = save(tmp_path, "\n".join(rows)), list[str]()
    assert len(list(read_results(path, told.append))) == 5
    assert len(told) == 1
    assert told[0].startswith(f"{path}:4: the passage '1' has another text than")
    monkeypatch.setattr(rankings, "WATCHED", 0)
    assert len(list(read_results(path, told.append))) == 5
    assert len(told) == 1


@pytest.mark.parametrize("text", ["[]", "{}", " [ ]\n"])
def test_a_file_without_rankings_is_refused(tmp_path: Path, text: str) -> None:
    assert "holds no ranking" in refusal(save(tmp_path, text)).problem
