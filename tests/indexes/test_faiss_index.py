import os
import random
import shutil
import signal
import subprocess
import sys
import time

import faiss
import numpy as np
import pytest

from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError, SettingsError
from dprkit.indexes import faiss_parts
from dprkit.indexes.build import index
from dprkit.indexes.faiss_index import FaissIndex, _prepare, spread_sample
from dprkit.indexes.faiss_types import automatic, factory_of, lists_for, size_of
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Progress, Run
from dprkit.settings import IndexSettings
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import read_manifest

BLOCK = 300 * 64
LISTED = ("ivf", "ivfsq8", "IVF16,PQ4x4", "OPQ4,IVF16,PQ4x4", "IVF16_HNSW16,Flat")
CODED = ("flat", "sq16", "sq8", "PQ4x4", "RR8,Flat")
GROWN = ("hnsw", "hnswsq8", "IVF16,PQ4x4fs,RFlat")
DEPTHS = {"ivf": {"nprobe": 62}, "ivfsq8": {"nprobe": 62}, "IVF16_HNSW16,Flat": {"nprobe": 16}}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven parts, whose borders are not those of the seven shards."""
    monkeypatch.setattr(faiss_parts, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(faiss_parts, "LISTS_BYTES", BLOCK)


def build(embeddings, folder, kind, run=Run(), **more):
    settings = IndexSettings(embeddings=str(embeddings), output_dir=str(folder), type=kind, **more)
    index(settings, run)
    return folder


def brute_force(questions, vectors, topk, allowed=None):
    """(Q, K) rows: score descending, then row ascending."""
    scores = questions @ vectors.T
    if allowed is not None:
        scores[:, np.setdiff1d(np.arange(len(vectors)), allowed)] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :topk]


def recall(found, gold):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, gold, strict=True)])


@pytest.mark.parametrize("kind", [*LISTED, *CODED])
def test_the_file_made_of_parts_is_the_one_that_faiss_writes(kind, embeddings, vectors, tmp_path):
    build(embeddings, tmp_path / "i", kind)
    raw = faiss.index_factory(16, factory_of(kind, 2000, 16), faiss.METRIC_INNER_PRODUCT)
    _prepare(raw)
    raw.train(spread_sample(Embeddings(embeddings), 2000))
    raw.add(vectors)
    assert (tmp_path / "i" / "index.faiss").read_bytes() == faiss.serialize_index(raw).tobytes()
    assert list(read_manifest(tmp_path / "i").files) == ["index.faiss"]
    assert sorted(os.listdir(tmp_path / "i")) == ["index.faiss", "manifest.json"]


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("flat", 1),
        ("sq16", 0.99),
        ("sq8", 0.95),
        ("ivf", 1),
        ("ivfsq8", 0.95),
        ("hnsw", 0.98),
        ("hnswsq8", 0.94),
        ("IVF16_HNSW16,Flat", 1),
        ("PQ4x4", 0.2),
        ("IVF16,PQ4x4fs,RFlat", 0.5),
    ],
)
@pytest.mark.parametrize("allowed", [None, np.arange(3, 2000, 7)])
def test_scores_are_inner_products_whatever_the_type(
    kind, least, allowed, embeddings, vectors, tmp_path
):
    opened = FaissIndex(IndexFolder(build(embeddings, tmp_path / "i", kind)), DEPTHS.get(kind, {}))
    questions = vectors[::40] + 0.3
    rows, scores = opened.search(questions, 10, allowed)
    assert (opened.count, rows.shape, rows.dtype, scores.dtype) == (2000, (50, 10), "i8", "f4")
    assert recall(rows, brute_force(questions, vectors, 10, allowed)) >= least
    order = np.lexsort((rows, -scores), axis=1)
    assert (order == np.arange(10)).all()
    assert allowed is None or np.isin(rows[rows >= 0], allowed).all()
    if "PQ" not in kind:
        exact = np.take_along_axis(questions @ vectors.T, rows, 1)
        np.testing.assert_allclose(scores, exact, atol=0.2)


@pytest.mark.parametrize("kind", ["ivf", "sq8", "flat"])
def test_a_format_that_is_not_known_is_written_by_faiss_itself(
    kind, embeddings, vectors, tmp_path, monkeypatch
):
    """A FAISS of the future that writes another mark, and vectors' codes with a byte between."""
    usual = FaissIndex(IndexFolder(build(embeddings, tmp_path / "usual", kind)), {"nprobe": 9})
    file_of, marked = faiss_parts._file_of, faiss_parts._heading_of_lists

    def strange(index, count):
        return b"?".join(bytes([byte]) for byte in file_of(index, count))

    monkeypatch.setattr(faiss_parts, "_file_of", strange)
    monkeypatch.setattr(faiss_parts, "_heading_of_lists", lambda *a: marked(*a)[::-1])
    warnings = []

    class Listening(Progress):
        def warn(self, message):
            warnings.append(message)

    folder = build(embeddings, tmp_path / "strange", kind, Run(Listening()))
    assert len(warnings) == 1 and "in a format that dprkit does not know" in warnings[0]
    opened = FaissIndex(IndexFolder(folder), {"nprobe": 9})
    for mine, theirs in zip(
        opened.search(vectors[:50], 20), usual.search(vectors[:50], 20), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_rows_that_are_not_found_are_told(embeddings, vectors, tmp_path):
    opened = FaissIndex(IndexFolder(build(embeddings, tmp_path / "i", "ivf")), {"nprobe": 1})
    rows, scores = opened.search(vectors[:5], 2000)
    assert rows.shape == (5, 2000)
    assert ((rows == -1) == np.isneginf(scores)).all()
    assert (rows[:, -1] == -1).all() and (rows[:, 0] >= 0).all()


def test_k_is_at_most_the_corpus_and_what_is_allowed(embeddings, vectors, tmp_path):
    opened = FaissIndex(IndexFolder(build(embeddings, tmp_path / "i", "flat")))
    assert opened.search(vectors[:2], 10_000).rows.shape == (2, 2000)
    assert opened.search(vectors[:2], 10, np.array([5, 9])).rows.shape == (2, 2)
    assert opened.search(vectors[:2], 10, np.array([], np.int64)).rows.shape == (2, 0)
    assert opened.search(vectors[:0], 10).rows.shape == (0, 10)


def test_a_moved_index_still_works(embeddings, vectors, tmp_path):
    build(embeddings, tmp_path / "i", "ivf")
    before = FaissIndex(IndexFolder(tmp_path / "i")).search(vectors[:9], 5).rows
    (tmp_path / "i").rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(
        FaissIndex(IndexFolder(tmp_path / "elsewhere")).search(vectors[:9], 5).rows, before
    )


# --- stopping -----------------------------------------------------------------------------------


class StopAt(Progress):
    """A user who presses Ctrl-C when so many blocks were done."""

    def __init__(self, blocks):
        self.left = blocks

    def advance(self, count, facts=None):
        self.left -= 1
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["ivf", "sq8", "flat", "OPQ4,IVF16,PQ4x4", *GROWN])
def test_a_stopped_build_ends_with_the_same_bytes(kind, embeddings, tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_parts, "SHARE_OF_SAVING", 1e9)  # a graph is saved after each block
    whole = build(embeddings, tmp_path / "whole", kind)
    for stop in (1, 3, 6):
        with pytest.raises(KeyboardInterrupt):
            build(embeddings, tmp_path / "broken", kind, Run(StopAt(stop)))
    build(embeddings, tmp_path / "broken", kind)
    assert read_manifest(whole).files == read_manifest(tmp_path / "broken").files


