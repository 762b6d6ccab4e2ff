"""Exact search by way of the 8-bit copy: the same as brute force, in every bit."""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from dprkit.errors import InputError
from dprkit.indexes import exact_int8
from dprkit.indexes.build import index
from dprkit.indexes.candidates import Candidates
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.exact_int8 import Int8Copy, open_int8
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import SILENT, Run
from dprkit.settings import IndexSettings
from dprkit.store.manifests import read_manifest
from tests.indexes.test_exact import assert_same, brute_force, embeddings, with_ties


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of 600 rows of 12 numbers, for corpora of any size."""
    monkeypatch.setattr(exact_int8, "PART_BYTES", 600 * 12)
    monkeypatch.setattr(exact_int8, "WORTH_BYTES", 0)
    monkeypatch.setattr(exact_int8, "SPARE", 8)
    monkeypatch.setattr(exact_int8, "SHARE", 4)


def with_int8(tmp_path, shards, resident=1 << 20):
    """The exact index of these vectors, with its 8-bit copy."""
    embeddings(tmp_path / "e", shards)
    settings = IndexSettings(
        embeddings=str(tmp_path / "e"), output_dir=str(tmp_path / "i"), type="exact"
    )
    index(settings)
    folder = IndexFolder(tmp_path / "i")
    int8 = open_int8(folder, resident)
    assert int8
    return ExactIndex(folder.embeddings(), threads=3, int8=int8)


@pytest.fixture
def settled(monkeypatch):
    """Whether each search was answered by the 8-bit copy; None: it was not even read."""
    answers, ask, read, nearest = [], ExactIndex._by_int8, [], Int8Copy.nearest

    def reading(self, part, *args):
        read.append(part)
        return nearest(self, part, *args)

    def asked(self, *args):
        read.clear()
        hits = ask(self, *args)
        answers.append(hits is not None if read else None)
        return hits

    monkeypatch.setattr(Int8Copy, "nearest", reading)
    monkeypatch.setattr(ExactIndex, "_by_int8", asked)
    return answers


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("resident", [0, 20_000, 1 << 20])
@pytest.mark.parametrize("topk", [1, 20, 70])
def test_results_equal_brute_force(tmp_path, settled, dtype, resident, topk):
    rng = np.random.default_rng(topk + resident)
    shards = [rng.standard_normal((rows, 12)).astype(dtype) for rows in (1500, 1, 700, 2)]
    exact = with_int8(tmp_path, shards, resident)
    for count in (1, 2, 3):
        questions = rng.standard_normal((count, 12), dtype=np.float32)
        found = exact.search(questions, topk)
        assert_same(found, brute_force(np.concatenate(shards), questions, topk))
    assert settled == [True] * 3


def test_what_the_int8_copy_cannot_settle_is_searched_whole(tmp_path, settled):
    """Many equal vectors, and a question that is as good for all."""
    rng = np.random.default_rng(0)
    vectors = with_ties(rng, 3000, 12, np.float32)
    exact = with_int8(tmp_path, [vectors])
    for question in (vectors[:1], np.zeros((1, 12), np.float32)):
        assert_same(exact.search(question, 50), brute_force(vectors, question, 50))
    assert settled == [False, False]


@pytest.mark.parametrize("seed", range(10))
def test_vectors_of_very_different_size_are_ranked_exactly(tmp_path, settled, seed):
    """Lengths from 0.001 to 1e6, dimensions that outweigh the others, sums that cancel out."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((2500, 12), dtype=np.float32)
    vectors *= np.float32(10) ** rng.uniform(-3, 6, (2500, 1) if seed % 2 else 12).astype("f4")
    vectors[::2, 0] -= vectors[::2] @ np.ones(12, np.float32)
    questions = np.ones((2, 12), np.float32) + rng.standard_normal((2, 12)).astype("f4") * 1e-6
    exact = with_int8(tmp_path, [vectors[:1000], vectors[1000:]])
    assert_same(exact.search(questions, 30), brute_force(vectors, questions, 30))
    assert len(settled) == 1 and settled[0] is not None


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_numbers_that_have_no_codes_are_compared_as_they_are(tmp_path, settled):
    rng = np.random.default_rng(0)
    vectors = rng.uniform(-3e38, 3e38, (1000, 12)).astype(np.float32)
    vectors[600:] = rng.standard_normal((400, 12))
    embeddings(tmp_path / "e", [vectors])
    settings = {"embeddings": str(tmp_path / "e"), "output_dir": str(tmp_path / "i")}
    index(IndexSettings(**settings, type="exact"))
    exact = IndexFolder(tmp_path / "i").open_dense()
    for question in (np.full((1, 12), 1e-3, np.float32), np.zeros((1, 12), np.float32)):
        assert_same(exact.search(question, 10), brute_force(vectors, question, 10))
    assert settled == [None, None]


