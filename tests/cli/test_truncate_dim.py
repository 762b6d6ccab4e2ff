"""--truncate-dim: a corpus of shorter vectors, searched and measured, by the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.progress import Run
from dprkit.settings import EvaluateSettings
from dprkit.store.begin_or_resume import UP_TO_DATE, Previewed
from tests.conftest import call, remade

COUNT, SIZE, DEPTH = 60, 3, 5


def done(*words):
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def cosine(tmp_path_factory, small_retriever):
    """A retriever of 8 dimensions compared by cosine, trained to be cut to 8 and 3."""
    folder = tmp_path_factory.mktemp("cosine") / "model"
    folder.parent.joinpath("model").mkdir()
    for path in small_retriever.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(small_retriever)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    config = yaml.safe_load((folder / "retriever.yaml").read_text())
    config |= {"similarity": "cosine", "matryoshka": [8, SIZE]}
    (folder / "retriever.yaml").write_text(yaml.safe_dump(config))
    return remade(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny_passages):
    """60 passages, and 20 of them as questions that name their gold passage."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = tiny_passages.read_text().splitlines(keepends=True)
    (folder / "corpus.tsv").write_text("".join(lines[: COUNT + 1]))
    passages = list(read_passages(folder / "corpus.tsv"))
    rows = [
        {"id": f"q{n}", "question": " ".join(p.text.split()[:6]), "passage_ids": [p.id]}
        for n, p in enumerate(passages[::3])
    ]
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def units(vectors, size):
    first = vectors[:, :size].astype("f8")
    return first / np.linalg.norm(first, axis=1, keepdims=True)


def best(retriever, corpus, size):
    """The ids that numpy puts first, of whole vectors that are cut by hand."""
    model, passages = load_retriever(retriever), list(read_passages(corpus / "corpus.tsv"))
    questions = [one.question for one in read_questions(corpus / "dev.jsonl")]
    found = units(model.encode_passages(passages), size)
    scores = units(model.encode_questions(questions), size) @ found.T
    order = np.argsort(-scores, axis=1)[:, :DEPTH]
    return [[passages[row].id for row in line] for line in order]


def ranked(text):
    return [[ctx["id"] for ctx in json.loads(line)["ctxs"]] for line in text.splitlines()]


@pytest.fixture(scope="module")
def index(tmp_path_factory, cosine, corpus):
    folder = tmp_path_factory.mktemp("index")
    words = ("--retriever", cosine, "--passages", corpus / "corpus.tsv", "--truncate-dim", SIZE)
    done("encode-corpus", *words, "--output-dir", folder / "e", "--shard-size", 25)
    done("index", "--embeddings", folder / "e", "--output-dir", folder / "i")
    return folder


