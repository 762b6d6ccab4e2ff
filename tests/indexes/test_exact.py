"""Exact search against brute force: every score in float64, sorted whole."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from dprkit.embeddings import vector_blocks
from dprkit.embeddings.shards import Embeddings, write_shard
from dprkit.embeddings.vector_blocks import widen
from dprkit.errors import InputError
from dprkit.indexes import blas_threads, exact
from dprkit.indexes.exact import ExactIndex
from dprkit.progress import Run
from dprkit.settings import EncodeSettings
from dprkit.store.begin_or_resume import draft


def embeddings(folder, shards):
    """An embeddings artifact of these vectors, one array a shard."""
    settings = EncodeSettings(output_dir=str(folder))
    count = 0
    with draft(folder, "embeddings", settings, {}, Run()) as work:
        for number, vectors in enumerate(shards):
            ids = [str(count + i) for i in range(len(vectors))]
            write_shard(work, number, vectors, ids)
            count, dim = count + len(vectors), vectors.shape[1]
        work.finish({"passages": count, "dim": dim, "shards": number + 1})
    return Embeddings(folder)


def brute_force(vectors, questions, topk, allowed=None):
    rows = np.arange(len(vectors)) if allowed is None else allowed
    every = questions.astype(np.float64) @ vectors[rows].astype(np.float64).T
    scores = every.astype(np.float32)
    order = np.array([np.lexsort((rows, -line)) for line in scores])[:, :topk]
    return rows[order], np.take_along_axis(scores, order, 1)


def with_ties(rng, rows, dim, dtype):
    """Vectors of which many are equal, and of which many scores are, exactly and nearly."""
    vectors = rng.integers(-2, 3, (rows, dim)) + rng.choice([0, 2**-9], (rows, dim))
    vectors[rng.integers(rows, size=rows // 3)] = vectors[0]
    return vectors.astype(dtype)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.rows, expected[0])
    np.testing.assert_array_equal(found.scores, expected[1])


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, as if the corpus were large."""
    monkeypatch.setattr(vector_blocks, "BLOCK_BYTES", 4 * 12 * 37)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("resident", [0, 5000, 1 << 30])
@pytest.mark.parametrize("topk", [1, 20, 5000])
def test_results_equal_brute_force(tmp_path, small_blocks, dtype, resident, topk):
    rng = np.random.default_rng(topk + resident)
    shards = [with_ties(rng, rows, 12, dtype) for rows in (400, 1, 230, 77)]
    index = ExactIndex(embeddings(tmp_path / "e", shards), resident, threads=3)
    corpus = np.concatenate(shards)
    for count in (1, 2, 5, 40):
        questions = with_ties(rng, count, 12, np.float32)
        questions[count // 2] = 0  # everything ties
        assert_same(index.search(questions, topk), brute_force(corpus, questions, topk))


@pytest.mark.parametrize("seed", range(8))
def test_only_allowed_rows_are_found(tmp_path, small_blocks, seed):
    rng = np.random.default_rng(seed)
    shards = [with_ties(rng, rows, 12, np.float16) for rows in (300, 90, 310)]
    index = ExactIndex(embeddings(tmp_path / "e", shards), 2000)
    questions = with_ties(rng, 6, 12, np.float32)
    for size in (1, 5, 80, 100, 699, 700):
        allowed = np.sort(rng.choice(700, size, replace=False))
        found = index.search(questions, 50, allowed)
        assert_same(found, brute_force(np.concatenate(shards), questions, 50, allowed))
    assert index.search(questions, 50, np.empty(0, np.int64)).rows.shape == (6, 0)


@pytest.mark.parametrize("count", [1, 6])
def test_a_few_rows_of_many_small_shards_are_found(tmp_path, count):
    rng = np.random.default_rng(count)
    shards = [with_ties(rng, 50, 12, np.float32) for _ in range(30)]
    index = ExactIndex(embeddings(tmp_path / "e", shards))
    questions, allowed = with_ties(rng, count, 12, np.float32), np.arange(0, 1500, 10)
    found = index.search(questions, 20, allowed)
    assert_same(found, brute_force(np.concatenate(shards), questions, 20, allowed))


def test_a_ranking_depends_on_nothing_but_its_question(tmp_path, monkeypatch):
    """Not on the batch, the threads, the blocks or the memory: random floats, bit for bit."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6000, 64), dtype=np.float32)
    vectors[rng.integers(6000, size=3000)] = vectors[17]
    questions = rng.standard_normal((70, 64), dtype=np.float32)
    questions[3] = vectors[17]  # half the corpus ties for the best place
    found = ExactIndex(embeddings(tmp_path / "e", [vectors])).search(questions, 100)
    assert_same(found, brute_force(vectors, questions, 100))
    alone = [ExactIndex(Embeddings(tmp_path / "e")).search(q[None], 100) for q in questions]
    assert_same(found, [np.concatenate(each) for each in zip(*alone, strict=True)])
    monkeypatch.setattr(vector_blocks, "BLOCK_BYTES", 30_000)
    monkeypatch.setattr(exact, "_QUESTIONS", 33)
    assert_same(found, ExactIndex(Embeddings(tmp_path / "e"), 100_000, 5).search(questions, 100))


def test_vectors_of_very_different_length_are_ranked_exactly(tmp_path, small_blocks):
    """What float32 can be off grows with the norms, and the long ones may come late."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((900, 12)).astype(np.float32)
    vectors *= np.logspace(-3, 6, 900, dtype=np.float32)[:, None]
    vectors[::2, 0] -= vectors[::2] @ np.ones(12, np.float32)  # these all but cancel out
    questions = np.ones((9, 12), np.float32) + rng.standard_normal((9, 12)).astype("f4") * 1e-6
    index = ExactIndex(embeddings(tmp_path / "e", [vectors]))
    assert_same(index.search(questions, 300), brute_force(vectors, questions, 300))


def test_a_corpus_of_one_vector_is_ranked_by_row(tmp_path, small_blocks):
    vectors = np.tile(np.float32([0.1] * 12), (20_000, 1))
    index = ExactIndex(embeddings(tmp_path / "e", [vectors]), threads=2)
    found = index.search(np.full((5, 12), 0.3, np.float32), 30)
    assert (found.rows == np.arange(30)).all() and len(np.unique(found.scores)) == 1


def test_no_question_and_k_beyond_the_corpus(tmp_path):
    vectors = np.eye(5, 3, dtype=np.float32)
    index = ExactIndex(embeddings(tmp_path / "e", [vectors]))
    assert index.count == 5
    assert index.search(np.empty((0, 3), np.float32), 2).rows.shape == (0, 2)
    found = index.search(np.float32([[0, 2, 1]]), 10_000)
    assert found.rows.tolist() == [[1, 2, 0, 3, 4]]
    assert found.scores.tolist() == [[2, 1, 0, 0, 0]]
    assert found.rows.dtype == np.int64 and found.scores.dtype == np.float32


def test_every_float16_becomes_its_float32():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 2)
    wide = widen(finite, np.empty(finite.shape, np.float32))
    assert wide.tobytes() == finite.astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_no_number_is_refused_with_its_shard(tmp_path, dtype, value):
    vectors = np.ones((10, 4), dtype)
    vectors[7, 2] = value
    index = ExactIndex(embeddings(tmp_path / "e", [np.ones((3, 4), dtype), vectors]))
    with pytest.raises(InputError, match=r"vectors-00001.npy: holds NaN or infinity in rows 0 to"):
        index.search(np.ones((1, 4), np.float32), 1)
    with pytest.raises(InputError, match="e: holds NaN or infinity in rows 10 to 10"):
        index.search(np.ones((1, 4), np.float32), 1, np.array([10]))