def test_a_finished_part_is_not_made_again(embeddings, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build(embeddings, tmp_path / "i", "ivf", Run(StopAt(3)))
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "i").glob("part-*")}
    assert sorted(kept) == ["part-00000", "part-00001", "part-00002"]
    with pytest.raises(KeyboardInterrupt):
        build(embeddings, tmp_path / "i", "ivf", Run(StopAt(5)))
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "i").glob("part-*")}
    assert len(now) == 5 and kept.items() <= now.items()


PROGRAM = """
import sys
from dprkit.indexes import exact_int8, faiss_parts
from dprkit.indexes.build import index
from dprkit.settings import IndexSettings
exact_int8.PART_BYTES, exact_int8.WORTH_BYTES = 2_000, 0
faiss_parts.BLOCK_BYTES = faiss_parts.LISTS_BYTES = 20_000
faiss_parts.SHARE_OF_SAVING = 1e9
index(IndexSettings(embeddings=sys.argv[1], output_dir=sys.argv[2], type=sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ivf", "hnsw", "sq8", "exact"])
def test_25_kills_end_with_the_same_bytes(kind, tmp_path, write_embeddings):
    dice = random.Random(kind)
    vectors = np.random.default_rng(1).standard_normal((20_000, 16)).astype(np.float32)
    embeddings = write_embeddings(tmp_path / "embeddings", vectors, 3000)

    def start(folder):
        words = [sys.executable, "-c", PROGRAM, str(embeddings), str(tmp_path / folder), kind]
        return subprocess.Popen(words)

    began = time.monotonic()
    assert start("whole").wait() == 0
    seconds = time.monotonic() - began
    kills = 0
    while kills < 25:
        child = start("broken")
        time.sleep(dice.uniform(0.3, 1) * seconds)
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        if (tmp_path / "broken" / "manifest.json").exists():
            shutil.rmtree(tmp_path / "broken")
    ended = start("broken")
    assert ended.wait() == 0
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "broken"))
    assert one.files == other.files


# --- choosing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "budget", "recall", "chosen"),
    [
        (1_000, 10**9, 0.95, "flat"),
        (200_000, 10**9, 0.95, "hnsw"),
        (200_000, 10**9, 1.0, "flat"),
        (200_000, 320 * 10**6, 0.95, "ivf"),
        (200_000, 10**8, 0.95, "ivfsq8"),
        (200_000, 3 * 10**7, 0.8, "ivfpq"),
        (200_000, 10**6, 0.95, "ivfsq8"),
        (21_000_000, 64 * 10**9, 0.95, "ivf"),
    ],
)
def test_auto_takes_the_first_type_that_fits(count, budget, recall, chosen):
    name, reason = automatic(count, 384, budget, recall)
    assert name == chosen
    assert reason.startswith(f"{name}: ")


def test_the_choice_of_auto_is_in_the_report_and_in_the_manifest(embeddings, tmp_path):
    report = index(
        IndexSettings(embeddings=str(embeddings), output_dir=str(tmp_path / "i"), type="auto")
    )
    counts = read_manifest(tmp_path / "i").counts
    assert report.type == counts["type"] == "flat"
    assert report.notes == [counts["reason"]]


def test_lists_grow_with_the_root_of_the_corpus():
    assert [lists_for(n) for n in (1, 282, 200_000, 2_000_000, 21_000_000)] == [
        1, 8, 2048, 4096, 16384,
    ]  # fmt: skip


def test_codes_fit_the_dimensions_and_the_corpus():
    assert factory_of("pq", 10_000, 384) == "PQ96"
    assert factory_of("pq", 10_000, 26) == "PQ2"
    assert factory_of("pq", 100, 7) == "PQ1x6"
    assert factory_of("IVF7,SQ4", 100, 8) == "IVF7,SQ4"


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 << 29), ("7", 7)]
)
def test_sizes_are_read(text, size):
    assert size_of(text, "--max-ram") == size


@pytest.mark.parametrize("text", ["8 apples", "", "-1GB", "0"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SettingsError, match=r"--max-ram: .* is no size; write it as 8GB"):
        size_of(text, "--max-ram")


def test_the_sample_is_spread_over_all_shards(embeddings, vectors):
    sample = spread_sample(Embeddings(embeddings), 20)
    rows = [int(np.flatnonzero((vectors == one).all(1))[0]) for one in sample]
    assert [row // 100 for row in rows] == list(range(20))


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("hsnw", "did you mean 'hnsw'"),
        ("IVF3000,Flat", "wants 3,000 lists of 2,000 vectors; take IVF62 or fewer"),
        ("PQ3", "multiple of the number of subquantizers"),
        ("NSG16", "does not fill 'NSG16'"),
    ],
)
def test_a_type_that_cannot_be_made_is_refused(kind, problem, embeddings, tmp_path):
    with pytest.raises((SettingsError, InputError), match=problem):
        build(embeddings, tmp_path / "i", kind)
    assert not (tmp_path / "i" / "manifest.json").exists()


def test_a_tiny_corpus_takes_every_named_type(tmp_path, vectors, write_embeddings):
    embeddings = write_embeddings(tmp_path / "e", vectors[:9])
    for kind in ("flat", "sq8", "pq", "ivf", "ivfsq8", "ivfpq", "hnsw", "auto"):
        opened = FaissIndex(IndexFolder(build(embeddings, tmp_path / kind, kind)))
        assert opened.search(vectors[:2], 20).rows.shape == (2, 9)


def test_a_flipped_bit_is_found_on_demand(embeddings, tmp_path):
    folder = build(embeddings, tmp_path / "i", "ivf")
    content = bytearray((folder / "index.faiss").read_bytes())
    content[-1] ^= 1
    (folder / "index.faiss").write_bytes(content)
    FaissIndex(IndexFolder(folder))
    with pytest.raises(InputError, match=r"index.faiss: damaged \(it was changed"):
        IndexFolder(folder, Verifier()).verify()
    for start, problem in ((b"IxFI", "holds 0 vectors"), (b"XXXX", "FAISS cannot read it")):
        (folder / "index.faiss").write_bytes(start + bytes(len(content) - 4))
        with pytest.raises(InputError, match=problem):
            FaissIndex(IndexFolder(folder))
