"""mine-negatives at the command line: every flag, what comes of it, and training on it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dprkit.embeddings.encode import encode_corpus
from dprkit.indexes.build import index
from dprkit.models.retriever import load_retriever
from dprkit.search.open_index import open_index
from dprkit.settings import EncodeSettings, IndexSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import DPRKIT, call, environment, words_of, write_reader
from tests.interop.foreign import save_cross_encoder

ROWS = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_examples, tiny_passages):
    """A folder with few.jsonl and a BM25 index, words."""
    folder = tmp_path_factory.mktemp("mine")
    rows = json.loads(tiny_examples.read_text())[:ROWS]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = IndexSettings(
        type="bm25", passages=str(tiny_passages), output_dir=str(folder / "words")
    )
    index(words)
    return folder


def mine(place, target, *words):
    """The report of the command, and its rows."""
    given = ["--train-file", place / "few.jsonl", "--output-dir", target, "--json"]
    result = call("mine-negatives", *given, *words)
    assert result.exit_code == 0, result.stderr
    lines = (Path(target) / "train.jsonl").read_text().splitlines()
    return json.loads(result.stdout), [json.loads(line) for line in lines]


def ids(row):
    return [passage["passage_id"] for passage in row["hard_negative_ctxs"]]


def test_the_table_has_the_scores_and_what_each_rule_left_out(place, tmp_path):
    words = ["--train-file", place / "few.jsonl", "--index", place / "words", "--to", "9"]
    words += ["--num", "8", "--no-merge", "--output-dir", tmp_path / "mined"]
    shown = call("mine-negatives", *words)
    assert shown.exit_code == 0, shown.stderr
    counts = read_manifest(tmp_path / "mined").counts
    pieces = [re.split(r"  +", line) for line in shown.stdout.splitlines()]
    lines = {first: rest for first, *rest in pieces}
    assert lines["left out: has the id of a positive"][0] == str(counts["dropped"]["same_id"])
    (scores,) = counts["scores"]
    row = f"median {scores['positive']['median']:.4f} {scores['negative']['median']:.4f}"
    assert row in " ".join(shown.stdout.split())
    again = call("mine-negatives", *words, "--csv")
    header, *rows = [line.split(",") for line in again.stdout.splitlines()]
    assert header == ["index", "figure", "positive", "negative", "difference"]
    assert rows[0][1:] == ["count", str(ROWS), str(counts["mined"]), str(counts["mined"])]
    assert "up to date" in again.stderr


def test_every_rule_has_a_sentence_in_the_table():
    from dprkit.cli import mining_table
    from dprkit.mining import rules

    assert tuple(mining_table.RULES) == rules.RULES


def test_the_audit_file_has_a_sample_of_each_decision(place, tmp_path):
    report, _ = mine(
        place, tmp_path / "m", "--index", place / "words", "--audit", 5, "--absolute-margin", 1
    )
    lines = (tmp_path / "m/audit.jsonl").read_text().splitlines()
    sampled = [json.loads(line) for line in lines]
    outcomes = [one["outcome"] for one in sampled]
    assert {name: outcomes.count(name) for name in outcomes} == {
        name: min(5, count) for name, count in {**report["dropped"], "kept": 99}.items()
    }
    for one in sampled:
        assert one["index"] == str(place / "words")
        assert one["passage"]["text"]
        assert one["positive"]["text"]
        assert (one["outcome"] == "absolute_margin") <= (one["score"] > one["positive_score"] - 1)


def test_another_corpus_and_a_reader_in_place_of_an_index_are_refused(place, tmp_path):
    (tmp_path / "other.tsv").write_text("id\ttext\ttitle\n1\tred\t\n")
    words = ["--type", "bm25", "--passages", tmp_path / "other.tsv"]
    assert call("index", *words, "--output-dir", tmp_path / "other").exit_code == 0
    given = ["--train-file", place / "few.jsonl", "--output-dir", tmp_path / "out"]
    both = ["--index", place / "words", "--index", tmp_path / "other"]
    result = call("mine-negatives", *given, *both)
    assert result.exit_code != 0
    assert "only indexes of the same corpus can be put together" in " ".join(result.stderr.split())
    result = call("mine-negatives", *given, "--index", tmp_path)
    assert result.exit_code != 0
    result = call(
        "mine-negatives", *given, "--index", place / "words", "--relabel", "reader", "--reader",
        place / "words",
    )  # fmt: skip
    assert result.exit_code != 0
    assert "reader" in result.stderr


# --- with models ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_fused_indexes_are_mined_as_search_ranks_them(place, small_index, tmp_path):
    words = ["--index", small_index, "--hybrid", place / "words", "--weights", "0.3,0.7"]
    words += ["--fusion", "rrf", "--match", "none", "--num", 6, "--no-merge"]
    report, rows = mine(place, tmp_path / "m", *words)
    asked = tmp_path / "q.txt"
    asked.write_text("".join(row["question"] + "\n" for row in rows))
    search = ["--index", small_index, "--hybrid", place / "words", "--weights", "0.3,0.7"]
    search += ["--fusion", "rrf", "--questions", asked, "-o", tmp_path / "found"]
    assert call("search", *search).exit_code == 0
    for row, line in zip(rows, (tmp_path / "found").read_text().splitlines(), strict=True):
        gold = row["positive_ctxs"][0]["passage_id"]
        found = [hit["id"] for hit in json.loads(line)["ctxs"] if hit["id"] != gold]
        assert ids(row) == found[:6]
    assert report["scores"][0]["index"] == str(small_index)


@pytest.mark.slow
def test_a_teacher_leaves_out_what_it_prefers_to_the_positive(place, small_retriever, tmp_path):
    """By the products of a retriever's vectors, with a margin."""
    words = ["--index", place / "words", "--no-merge", "--num", 4, "--to", 40]
    words += ["--teacher", small_retriever, "--teacher-margin", -0.01]
    report, rows = mine(place, tmp_path / "taught", *words)
    _, free = mine(place, tmp_path / "free", "--index", place / "words", "--no-merge", "--num", 40)
    model, refused = load_retriever(small_retriever), 0
    for row, all_ in zip(rows, free, strict=True):
        question = row["question"]
        texts = [
            (p["title"], p["text"]) for p in (*row["positive_ctxs"], *all_["hard_negative_ctxs"])
        ]
        bar, *scores = model.scores([question] * len(texts), texts)
        left = [id_ for id_, score in zip(ids(all_), scores, strict=True) if score <= bar - 0.01]
        assert ids(row) == left[:4]
        refused += len(left) < len(scores)
    assert report["dropped"]["teacher"] > 0 < refused