def test_the_error_of_a_part_is_what_its_worst_vector_has(tmp_path):
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((2000, 12), dtype=np.float32) * np.logspace(0, 3, 12, dtype="f4")
    int8 = with_int8(tmp_path, [vectors]).int8
    with int8.memory() as memory:
        for part in int8.parts:
            own = vectors[part.start : part.stop].astype(np.float64)
            rows, decoded = int8.nearest(part, np.eye(12, dtype=np.float32), 600, memory)
            told = np.take_along_axis(decoded, np.argsort(rows, axis=1), 1).T
            off = own - told
            worst = off[[np.argmax(np.linalg.norm(off, axis=1))]].astype(np.float32)
            rows, scores = int8.nearest(part, worst, 600, memory)
            true = vectors[rows[0]].astype(np.float64) @ worst[0].astype(np.float64)
            share = np.abs(true - scores[0]).max() / np.linalg.norm(worst) / part.error
            assert sorted(rows[0]) == list(range(part.start, part.stop))
            assert 0.95 < share <= 1


def test_float32_is_reckoned_with_where_the_codes_are_exact(tmp_path, settled):
    """Vectors far from 0 that differ in their last bits: only what is rounded is off."""
    rng = np.random.default_rng(7)
    vectors = np.float32(1000) + rng.integers(0, 2, (2000, 12)).astype(np.float32) * 2.0**-13
    vectors = vectors.astype(np.float32)
    questions = rng.standard_normal((3, 12)).astype(np.float32)
    questions[:, 0] -= questions.sum(axis=1)
    exact = with_int8(tmp_path, [vectors])
    for question in questions:
        assert_same(exact.search(question[None], 60), brute_force(vectors, question[None], 60))
    assert len(settled) == 3 and None not in settled