def test_large_numbers_are_not_taken_for_infinity(tmp_path):
    vectors = np.float16([[60_000, 60_000], [65_504, -3]])
    index = ExactIndex(embeddings(tmp_path / "e", [vectors]))
    assert index.search(np.float32([[1, 1]]), 2).scores.tolist() == [[120_000, 65_501]]


def test_a_question_that_is_no_number_is_refused(tmp_path):
    index = ExactIndex(embeddings(tmp_path / "e", [np.ones((3, 2), np.float32)]))
    with pytest.raises(ValueError, match="NaN"):
        index.search(np.float32([[0, np.nan]]), 1)


def test_a_shard_that_was_cut_is_refused_before_and_while_it_is_searched(tmp_path):
    made = embeddings(tmp_path / "e", [np.ones((3000, 4), np.float32)])
    index = ExactIndex(made, resident_bytes=0)
    shard = tmp_path / "e/vectors-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match="was cut short while it was searched"):
        index.search(np.ones((1, 4), np.float32), 3)
    with pytest.raises(InputError, match="bytes where the manifest has"):
        ExactIndex(made)


def test_the_matrix_library_has_its_threads_again_after_a_search():
    """Also where the search that began first ends first."""

    def threads():
        return [blas["num_threads"] for blas in blas_threads._blas().info()]

    if not (before := threads()):
        pytest.skip("numpy's matrix library cannot be told how many threads to use")
    first, second = blas_threads.one_thread_each(), blas_threads.one_thread_each()
    assert first.__enter__() and second.__enter__()
    assert set(threads()) == {1}
    first.__exit__(None, None, None)
    assert set(threads()) == {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_a_library_that_cannot_be_told_is_left_its_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(blas_threads, "_blas", lambda: None)
    rng = np.random.default_rng(2)
    vectors = with_ties(rng, 500, 12, np.float32)
    questions = with_ties(rng, 9, 12, np.float32)
    index = ExactIndex(embeddings(tmp_path / "e", [vectors]))
    assert_same(index.search(questions, 40), brute_force(vectors, questions, 40))


PEAK = """
import json, sys
import numpy as np
from pathlib import Path
from dprkit.indexes.exact import ExactIndex
from dprkit.embeddings.shards import Embeddings

index = ExactIndex(Embeddings(sys.argv[1]), resident_bytes=10 << 20, threads=2)
questions = np.random.default_rng(0).standard_normal((16, 64), dtype=np.float32)
allowed = np.arange(0, index.count, 3)
for count in (1, 16):
    index.search(questions[:count], 100)
    index.search(questions[:count], 100, allowed)
    index.search(questions[:count], 100, allowed[::50])
status = Path("/proc/self/status").read_text()
print(json.dumps([int(status.partition("VmHWM:")[2].split()[0]) / 1000, "torch" in sys.modules]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Corpora of 20 and 100 MB, of which 10 MB may stay in memory."""
    rng = np.random.default_rng(0)
    shard = rng.standard_normal((10_000, 64), dtype=np.float32)
    peaks = []
    for shards in (8, 40):
        folder = tmp_path / str(shards)
        embeddings(folder, [shard] * shards)
        command = [sys.executable, "-c", PEAK, str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        peak, torch = json.loads(ran.stdout)
        peaks.append(peak)
        assert not torch
    assert peaks[1] - peaks[0] < 15, peaks