def test_a_teacher_whose_training_diverged_is_refused(place, tmp_path):
    save_cross_encoder(tmp_path / "teacher")
    file = tmp_path / "teacher" / "model.safetensors"
    weights = load_file(file)
    weights["classifier.bias"][:] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    words = ["--train-file", place / "few.jsonl", "--index", place / "words", "--num", 2]
    words += ["--teacher", tmp_path / "teacher", "--output-dir", tmp_path / "mined"]
    result = call("mine-negatives", *words)
    assert result.exit_code == 1 and "no numbers (NaN)" in result.stderr, result.stderr
    assert "--teacher" in result.stderr


@pytest.mark.slow
def test_a_late_index_is_mined_and_scores_positives_it_did_not_find(
    place, small_colbert, tiny_passages, tmp_path
):
    tokens, late = str(tmp_path / "tokens"), str(tmp_path / "late")
    encode_corpus(
        EncodeSettings(retriever=str(small_colbert), passages=str(tiny_passages), output_dir=tokens)
    )
    index(IndexSettings(embeddings=tokens, output_dir=late))
    report, rows = mine(place, tmp_path / "m", "--index", late, "--to", 3, "--num", 2)
    (scores,) = report["scores"]
    assert scores["positive"]["count"] == ROWS
    whole = open_index(late).search([row["question"] for row in rows], 282)
    golds = [row["positive_ctxs"][0]["passage_id"] for row in rows]
    wanted = [
        next(hit.score for hit in one.hits if hit.id == gold)
        for one, gold in zip(whole, golds, strict=True)
    ]
    np.testing.assert_allclose(scores["positive"]["mean"], np.mean(wanted), rtol=1e-5)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes_and_a_retriever_trains_on_them(place, tmp_path):
    rows = (place / "few.jsonl").read_text() * 200
    (tmp_path / "many.jsonl").write_text(rows)
    words = ["mine-negatives", "--train-file", tmp_path / "many.jsonl", "--index", place / "words"]
    words += ["--pick", "around", "--relative-margin", 0.05, "--batch-size", 4, "--quiet"]
    assert call(*words, "--output-dir", tmp_path / "whole").exit_code == 0
    killed = [*DPRKIT, *map(str, words), "--output-dir", str(tmp_path / "killed")]
    program = "import dprkit.mining.mine as mine, sys; mine.SAVED_EVERY = 0.01\n"
    program += "from dprkit.__main__ import main; sys.argv[0] = 'dprkit'; main()"
    for _ in range(2):
        ran = subprocess.Popen([killed[0], "-c", program, *killed[3:]], env=environment())
        grown = tmp_path / "killed/growing.jsonl"
        before = grown.stat().st_size if grown.exists() else 0
        while ran.poll() is None and not (
            grown.exists() and grown.stat().st_size > before + 50_000
        ):
            time.sleep(0.01)
        ran.send_signal(signal.SIGKILL)
        assert ran.wait() == -signal.SIGKILL
        assert json.loads((tmp_path / "killed/progress.json").read_text())["state"]["tally"]
    assert call(*words, "--output-dir", tmp_path / "killed").exit_code == 0
    for name in ("train.jsonl", "audit.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    identity = {read_manifest(tmp_path / name).identity for name in ("whole", "killed")}
    assert len(identity) == 1

    mine(place, tmp_path / "mined", "--index", place / "words")
    train = ["train", "--train-file", tmp_path / "mined/train.jsonl", "--max-steps", 2]
    train += ["--hard-negatives", 3, "--batch-size", 4, "--scratch-hidden-size", 16]
    train += ["--scratch-vocab-size", 400, "--projection", 8, "--valid-every", "never"]
    result = call(*train, "--output-dir", tmp_path / "model", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_reader_decides_which_passages_become_positives(precision, tiny_examples, tmp_path):
    """Of three that hold the answer and rank above the positive, those it finds the answer in."""
    from dprkit.answer_scores import exact_match
    from dprkit.models.best_spans import best_spans
    from dprkit.models.reading import load_reader
    from dprkit.records import Passage

    reader = write_reader(tmp_path / "reader", tiny_examples)
    texts = {
        "only": "may",
        "more": "may may may june and july",
        "most": "may may june july august and then december",
        "gold": "one long text of many other words with may in it, and no more of it than that",
        "none": "june",
    }
    words_of(tmp_path, texts)
    row = {"question": "may june", "answers": ["May"], "passage_ids": ["gold"]}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    (ranking,) = open_index(tmp_path / "words").search([row["question"]])
    found = [hit.id for hit in ranking.hits]
    above = [id_ for id_ in found[: found.index("gold")] if id_ != "none"]
    passages = [Passage(id_, texts[id_]) for id_ in above]
    confirmed = []
    for passage, read in zip(
        passages,
        load_reader(reader, precision).logits([row["question"]] * len(above), passages),
        strict=True,
    ):
        (best,) = best_spans((read.start, read.end), read.offsets, passage.text, 10)
        if exact_match(passage.text[best.start : best.end], row["answers"]):
            confirmed.append(passage.id)
    words = ["--questions", tmp_path / "q.jsonl", "--index", tmp_path / "words", "--json"]
    words += ["--relabel", "reader", "--reader", reader, "--output-dir", tmp_path / "mined"]
    words += ["--precision", precision]
    result = call("mine-negatives", *words)
    assert result.exit_code == 0, result.stderr
    (made,) = map(json.loads, (tmp_path / "mined/train.jsonl").read_text().splitlines())
    assert "only" in confirmed
    assert [p["passage_id"] for p in made["positive_ctxs"]] == ["gold", *confirmed]
    assert ids(made) == ["none"]
    assert json.loads(result.stdout)["dropped"].get("answer", 0) == len(above) - len(confirmed)
