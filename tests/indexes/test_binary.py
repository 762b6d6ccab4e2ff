"""The binary index: a bit for each number finds candidates, and the embeddings rank them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dprkit.errors import InputError
from dprkit.indexes import binary
from dprkit.indexes.build import index
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Progress, Run
from dprkit.settings import IndexSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call
from tests.indexes.test_exact import assert_same, brute_force, embeddings


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of 600 rows, taken 250 at a time."""
    monkeypatch.setattr(binary, "PART_ROWS", 600)
    monkeypatch.setattr(binary, "BITE", 250)


def corpus(dim, count=1500):
    """Vectors whose dimensions have means and widths of their own."""
    rng = np.random.default_rng(dim)
    noise = rng.standard_normal((count, dim)) * rng.uniform(0.5, 2, dim)
    return (noise + rng.standard_normal(dim)).astype(np.float32)


def built(folder, shards, **more):
    embeddings(folder / "e", shards)
    words = {"embeddings": str(folder / "e"), "output_dir": str(folder / "i"), "type": "binary"}
    index(IndexSettings(**words, **more))
    return IndexFolder(folder / "i")


def bit_scores(vectors, questions):
    """What the bits say: each number stands for the mean of those on its side of the mean."""
    above = vectors > vectors.mean(axis=0)
    high = np.array([column[up].mean() for column, up in zip(vectors.T, above.T, strict=True)])
    low = np.array([column[~up].mean() for column, up in zip(vectors.T, above.T, strict=True)])
    return questions @ np.where(above, high, low).T


def assert_best_of_candidates(hits, vectors, questions, count, allowed):
    """The hits are the best of the `count` rows of `allowed` that the bits put first."""
    by_bits = bit_scores(vectors, questions)
    for question, rows, scores, bits in zip(
        questions, hits.rows, hits.scores, by_bits, strict=True
    ):
        last, step = np.sort(bits[allowed])[-count], 0.02 * np.ptp(bits)
        sure, possible = (allowed[bits[allowed] > last + s] for s in (step, -step))
        assert {*rows} <= {*possible}
        best = brute_force(vectors, question[None], hits.rows.shape[1], np.union1d(sure, rows))
        np.testing.assert_array_equal(rows, best[0][0])
        np.testing.assert_array_equal(scores, best[1][0])


@pytest.mark.parametrize("dim", [12, 13, 64])
def test_the_best_of_the_candidates_are_ranked_as_exact_search_does(dim, tmp_path):
    """Candidates may differ from those by hand where scores differ by a step of FAISS's table."""
    vectors = corpus(dim)
    found = built(tmp_path, [vectors[:700], vectors[700:]], candidates=90).open_dense()
    questions = np.random.default_rng(1).standard_normal((7, dim)).astype(np.float32)
    hits = found.search(questions, 20)
    assert_best_of_candidates(hits, vectors, questions, 90, np.arange(len(vectors)))
    alone = [found.search(question[None], 20) for question in questions]
    np.testing.assert_array_equal(np.vstack([hit.rows for hit in alone]), hits.rows)


def test_with_all_rows_as_candidates_it_is_exact_search(tmp_path):
    vectors = corpus(12)
    folder = built(tmp_path, [vectors], candidates=5000)
    questions = corpus(12, 9)
    assert_same(folder.open_dense().search(questions, 30), brute_force(vectors, questions, 30))
    assert folder.depths == {"candidates": 5000}
    few = folder.open_dense({"candidates": 2}).search(questions, 30)
    assert few.rows.shape == (9, 30) and (few.rows >= 0).all()


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_no_row_is_found_that_is_not_allowed(share, tmp_path):
    vectors = corpus(12)
    found = built(tmp_path, [vectors], candidates=1400).open_dense()
    rng = np.random.default_rng(0)
    allowed = np.sort(rng.choice(1500, round(1500 * share), replace=False))
    questions = corpus(12, 5)
    assert_same(found.search(questions, 20, allowed), brute_force(vectors, questions, 20, allowed))
    assert found.search(questions, 20, allowed[:0]).rows.shape == (5, 0)


@pytest.mark.parametrize("dim", [4, 8])
def test_rows_that_score_least_do_not_push_out_the_best(dim, tmp_path):
    """Of few dimensions, where FAISS leaves out rows all of whose bits speak against them."""
    vectors, allowed = corpus(dim), np.arange(0, 1500, 5)
    found = built(tmp_path, [vectors], candidates=150).open_dense()
    questions = np.random.default_rng(1).standard_normal((7, dim)).astype(np.float32)
    hits = found.search(questions, 20, allowed)
    assert_best_of_candidates(hits, vectors, questions, 150, allowed)


