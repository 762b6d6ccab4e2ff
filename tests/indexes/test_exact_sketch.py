"""Exact search by way of the sketch: the same as brute force, in every bit."""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from dprkit.errors import InputError
from dprkit.indexes import exact_sketch
from dprkit.indexes.build import index
from dprkit.indexes.exact import ExactIndex, _Running
from dprkit.indexes.exact_sketch import Lens, Sketch, open_sketch
from dprkit.indexes.hits import Hits
from dprkit.indexes.open_dense import _named_embeddings, open_dense
from dprkit.progress import SILENT, Run
from dprkit.settings import IndexSettings
from dprkit.store.manifests import read_manifest
from tests.indexes.test_exact import assert_same, brute_force, embeddings, with_ties


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of 600 rows of 12 numbers, for corpora of any size."""
    monkeypatch.setattr(exact_sketch, "PIECE_BYTES", 600 * 12)
    monkeypatch.setattr(exact_sketch, "WORTH_BYTES", 0)
    monkeypatch.setattr(exact_sketch, "SPARE", 8)
    monkeypatch.setattr(exact_sketch, "SHARE", 4)


def sketched(tmp_path, shards, resident=1 << 20):
    """The exact index of these vectors, with its sketch."""
    embeddings(tmp_path / "e", shards)
    settings = IndexSettings(
        embeddings=str(tmp_path / "e"), output_dir=str(tmp_path / "i"), type="exact"
    )
    index(settings)
    manifest = read_manifest(tmp_path / "i", "index")
    seen = open_sketch(tmp_path / "i", manifest, resident)
    assert seen
    made_of = _named_embeddings(tmp_path / "i", manifest.inputs["embeddings"])
    return ExactIndex(made_of, threads=3, sketch=seen)


@pytest.fixture
def settled(monkeypatch):
    """Whether each search was answered by the sketch."""
    answers, ask = [], ExactIndex._by_sketch

    def asked(self, *args):
        found = ask(self, *args)
        answers.append(found is not None)
        return found

    monkeypatch.setattr(ExactIndex, "_by_sketch", asked)
    return answers


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("resident", [0, 20_000, 1 << 20])
@pytest.mark.parametrize("topk", [1, 20, 70])
def test_results_equal_brute_force(tmp_path, settled, dtype, resident, topk):
    rng = np.random.default_rng(topk + resident)
    shards = [rng.standard_normal((rows, 12)).astype(dtype) for rows in (1500, 1, 700, 2)]
    exact = sketched(tmp_path, shards, resident)
    for count in (1, 2, 3):
        questions = rng.standard_normal((count, 12), dtype=np.float32)
        found = exact.search(questions, topk)
        assert_same(found, brute_force(np.concatenate(shards), questions, topk))
    assert settled == [True] * 3


def test_what_the_sketch_cannot_settle_is_searched_whole(tmp_path, settled):
    """Many equal vectors, and a question that is as good for all."""
    rng = np.random.default_rng(0)
    vectors = with_ties(rng, 3000, 12, np.float32)
    exact = sketched(tmp_path, [vectors])
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
    exact = sketched(tmp_path, [vectors[:1000], vectors[1000:]])
    assert_same(exact.search(questions, 30), brute_force(vectors, questions, 30))
    assert len(settled) == 1


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_numbers_that_have_no_codes_are_compared_as_they_are(tmp_path, settled):
    rng = np.random.default_rng(0)
    vectors = rng.uniform(-3e38, 3e38, (1000, 12)).astype(np.float32)
    vectors[600:] = rng.standard_normal((400, 12))
    embeddings(tmp_path / "e", [vectors])
    settings = {"embeddings": str(tmp_path / "e"), "output_dir": str(tmp_path / "i")}
    index(IndexSettings(**settings, type="exact"))
    exact = open_dense(tmp_path / "i")
    for question in (np.full((1, 12), 1e-3, np.float32), np.zeros((1, 12), np.float32)):
        assert_same(exact.search(question, 10), brute_force(vectors, question, 10))
    assert len(settled) == 2


def test_the_error_of_a_piece_is_what_its_worst_vector_has(tmp_path):
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((2000, 12), dtype=np.float32) * np.logspace(0, 3, 12, dtype="f4")
    seen = sketched(tmp_path, [vectors]).sketch
    with seen.lens() as lens:
        for piece in seen.pieces:
            own = vectors[piece.start : piece.stop].astype(np.float64)
            rows, decoded = lens.near(piece, np.eye(12, dtype=np.float32), 600)
            told = np.take_along_axis(decoded, np.argsort(rows, axis=1), 1).T
            off = own - told
            worst = off[[np.argmax(np.linalg.norm(off, axis=1))]].astype(np.float32)
            rows, scores = lens.near(piece, worst, 600)
            true = vectors[rows[0]].astype(np.float64) @ worst[0].astype(np.float64)
            share = np.abs(true - scores[0]).max() / np.linalg.norm(worst) / piece.error
            assert sorted(rows[0]) == list(range(piece.start, piece.stop))
            assert 0.95 < share <= 1


def test_float32_is_reckoned_with_where_the_codes_are_exact(tmp_path, settled):
    """Vectors far from 0 that differ in their last bits: only what is rounded is off."""
    rng = np.random.default_rng(7)
    vectors = np.float32(1000) + rng.integers(0, 2, (2000, 12)).astype(np.float32) * 2.0**-13
    vectors = vectors.astype(np.float32)
    questions = rng.standard_normal((3, 12)).astype(np.float32)
    questions[:, 0] -= questions.sum(axis=1)
    exact = sketched(tmp_path, [vectors])
    for question in questions:
        assert_same(exact.search(question[None], 60), brute_force(vectors, question[None], 60))
    assert len(settled) == 3


@pytest.mark.parametrize("seed", range(30))
def test_scores_that_are_as_far_off_as_they_may_be(tmp_path, monkeypatch, seed):
    """A lens that makes the best rows look bad and the others good, as far as is allowed."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((1900, 12), dtype=np.float32)
    exact = sketched(tmp_path, [vectors])
    exact.sketch.pieces = [
        msgspec.structs.replace(piece, error=float(10 ** rng.uniform(-4, -1)))
        for piece in exact.sketch.pieces
    ]
    question, topk = rng.standard_normal((1, 12), dtype=np.float32), int(rng.integers(1, 40))
    expected = brute_force(vectors, question, topk)
    true = vectors.astype(np.float64) @ question[0].astype(np.float64)

    asked = []

    def near(self, piece, questions, topk):
        asked.append(piece)
        rows = np.arange(piece.start, piece.stop)
        away = np.where(np.isin(rows, expected[0][0]), -0.999, 0.999) * piece.error
        scores = (true[rows] + away * np.linalg.norm(question)).astype(np.float32)
        first = np.argsort(-scores)[: topk + int(rng.integers(9))]
        return Hits(rows[None, first], scores[None, first])

    monkeypatch.setattr(Lens, "near", near)
    assert_same(exact.search(question, topk), expected)
    assert set(asked) == set(exact.sketch.pieces)


