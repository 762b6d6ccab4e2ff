"""search and index: settings that cannot all count are refused first, idle ones are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import call


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--weights 1,2", "--weights: there is one index only; name the other one with --hybrid"),
        ("--fusion rrf", "--fusion: there is one index only; name the other one with --hybrid"),
        ("--tune-on q", "--tune-on: there is one index only; name the other one with --hybrid"),
        ("--hybrid h --tune-on q --weights 1,2", "--weights and --tune-on both set the fusion"),
        ("--hybrid h --tune-on q --fusion rrf", "--fusion and --tune-on both set the fusion"),
        ("--hybrid h --weights 1,2,0.5", "--weights 1,2,0.5: give two numbers"),
        ("--hybrid h --weights 0,0", "--weights 0,0: give two numbers"),
    ],
)
def test_settings_of_a_search_that_contradict_are_refused_before_the_index_is_opened(
    empty, flags, problem
):
    """There is no index: one that were opened would be missed."""
    result = call("search", "--index", "nowhere", "--questions", "-", *flags.split(), input="q\n")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith(f"Error: {problem}")


def test_two_weights_of_a_hybrid_are_taken(work):
    index = Path("runs/dprkit/index")
    flags = ("--hybrid", index, "--weights", "1,3", "--topk", 3)
    result = call("search", "--index", index, "--questions", "-", *flags, input="who\n")
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["ctxs"]) == 3


def test_a_setting_without_effect_on_an_index_is_told(work):
    corpus = ("--passages", "bundled:tiny/passages.tsv")
    flags = ("--type", "bm25", *corpus, "--output-dir", "words")
    idle = ("--nprobe", 3, "--train-sample", 9, "--k1", 1.5)
    result = call("index", *flags, *idle)
    assert result.exit_code == 0, result.stderr
    told = "--train-sample, --nprobe: without effect on an index of type bm25"
    assert told in result.stderr
    assert "without effect" not in call("index", *flags, "--k1", 1.5, "--restart").stderr
    result = call("search", "--index", "words", "--questions", "-", "--nprobe", 4, input="who\n")
    assert result.exit_code == 0, result.stderr
    assert "--nprobe 4: without effect on an index of type bm25" in result.stderr


def test_a_setting_with_effect_on_an_index_is_not_told(work):
    flags = ("--type", "hnsw", "--output-dir", "graph", "--target-recall", 0.9)
    assert "without effect" not in call("index", *flags).stderr
    result = call("index", *flags, "--ef-search", 32, "--nprobe", 2)
    assert "--nprobe: without effect on an index of type hnsw" in result.stderr
    search = ("search", "--index", "graph", "--questions", "-", "--ef-search", 40)
    assert "without effect" not in call(*search, input="who\n").stderr