class Stopped(Progress):
    def advance(self, count, facts=None):
        raise KeyboardInterrupt


def test_a_stopped_build_ends_with_the_same_bytes(tmp_path):
    whole = built(tmp_path / "a", [corpus(12)])
    embeddings(tmp_path / "b/e", [corpus(12)])
    words = {"embeddings": str(tmp_path / "b/e"), "output_dir": str(tmp_path / "b/i")}
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            index(IndexSettings(**words, type="binary"), Run(Stopped()))
    index(IndexSettings(**words, type="binary"))
    bits = [n for n in whole.manifest.files if n.startswith("bits-")]
    files = read_manifest(tmp_path / "b/i").files
    assert len(bits) == 3 and [files[n] for n in bits] == [whole.manifest.files[n] for n in bits]


def test_what_is_damaged_or_no_number_is_one_line(tmp_path):
    folder = built(tmp_path, [corpus(12)])
    path = tmp_path / "i/bits-00001.faiss"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(InputError, match=r"bits-00001.faiss: damaged; run dprkit index --restart"):
        folder.open_dense()
    bad = corpus(12)
    bad[1400, 3] = np.nan
    with pytest.raises(InputError, match="holds NaN or infinity; encode again"):
        built(tmp_path / "bad", [bad])
    with pytest.raises(ValueError, match="NaN"):
        folder = built(tmp_path / "good", [corpus(12)])
        folder.open_dense().search(bad[1400:1401], 3)


def test_equal_vectors_and_a_dimension_of_one_number_are_taken(tmp_path):
    vectors = np.tile(np.array([[1, 0, -2, 0.5]], np.float32), (50, 1))
    hits = built(tmp_path, [vectors]).open_dense().search(vectors[:2], 5)
    np.testing.assert_array_equal(hits.rows, [[0, 1, 2, 3, 4]] * 2)


@pytest.mark.slow
def test_the_commands_build_search_measure_and_update_it(
    small_index, small_retriever, tiny_passages, tiny_examples, tmp_path
):
    """From int8 vectors; the same passages as by exact search of them."""

    def ran(command, *words):
        done = call(command, *words, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    encoded, found = tmp_path / "e", tmp_path / "i"
    words = ["--retriever", small_retriever, "--passages", tiny_passages, "--dtype", "int8"]
    ran("encode-corpus", *words, "--output-dir", encoded)
    words = ["--embeddings", encoded, "--type", "binary"]
    ran("index", *words, "--candidates", 100, "--output-dir", found)
    made = (found / "bits-00000.faiss").stat().st_mtime_ns
    again = call("index", *words, "--candidates", 200, "--output-dir", found)
    assert "searched with candidates 200 from now on" in again.stderr
    assert (found / "bits-00000.faiss").stat().st_mtime_ns == made
    assert read_manifest(found).counts["candidates"] == 200
    ran("index", "--embeddings", encoded, "--type", "exact", "--output-dir", tmp_path / "x")
    asked = ["--questions", tiny_examples, "--topk", "1,20"]
    ours, theirs = (
        ran("evaluate", "--index", folder, *asked, *more)["metrics"]
        for folder, more in ((found, ["--candidates", 282]), (tmp_path / "x", []))
    )
    assert ours == theirs
    ids = [line.split("\t")[0] for line in tiny_passages.read_text().splitlines()[1:41]]
    (tmp_path / "gone.txt").write_text("\n".join(ids))
    up = ["--index", found, "--remove", tmp_path / "gone.txt", "--output-dir", tmp_path / "up"]
    assert ran("update-index", *up)["passages"] == 242
    up = ["--index", tmp_path / "up", "--questions", tiny_examples, "--candidates", 282]
    ran("search", *up, "-o", tmp_path / "r.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert rows and not {c["id"] for row in rows for c in row["ctxs"]} & {*ids}
    tuned = ran("tune-index", "--embeddings", encoded, "--questions", tiny_examples, "--types",
                "binary", "--output-dir", tmp_path / "t")  # fmt: skip
    assert tuned["rows"][0]["candidates"] and tuned["rows"][0]["recall"] >= 0.99