def test_it_is_settled_only_beyond_twice_the_error(tmp_path):
    question = np.float32([[3, 4]])  # of norm 5
    running = _Running(question, 2, lambda rows: np.zeros((len(rows), 2), np.float32))
    running.add(np.arange(3), np.float32([[9, 8, 1]]), 0.1)
    assert running.settled(np.float32([6.9]))
    assert not running.settled(np.float32([7.1]))
    running.add(np.array([3]), np.float32([[7.1]]), 0.0)  # the bar is off, if this is not
    assert 3 in running.held[-1].rows


def test_a_killed_build_goes_on_after_its_last_shard(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    shards = [rng.standard_normal((800, 12), dtype=np.float32) for _ in range(3)]
    sketched(tmp_path, shards)
    settings = IndexSettings(
        embeddings=str(tmp_path / "e"), output_dir=str(tmp_path / "k"), type="exact"
    )
    coded, calls = exact_sketch._coded, []

    def killed(vectors, where):
        calls.append(len(vectors))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return coded(vectors, where)

    monkeypatch.setattr(exact_sketch, "_coded", killed)
    with pytest.raises(KeyboardInterrupt):
        index(settings)
    index(settings, Run(SILENT))
    assert calls == [600, 200] * 4  # of the second shard one piece is made twice
    whole, resumed = (read_manifest(tmp_path / name, "index") for name in "ik")
    assert whole.files == resumed.files and len(whole.files) == 5


def test_damage_is_named(tmp_path):
    rng = np.random.default_rng(6)
    exact = sketched(tmp_path, [rng.standard_normal((1500, 12), dtype=np.float32)], resident=0)
    question = np.ones((1, 12), np.float32)
    path = tmp_path / "i/sketch-00000.faiss"
    content = path.read_bytes()
    path.write_bytes(b"?" * 100 + content[100:])
    with pytest.raises(InputError, match=r"sketch-00000.faiss: damaged"):
        exact.search(question, 3)
    path.write_bytes(content[:-9000])
    with pytest.raises(InputError, match="was cut short while it was searched"):
        exact.search(question, 3)
    with pytest.raises(InputError, match=r"sketch-00000.faiss: missing or cut short"):
        open_dense(tmp_path / "i")
    pieces = tmp_path / "i/sketch.json"
    pieces.write_text(pieces.read_text().replace('"stop":600', '"stop":900'))
    with pytest.raises(InputError, match=r"sketch.json: missing or damaged"):
        open_dense(tmp_path / "i")


def test_numbers_that_are_none_are_refused_when_the_index_is_made(tmp_path):
    vectors = np.ones((50, 12), np.float32)
    vectors[7, 2] = np.nan
    with pytest.raises(InputError, match="holds NaN or infinity"):
        sketched(tmp_path, [vectors])


def test_a_small_corpus_has_no_sketch(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_sketch, "WORTH_BYTES", 1000 * 12 * 4 + 1)
    embeddings(tmp_path / "e", [np.ones((1000, 12), np.float32)])
    index(
        IndexSettings(embeddings=str(tmp_path / "e"), output_dir=str(tmp_path / "i"), type="exact")
    )
    assert set(read_manifest(tmp_path / "i", "index").files) == {"ground.json"}
    assert open_dense(tmp_path / "i").sketch is None


def test_an_index_is_the_same_with_and_without_a_sketch(tmp_path, monkeypatch):
    sketched(tmp_path, [np.random.default_rng(0).standard_normal((900, 12), dtype=np.float32)])
    before = read_manifest(tmp_path / "i", "index")
    monkeypatch.setattr(exact_sketch, "WORTH_BYTES", 1 << 30)
    settings = {"embeddings": str(tmp_path / "e"), "output_dir": str(tmp_path / "j")}
    index(IndexSettings(**settings, type="exact"))
    after = read_manifest(tmp_path / "j", "index")
    assert before.identity == after.identity and len(before.files) == 3 > len(after.files)


def test_many_shards_need_few_open_files(tmp_path):
    rng = np.random.default_rng(0)
    shards = [rng.standard_normal((20, 12), dtype=np.float32) for _ in range(80)]
    sketched(tmp_path, shards)
    before = len(os.listdir("/proc/self/fd"))
    seen = open_sketch(tmp_path / "i", read_manifest(tmp_path / "i", "index"), resident_bytes=0)
    assert len(seen.pieces) == 80
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_faiss_has_its_threads_again(tmp_path, monkeypatch):
    import faiss

    before = faiss.omp_get_max_threads()
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: before + 1)
    told = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", told.append)
    vectors = np.random.default_rng(0).standard_normal((1500, 12), dtype=np.float32)
    seen: Sketch = sketched(tmp_path, [vectors]).sketch
    with seen.lens():
        assert told[-1] == 1
    assert told[-1] == before + 1
