"""The shipped example data is what its README says and what the recipes count on."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dprkit.data.answer_matching import has_answer
from dprkit.settings import bundled

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    with bundled("bundled:tiny/examples.json").open(encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, str]]:
    with bundled("bundled:tiny/passages.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def contexts(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [*row["positive_ctxs"], *row["hard_negative_ctxs"], *row["negative_ctxs"]]


def words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def test_it_is_large_enough_to_learn_and_to_search(
    rows: list[dict[str, Any]], corpus: list[dict[str, str]]
) -> None:
    assert len(rows) >= 40
    assert len(corpus) >= 200
    recipe = yaml.safe_load((ROOT / "configs/tiny.yaml").read_text())
    assert sum(recipe["select-data"]["split"].values()) <= len(rows)


def test_every_row_has_what_the_default_selection_asks_for(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["question"].strip()
        assert row["answers"]
        for pool in ("positive_ctxs", "negative_ctxs", "hard_negative_ctxs"):
            assert row[pool]


def test_no_question_comes_twice(rows: list[dict[str, Any]]) -> None:
    questions = [words(row["question"]) for row in rows]
    assert len(set(questions)) == len(questions)


def test_no_passage_of_the_corpus_comes_twice(corpus: list[dict[str, str]]) -> None:
    assert len({passage["id"] for passage in corpus}) == len(corpus)
    assert len({words(passage["text"]) for passage in corpus}) == len(corpus)
    for passage in corpus:
        assert passage["text"].strip()
        assert passage["title"].strip()


def test_every_passage_of_a_row_is_in_the_corpus(
    rows: list[dict[str, Any]], corpus: list[dict[str, str]]
) -> None:
    known = {p["id"]: (p["title"], p["text"]) for p in corpus}
    for row in rows:
        for context in contexts(row):
            assert known[context["passage_id"]] == (context["title"], context["text"])


def test_the_pools_of_a_row_do_not_overlap(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        ids = [context["passage_id"] for context in contexts(row)]
        assert len(set(ids)) == len(ids)


def test_positives_hold_an_answer_and_negatives_hold_none(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for context in contexts(row):
            expected = context in row["positive_ctxs"]
            assert has_answer(row["answers"], context["text"]) == expected, row["question"]


def test_the_sets_of_the_recipe_share_no_question(rows: list[dict[str, Any]]) -> None:
    sizes = yaml.safe_load((ROOT / "configs/tiny.yaml").read_text())["select-data"]["split"]
    asked: set[str] = set()
    start = 0
    for size in sizes.values():
        block = {words(row["question"]) for row in rows[start : start + size]}
        assert len(block) == size
        assert not block & asked
        asked |= block
        start += size


def test_the_readme_counts_what_is_there(
    rows: list[dict[str, Any]], corpus: list[dict[str, str]]
) -> None:
    readme = (ROOT / "data/tiny/README.md").read_text()
    assert f"{len(corpus)} passages" in readme
    assert f"{len(rows)} DPR training rows" in readme