@pytest.mark.parametrize("seed", range(30))
def test_scores_that_are_as_far_off_as_they_may_be(tmp_path, monkeypatch, seed):
    """A copy that makes the best rows look bad and the others good, as far as is allowed."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((1900, 12), dtype=np.float32)
    exact = with_int8(tmp_path, [vectors])
    exact.int8.parts = [
        msgspec.structs.replace(part, error=float(10 ** rng.uniform(-4, -1)))
        for part in exact.int8.parts
    ]
    question, topk = rng.standard_normal((1, 12), dtype=np.float32), int(rng.integers(1, 40))
    expected = brute_force(vectors, question, topk)
    true = vectors.astype(np.float64) @ question[0].astype(np.float64)

    asked = []

    def nearest(self, part, questions, topk, memory):
        asked.append(part)
        rows = np.arange(part.start, part.stop)
        away = np.where(np.isin(rows, expected[0][0]), -0.999, 0.999) * part.error
        scores = (true[rows] + away * np.linalg.norm(question)).astype(np.float32)
        first = np.argsort(-scores)[: topk + int(rng.integers(9))]
        return Hits(rows[None, first], scores[None, first])

    monkeypatch.setattr(Int8Copy, "nearest", nearest)
    assert_same(exact.search(question, topk), expected)
    assert set(asked) == set(exact.int8.parts)


def test_it_is_settled_only_beyond_twice_the_error():
    candidates = Candidates(np.array([5.0]), 2, lambda pairs: np.zeros(len(pairs.rows), np.float32))
    candidates.add(np.arange(3), np.float32([[9, 8, 1]]), 0.1)
    assert candidates.complete(np.float32([6.9]))
    assert not candidates.complete(np.float32([7.1]))
    candidates.add(np.array([3]), np.float32([[7.1]]), 0.0)  # the bar is off, if this is not
    assert 3 in candidates.kept[-1].rows


def test_a_killed_build_goes_on_after_its_last_shard(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    shards = [rng.standard_normal((800, 12), dtype=np.float32) for _ in range(3)]
    with_int8(tmp_path, shards)
    settings = IndexSettings(
        embeddings=str(tmp_path / "e"), output_dir=str(tmp_path / "k"), type="exact"
    )
    coded, calls = exact_int8._coded, []

    def killed(vectors, where):
        calls.append(len(vectors))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return coded(vectors, where)

    monkeypatch.setattr(exact_int8, "_coded", killed)
    with pytest.raises(KeyboardInterrupt):
        index(settings)
    index(settings, Run(SILENT))
    assert calls == [600, 200] * 4  # of the second shard one part is made twice
    whole, resumed = (read_manifest(tmp_path / name, "index") for name in "ik")
    assert whole.files == resumed.files and len(whole.files) == 5


def test_damage_is_named(tmp_path):
    rng = np.random.default_rng(6)
    exact = with_int8(tmp_path, [rng.standard_normal((1500, 12), dtype=np.float32)], resident=0)
    question = np.ones((1, 12), np.float32)
    path = tmp_path / "i/int8-00000.faiss"
    content = path.read_bytes()
    path.write_bytes(b"?" * 100 + content[100:])
    with pytest.raises(InputError, match=r"int8-00000.faiss: damaged"):
        exact.search(question, 3)
    path.write_bytes(content[:-9000])
    with pytest.raises(InputError, match="was cut short while it was searched"):
        exact.search(question, 3)
    with pytest.raises(InputError, match=r"int8-00000.faiss: damaged \(it has"):
        IndexFolder(tmp_path / "i").open_dense()
    parts = tmp_path / "i/int8.json"
    parts.write_text(parts.read_text().replace('"stop":600', '"stop":900'))
    with pytest.raises(InputError, match=r"int8.json: damaged \(it was changed"):
        IndexFolder(tmp_path / "i").open_dense()


def test_numbers_that_are_none_are_refused_when_the_index_is_made(tmp_path):
    vectors = np.ones((50, 12), np.float32)
    vectors[7, 2] = np.nan
    with pytest.raises(InputError, match="holds NaN or infinity"):
        with_int8(tmp_path, [vectors])


def test_a_small_corpus_has_no_int8_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_int8, "WORTH_BYTES", 1000 * 12 * 4 + 1)
    embeddings(tmp_path / "e", [np.ones((1000, 12), np.float32)])
    index(
        IndexSettings(embeddings=str(tmp_path / "e"), output_dir=str(tmp_path / "i"), type="exact")
    )
    assert set(read_manifest(tmp_path / "i", "index").files) == {"made_from.json"}
    assert IndexFolder(tmp_path / "i").open_dense().int8 is None


def test_an_index_is_the_same_with_and_without_an_int8_copy(tmp_path, monkeypatch):
    with_int8(tmp_path, [np.random.default_rng(0).standard_normal((900, 12), dtype=np.float32)])
    before = read_manifest(tmp_path / "i", "index")
    monkeypatch.setattr(exact_int8, "WORTH_BYTES", 1 << 30)
    settings = {"embeddings": str(tmp_path / "e"), "output_dir": str(tmp_path / "j")}
    index(IndexSettings(**settings, type="exact"))
    after = read_manifest(tmp_path / "j", "index")
    assert before.identity == after.identity and len(before.files) == 3 > len(after.files)


def test_the_copy_of_an_earlier_version_is_used_under_its_old_name(tmp_path, monkeypatch, settled):
    vectors = np.random.default_rng(0).standard_normal((1500, 12), dtype=np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(exact_int8, "CONTENTS", exact_int8.EARLIER)
        with_int8(tmp_path, [vectors])
    assert "sketch.json" in read_manifest(tmp_path / "i").files
    exact = IndexFolder(tmp_path / "i").open_dense()
    assert_same(exact.search(vectors[:1], 5), brute_force(vectors, vectors[:1], 5))
    assert settled == [True]


def test_many_shards_need_few_open_files(tmp_path):
    rng = np.random.default_rng(0)
    shards = [rng.standard_normal((20, 12), dtype=np.float32) for _ in range(80)]
    with_int8(tmp_path, shards)
    before = len(os.listdir("/proc/self/fd"))
    int8 = open_int8(IndexFolder(tmp_path / "i"), resident_bytes=0)
    assert len(int8.parts) == 80
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_faiss_has_its_threads_again(tmp_path, monkeypatch):
    import faiss

    before = faiss.omp_get_max_threads()
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: before + 1)
    told = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", told.append)
    vectors = np.random.default_rng(0).standard_normal((1500, 12), dtype=np.float32)
    int8: Int8Copy = with_int8(tmp_path, [vectors]).int8
    with int8.memory():
        assert told[-1] == 1
    assert told[-1] == before + 1
