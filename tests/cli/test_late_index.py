"""Late interaction from the shell: an index of token vectors goes through the same commands."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.models.retriever import load_retriever
from tests.conftest import call

TOPK = 20


def done(*words, **how):
    """The JSON of a command that ends well."""
    result = call(*words, "--json", **how)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*words):
    """The error of a command that ends with one line."""
    result = call(*words)
    assert result.exit_code == 1, result.stdout
    return result.stderr


def ids(*words, topk=TOPK):
    """For each question of q.jsonl the ids that a search finds."""
    rankings, _ = searched(*words, topk=topk)
    return rankings


def searched(*words, topk=TOPK):
    ran = call("search", "--questions", "q.jsonl", "--topk", topk, *words, "--no-texts")
    assert ran.exit_code == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return [[hit["id"] for hit in line["ctxs"]] for line in lines], [
        [hit["score"] for hit in line["ctxs"]] for line in lines
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_colbert, small_index, tiny_passages, tiny_examples):
    """A folder with a corpus of 250 passages encoded by a ColBERT model, both late indexes of it, 8
    questions, 32 more passages, and a bi-encoder's index."""
    folder = tmp_path_factory.mktemp("late") / "late"
    folder.mkdir()
    lines = [f"{p.id}\t{p.text}\t{p.title}" for p in read_passages(tiny_passages)]
    with contextlib.chdir(folder):
        shutil.copytree(small_colbert, "model")
        shutil.copytree(small_index.parent, "dense")
        shutil.copytree(Path(tiny_passages).parent, "tiny")
        for name, some in (("corpus", lines[:250]), ("fresh", lines[250:]), ("all", lines)):
            Path(f"{name}.tsv").write_text("\n".join(["id\ttext\ttitle", *some]) + "\n")
            words = ["--retriever", "model", "--passages", f"{name}.tsv", "--dtype", "int8"]
            done("encode-corpus", *words, "--output-dir", f"{name}-emb")
        examples = list(read_questions(tiny_examples))[:8]
        rows = [
            {"question": q.question, "answers": q.answers, "passage_ids": q.gold} for q in examples
        ]
        Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done("index", "--embeddings", "corpus-emb", "--output-dir", "late")
        words = ["--embeddings", "corpus-emb", "--type", "late-exact"]
        done("index", *words, "--output-dir", "late-exact")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of that folder, as the current folder."""
    folder = tmp_path / "späte"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def truth(made):
    """(ids of the passages, (Q, P) scores) by the Python face of the model."""
    with contextlib.chdir(made):
        texts = [q.question for q in read_questions("q.jsonl")]
        passages = list(read_passages("corpus.tsv"))
        return [p.id for p in passages], load_retriever("model").score_matrix(texts, passages)


def test_late_exact_finds_what_the_model_scores_best(here, truth):
    """int8 shards, so scores are as near as 8 bits bring them."""
    names, scores = truth
    found, given = searched("--index", "late-exact")
    for line, row, numbers in zip(found, scores, given, strict=True):
        own = np.array([row[names.index(id_)] for id_ in line])
        np.testing.assert_allclose(own, numbers, atol=0.1)
        assert own.min() >= np.sort(row)[-TOPK] - 0.2
        assert numbers == sorted(numbers, reverse=True)


def test_late_is_the_default_type_and_looks_at_all_of_a_small_corpus(here):
    manifest = json.loads(Path("late/manifest.json").read_bytes())
    assert manifest["settings"]["type"] == manifest["counts"]["type"] == "late"
    assert manifest["inputs"].keys() == {"embeddings", "passages", "retriever"}
    assert searched("--index", "late") == searched("--index", "late-exact")


def test_a_question_that_is_cut_is_said_once(here):
    long = "who wrote the play of the prince of denmark and of what else did he write then"
    Path("long.txt").write_text(f"a?\n{long}\n{long}, and why\n")
    told = call("search", "--index", "late", "--questions", "long.txt", "--batch-size", 1).stderr
    assert told.count(f"questions are cut at 12 tokens, such as {long[:60]!r}") == 1
    Path("short.txt").write_text("a?\n")
    assert "are cut" not in call("search", "--index", "late", "--questions", "short.txt").stderr


def test_candidates_count_in_search_and_in_evaluate_without_a_new_index(here):
    index = ["--embeddings", "corpus-emb", "--first-stage", "exact", "--output-dir", "means"]
    done("index", *index)
    few = ids("--index", "means", "--candidates", 5, topk=3)
    means = [set(line[:5]) for line in ids_of_means(5)]
    assert all({*line} <= five for line, five in zip(few, means, strict=True))
    words = ["evaluate", "--index", "means", "--questions", "q.jsonl", "--topk", "1,10"]
    all_of_them = done(*words, "--output-dir", "r")
    narrow = done(*words, "--output-dir", "r", "--candidates", 10)
    lines = [json.loads(line) for line in Path("r/results.jsonl").read_text().splitlines()]
    assert [[hit["id"] for hit in line["ctxs"]] for line in lines] == ids(
        "--index", "means", "--candidates", 10, topk=10
    )
    assert narrow["metrics"] != all_of_them["metrics"] or few
    again = call(*words, "--output-dir", "r", "--candidates", 10)
    assert "r: up to date" in again.stderr
    deeper = call(*words, "--output-dir", "r", "--candidates", 4)
    assert "candidates was 10 and is 4" in deeper.stderr
    done("index", *index, "--candidates", 5)
    assert ids("--index", "means", topk=3) == few
    idle = call("search", "--index", "late-exact", "--questions", "q.jsonl", "--candidates", 5)
    assert "--candidates 5: without effect on an index of type late-exact" in idle.stderr


def ids_of_means(count):
    """By brute force: the nearest passages to each question by the mean of the token vectors."""
    model = load_retriever("model")
    texts = [q.question for q in read_questions("q.jsonl")]
    passages = list(read_passages("corpus.tsv"))
    scores = model.question_vectors(texts).means() @ model.passage_vectors(passages).means().T
    return [[passages[row].id for row in np.argsort(-line)[:count]] for line in scores]


@pytest.mark.parametrize("kind", ["late", "late-exact"])
def test_only_ids_are_found(here, kind):
    some = ids("--index", "late-exact", topk=250)[0][::9]
    Path("only.txt").write_text("\n".join(some) + "\n")
    for line in ids("--index", kind, "--only-ids", "only.txt", topk=100):
        assert {*line} == {*some}
    assert ids("--index", kind, "--only-ids", "only.txt", topk=100)[0] == some


def test_late_is_one_of_two_engines(here):
    words = ["--passages", "corpus.tsv", "--type", "bm25", "--output-dir", "bm25"]
    done("index", *words)
    both, scores = searched("--index", "late", "--hybrid", "bm25")
    late, worded = searched("--index", "late", topk=100), searched("--index", "bm25", topk=100)

    def stretched(found, number):
        names, values = found[0][number], np.array(found[1][number])
        return dict(zip(names, (values - values.min()) / np.ptp(values), strict=True))

    parts = stretched(late, 0), stretched(worded, 0)
    summed = {id_: sum(part.get(id_, 0) for part in parts) for id_ in {*parts[0], *parts[1]}}
    best = sorted(summed.values(), reverse=True)[:TOPK]
    np.testing.assert_allclose(scores[0], best, atol=1e-5)
    assert both != late[0]


def test_bm25_is_built_of_the_embeddings_too_and_into_the_first_stage(here):
    done("index", "--embeddings", "corpus-emb", "--type", "bm25", "--output-dir", "bm25")
    words = ["--embeddings", "corpus-emb", "--first-stage", "ivf+bm25", "--output-dir", "both"]
    report = done("index", *words, "--nprobe", 2, "--candidates", 40)
    assert report["type"] == "late"
    found = ids("--index", "both", topk=TOPK)
    worded = ids("--index", "bm25", topk=20)
    assert all(len(line) == TOPK for line in found)
    exact = ids("--index", "late-exact", topk=250)
    ranks = [[line.index(id_) for id_ in own] for line, own in zip(exact, found, strict=True)]
    assert ranks == [sorted(own) for own in ranks]
    assert sum(len({*a} & {*b}) for a, b in zip(found, worded, strict=True)) > 8


@pytest.mark.parametrize("kind", ["late", "late-exact"])
def test_an_updated_index_finds_what_one_of_all_passages_finds(here, kind):
    words = ["--index", kind, "--add", "fresh-emb", "--output-dir", "up"]
    assert done("update-index", *words)["passages"] == 282
    done("index", "--embeddings", "all-emb", "--type", kind, "--output-dir", "anew")
    assert searched("--index", "up", topk=60) == searched("--index", "anew", topk=60)
    gone = ids("--index", "up", topk=3)[0]
    Path("gone.txt").write_text("\n".join(gone) + "\n")
    done("update-index", "--index", "up", "--remove", "gone.txt", "--output-dir", "up2")
    before, after = ids("--index", "up", topk=60)[0], ids("--index", "up2", topk=57)[0]
    assert [id_ for id_ in before if id_ not in gone] == after
    few = ids("--index", "up2", "--candidates", 60, topk=57)
    assert (few == ids("--index", "up2", topk=57)) or kind == "late"


def test_info_tells_what_a_late_index_is(here):
    shown = call("info", "late").stdout
    assert re.search(r"type: late\b", shown) and "candidates: 1,000" in shown
    assert re.search(r"tokens: [\d,]+", shown) and "model" in shown and "corpus-emb" in shown
    assert call("info", "--check", "late").exit_code == 0


def test_a_retriever_of_the_other_kind_is_refused_by_name(here):
    dense = Path("dense/index/manifest.json").read_text()
    bi_encoder = json.loads(dense)["inputs"]["retriever"]["path"]
    late = refused("search", "--index", "late", "--questions", "q.jsonl", "--retriever", bi_encoder)
    assert f"{bi_encoder}: is a bi-encoder, but late is a late index" in late
    words = ["--index", "dense/index", "--questions", "q.jsonl", "--retriever", "model"]
    for command in ("search", "evaluate"):
        told = refused(command, *words)
        assert "model: is a ColBERT retriever, but dense/index is a flat index" in told


def test_another_colbert_model_is_refused(here, tmp_path, tiny_examples):
    from tests.conftest import write_colbert

    write_colbert(Path("other"), tiny_examples, embedding_size=4)
    told = refused("search", "--index", "late", "--questions", "q.jsonl", "--retriever", "other")
    assert "was made with the retriever" in told and "other holds" in told


def test_types_that_do_not_fit_the_embeddings_are_refused_by_name(here):
    words = ["--embeddings", "corpus-emb", "--output-dir", "no"]
    assert "give --type late or late-exact" in refused("index", *words, "--type", "flat")
    dense = ["--embeddings", "dense/embeddings", "--output-dir", "no", "--type", "late"]
    assert "and no token vectors" in refused("index", *dense)
    assert "--first-stage: 'bm25' is not valid" in refused("index", *words, "--first-stage", "bm25")
    idle = call("index", "--embeddings", "dense/embeddings", "--output-dir", "i", "--candidates", 9)
    assert "--candidates: without effect on an index of type flat" in idle.stderr


def test_a_recipe_runs_with_a_late_index(here):
    Path("dprkit.yaml").write_text(
        "encode-corpus: {retriever: model, passages: corpus.tsv, dtype: int8}\n"
        "index: {first_stage: flat, candidates: 30}\n"
        "evaluate: {questions: q.jsonl, topk: [1, 10], candidates: 12}\n"
    )
    assert call("run").exit_code == 0
    again = call("run")
    assert again.exit_code == 0 and again.stderr.count("up to date") >= 3
    results = Path("runs/dprkit/results/results.jsonl").read_text().splitlines()
    found = [[hit["id"] for hit in json.loads(line)["ctxs"]] for line in results]
    assert found == ids("--index", "runs/dprkit/index", "--candidates", 12, topk=10)


def test_a_search_of_a_moved_workspace_finds_the_token_vectors(here, tmp_path):
    before = ids("--index", "late")
    shutil.copytree(here, tmp_path / "moved")
    shutil.rmtree(here / "corpus-emb")
    with contextlib.chdir(tmp_path / "moved"):
        assert ids("--index", "late") == before


def test_a_token_shard_that_is_cut_short_is_named_before_the_search(here):
    name = "corpus-emb/tokens-00000.npy"
    with Path(name).open("r+b") as file:
        file.truncate(1000)
    assert "tokens-00000.npy" in refused("search", "--index", "late", "--questions", "q.jsonl")