def test_an_index_of_cut_vectors_is_asked_by_cut_vectors(index, cosine, corpus):
    vectors = np.concatenate([np.load(f) for f in sorted((index / "e").glob("vectors-*.npy"))])
    assert vectors.shape == (COUNT, SIZE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    manifest = json.loads((index / "e/manifest.json").read_text())
    assert manifest["settings"]["truncate_dim"] == manifest["counts"]["truncate_dim"] == SIZE
    words = ("--questions", corpus / "dev.jsonl", "--topk", DEPTH, "--no-texts")
    assert ranked(done("search", "--index", index / "i", *words).stdout) == best(
        cosine, corpus, SIZE
    )


@pytest.mark.slow
def test_rankings_are_scored_again_by_cut_vectors(index, corpus, cosine):
    """Of an index of whole vectors; the embeddings are the cut ones."""
    words = ("--rerank", cosine, "--rerank-embeddings", index / "e", "--rerank-depth", COUNT)
    words = ("--questions", corpus / "dev.jsonl", "--topk", DEPTH, "--no-texts", *words)
    bm25 = ("--type", "bm25", "--passages", corpus / "corpus.tsv", "--output-dir", index / "b")
    done("index", *bm25)
    found = done("search", "--index", index / "b", *words).stdout
    model, passages = load_retriever(cosine), list(read_passages(corpus / "corpus.tsv"))
    vectors = dict(
        zip([p.id for p in passages], units(model.encode_passages(passages), SIZE), strict=True)
    )
    for row in map(json.loads, found.splitlines()):
        (asked,) = units(model.encode_questions([row["question"]]), SIZE)
        scores = [hit["score"] for hit in row["ctxs"]]
        assert scores and scores == sorted(scores, reverse=True)
        wanted = [asked @ vectors[hit["id"]] for hit in row["ctxs"]]
        np.testing.assert_allclose(scores, wanted, atol=1e-5)


@pytest.mark.slow
def test_passages_are_appended_and_updated_at_one_size(index, cosine, corpus, tmp_path):
    words = ("--retriever", cosine, "--passages", corpus / "corpus.tsv", "--output-dir")
    done("encode-corpus", *words, index / "e", "--truncate-dim", SIZE, "--shard-size", 25)
    other = call("encode-corpus", *words, index / "e", "--append", "--shard-size", 25)
    assert other.exit_code == 1
    assert "its truncate_dim was 3 and is None" in " ".join(other.stderr.split())
    done("encode-corpus", *words, tmp_path / "whole")
    update = ("--index", index / "i", "--add", tmp_path / "whole", "--output-dir", tmp_path / "u")
    other = call("update-index", *update)
    assert "not made with the number of dimensions" in " ".join(other.stderr.split())
    done("index", "--embeddings", tmp_path / "whole", "--output-dir", tmp_path / "w")
    done("encode-corpus", *words, tmp_path / "as-wide", "--truncate-dim", 8)
    whole = ("--index", tmp_path / "w", "--add", tmp_path / "as-wide")
    done("update-index", *whole, "--output-dir", tmp_path / "wu")
    done("encode-corpus", *words, tmp_path / "cut", "--truncate-dim", SIZE)
    done("update-index", *update[:3], tmp_path / "cut", *update[4:])
    words = ("--questions", corpus / "dev.jsonl", "--topk", DEPTH, "--no-texts")
    found = done("search", "--index", tmp_path / "u", *words).stdout
    assert ranked(found) == best(cosine, corpus, SIZE)


def test_several_sizes_are_measured_in_one_table_of_one_encoding(cosine, corpus, tmp_path):
    words = ("evaluate", "--retriever", cosine, "--corpus", corpus / "corpus.tsv", "--topk", "1,5")
    words = (*words, "--questions", corpus / "dev.jsonl", "--output-dir", tmp_path / "out")
    table = done(*words, "--truncate-dim", "8,3,2").stdout.splitlines()
    assert " ".join(table[0].split()) == "metric 8 dimensions 3 dimensions 2 dimensions n"
    encoded = (tmp_path / "out/embeddings/vectors-00000.npy").stat().st_mtime_ns
    report = json.loads(done(*words, "--truncate-dim", "8,3", "--json").stdout)
    assert (tmp_path / "out/embeddings/vectors-00000.npy").stat().st_mtime_ns == encoded
    gold = [[one.gold[0]] for one in read_questions(corpus / "dev.jsonl")]
    for size, folder in ((8, tmp_path / "out"), (SIZE, tmp_path / "out/dim-3")):
        wanted = best(cosine, corpus, size)
        found = ranked((folder / "results.jsonl").read_text())
        assert [line[:DEPTH] for line in found] == wanted
        recall = np.mean([one[0] in line for one, line in zip(gold, wanted, strict=True)])
        metrics = report["sizes"][str(size)]["metrics"]
        name = next(name for name in ("passage_success", "passage_recall") if name in metrics)
        assert metrics[name][str(DEPTH)] == pytest.approx(recall)
    assert done("compare", tmp_path / "out", tmp_path / "out/dim-3").exit_code == 0
    lines = done(*words, "--truncate-dim", "8,3", "--csv").stdout.splitlines()
    assert lines[0].startswith("size,metric,k,value")
    assert {line.partition(",")[0] for line in lines[1:]} == {"8", "3"}


@pytest.mark.slow
def test_a_preview_sees_a_size_that_was_not_measured(cosine, corpus, tmp_path):
    from dprkit.evaluation.evaluate import evaluate

    given = {
        "retriever": cosine,
        "corpus": corpus / "corpus.tsv",
        "questions": corpus / "dev.jsonl",
    }
    given = {name: str(path) for name, path in given.items()} | {"output_dir": str(tmp_path / "o")}
    evaluate(EvaluateSettings(**given, truncate_dim=(8, 3)))
    for sizes, state in (((8, 3), True), ((8, 3, 2), False)):
        with pytest.raises(Previewed) as preview:
            evaluate(EvaluateSettings(**given, truncate_dim=sizes), Run(only_preview=True))
        assert (preview.value.state == UP_TO_DATE) == state


def test_a_retriever_may_cut_its_own_vectors(small_retriever, cosine, tmp_path):
    whole = load_retriever(cosine).encode_questions(["who wrote hamlet", ""])
    cut = load_retriever(cosine, truncate_dim=SIZE)
    assert cut.dim == SIZE
    np.testing.assert_allclose(
        cut.encode_questions(["who wrote hamlet", ""]), units(whole, SIZE), atol=1e-6
    )
    dotted = load_retriever(small_retriever).encode_questions(["who wrote hamlet"])
    folder = tmp_path / "m"
    folder.symlink_to(small_retriever, target_is_directory=True)
    model, tokens = load_bi_encoder(folder)
    model.question_encoder.truncate_dim = SIZE
    ids = tokens.questions(["who wrote hamlet"])
    np.testing.assert_array_equal(
        model.question_encoder.vectors(ids).detach().numpy(), dotted[:, :SIZE]
    )


@pytest.mark.parametrize("command", ["encode-corpus", "evaluate"])
def test_sizes_that_do_not_fit_are_refused_before_anything_is_encoded(
    command, cosine, corpus, small_colbert, tmp_path
):
    flag = "--passages" if command == "encode-corpus" else "--corpus"
    more = () if command == "encode-corpus" else ("--questions", corpus / "dev.jsonl")
    words = (command, flag, corpus / "corpus.tsv", "--output-dir", tmp_path / "o", *more)
    for retriever, size, problem in (
        (cosine, "9", f"--truncate-dim 9: {cosine} gives vectors of 8 dimensions; give 8 or less"),
        (small_colbert, "4", "is a ColBERT model"),
        (cosine, "0", "0 is not valid" if command == "encode-corpus" else "'0' is not valid"),
    ):
        result = call(*words, "--retriever", retriever, "--truncate-dim", size)
        assert result.exit_code == 1
        assert problem in " ".join(result.stderr.split())
    assert not list(Path(tmp_path).rglob("vectors-*"))


def test_an_index_has_its_size(index, corpus, tmp_path):
    words = ("--questions", corpus / "dev.jsonl", "--output-dir", tmp_path / "o")
    result = call("evaluate", "--index", index / "i", *words, "--truncate-dim", "2")
    assert result.exit_code == 1
    assert "an index has the size that its corpus was encoded with" in " ".join(
        result.stderr.split()
    )


@pytest.mark.parametrize(
    ("which", "size", "told"),
    [
        ("cosine", 2, "was trained to be cut to 8, 3 dimensions, and not to 2"),
        ("cosine", 3, ""),
        ("small_retriever", 2, "names no sizes that it was trained to be cut to"),
        ("small_retriever", 8, ""),
    ],
)
@pytest.mark.slow
def test_a_size_that_was_not_trained_is_told(which, size, told, corpus, tmp_path, request):
    words = ("--passages", corpus / "corpus.tsv", "--output-dir", tmp_path / "e")
    retriever = request.getfixturevalue(which)
    result = done("encode-corpus", "--retriever", retriever, *words, "--truncate-dim", size)
    shown = " ".join(result.stderr.split())
    assert told in shown
    assert ("cut to" in shown) == bool(told)
