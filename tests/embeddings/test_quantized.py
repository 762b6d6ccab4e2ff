"""Vectors in 8 bits and in 1 bit: encoded, appended to, mended, written out, taken in, searched."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.quantized import columns_of
from dprkit.embeddings.shards import Embeddings, growing_shard
from dprkit.embeddings.vector_blocks import Blocks
from dprkit.indexes.build import index
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.settings import EncodeSettings, IndexSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import read_manifest
from tests.conftest import call

QUANTIZED = ("int8", "binary")


def by_hand(vectors, dtype):
    """What is read of vectors that were kept so."""
    if dtype == "binary":
        return np.where(vectors > 0, 1, -1) / np.sqrt(vectors.shape[1])
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127
    return np.round(vectors / scales) * scales


def read(folder):
    return np.concatenate([shard[:] for shard in Embeddings(folder).vectors()])


@pytest.fixture(scope="module")
def kept(tmp_path_factory, small_retriever, tiny_passages):
    """The shipped passages in each number type: dtype -> folder."""
    folder = tmp_path_factory.mktemp("kept")
    for dtype in QUANTIZED:
        encode_corpus(made(small_retriever, tiny_passages, folder / dtype, dtype))
    return folder


def made(retriever, passages, output, dtype, **more):
    paths = {"retriever": str(retriever), "passages": str(passages), "output_dir": str(output)}
    return EncodeSettings(**paths, dtype=dtype, shard_size=100, **more)


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_vectors_are_read_as_floats_and_the_manifest_names_the_scale(dtype, kept, encoded):
    found = read(kept / dtype)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(encoded.vectors, dtype), atol=1e-6)
    counts = read_manifest(kept / dtype).counts
    assert (counts["dim"], counts["scale"]) == (8, {"int8": "vector"}.get(dtype, "1/sqrt(dim)"))
    packed = np.load(kept / dtype / "vectors-00000.npy")
    assert (packed.dtype.name, packed.shape[1]) == (("int8", 8), ("uint8", 1))[dtype == "binary"]


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_what_was_there_is_taken_over_and_what_is_damaged_made_again(
    dtype, kept, small_retriever, tiny_passages, tmp_path
):
    """A passage in front, so that all others move: every byte as if all were encoded anew."""
    head, *lines = tiny_passages.read_text().splitlines(keepends=True)
    passages = tmp_path / "p.tsv"
    passages.write_text("".join([head, *lines[50:]]))
    words = made(small_retriever, passages, tmp_path / "e", dtype)
    encode_corpus(words)
    passages.write_text("".join([head, *lines]))
    assert encode_corpus(words, append=True).reused == 232
    whole = read_manifest(kept / dtype)
    assert (read_manifest(tmp_path / "e").files, whole.counts["shards"]) == (whole.files, 3)
    name = "scales-00001.npy" if dtype == "int8" else "vectors-00001.npy"
    content = bytearray((tmp_path / "e" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "e" / name).write_bytes(content)
    assert encode_corpus(words, repair=True).shards == 3
    assert read_manifest(tmp_path / "e").files == whole.files
    encode_corpus(made(small_retriever, passages, tmp_path / "parts", dtype), shard="2/2")
    encode_corpus(made(small_retriever, passages, tmp_path / "parts", dtype))
    assert read_manifest(tmp_path / "parts").files == whole.files


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_what_is_written_out_is_float32_and_what_is_taken_in_is_quantized(
    dtype, kept, encoded, take_in, tmp_path
):
    words = ["--embeddings", kept / dtype, "--to", "npy", "--output-dir", tmp_path / "npy"]
    assert call("export-embeddings", *words).exit_code == 0
    out = np.load(tmp_path / "npy/vectors.npy")
    np.testing.assert_array_equal(out, read(kept / dtype))
    ids = tmp_path / "npy/ids.txt"
    order = np.random.default_rng(0).permutation(len(out))
    np.save(tmp_path / "npy/vectors.npy", encoded.vectors[order])
    ids.write_text("".join(f"{encoded.ids[i]}\n" for i in order))
    take_in(tmp_path / "npy/vectors.npy", ids=(str(ids),), dtype=dtype)
    ours, theirs = (read_manifest(folder) for folder in (tmp_path / "out", kept / dtype))
    names = [name for name in theirs.files if not name.startswith("digests")]
    assert {n: ours.files[n].sha256 for n in names} == {n: theirs.files[n].sha256 for n in names}
    assert ours.counts["scale"] == theirs.counts["scale"]


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("resident", [0, 700, 1 << 20])
def test_blocks_give_any_rows_whether_they_are_mapped_or_not(dtype, resident, tmp_path):
    """Of 13 numbers, which fill no whole byte."""
    vectors = np.random.default_rng(0).standard_normal((150, 13), dtype=np.float32)
    with draft(tmp_path / "e", "embeddings", {}, {}, Run()) as work:
        for number, part in enumerate((vectors[:90], vectors[90:])):
            with growing_shard(work, number, len(part), 13, dtype) as write:
                ids = [str(n) for n in range(len(part))]
                write(columns_of(part, dtype), ids, np.zeros(len(part), "<u8"))
        work.finish({"passages": 150, "dim": 13, "shards": 2})
    expected = by_hand(vectors, dtype)
    blocks = Blocks(Embeddings(tmp_path / "e"), resident)
    reader = blocks.reader()
    read = [reader.read(block).copy() for block in blocks.all]
    np.testing.assert_allclose(np.concatenate(read), expected, atol=1e-6)
    rows = np.array([0, 7, 53, 89, 90, 149])
    np.testing.assert_allclose(blocks.take(rows), expected[rows], atol=1e-6)
    np.testing.assert_allclose(
        Embeddings(tmp_path / "e").read(80, 101), expected[80:101], atol=1e-6
    )


@pytest.mark.parametrize("kind", ["exact", "flat", "IVF4,SQ8"])
def test_every_kind_of_index_takes_them_as_floats(kind, kept, tmp_path):
    words = {"embeddings": str(kept / "int8"), "output_dir": str(tmp_path / "i"), "type": kind}
    index(IndexSettings(**words, nprobe=4))
    vectors = read(kept / "int8")
    hits = IndexFolder(tmp_path / "i").open_dense().search(vectors[:5] + 0.01, 10)
    scores = np.sort((vectors[:5] + 0.01) @ vectors.T)[:, :-11:-1]
    np.testing.assert_allclose(hits.scores, scores, atol=0.05 if kind == "IVF4,SQ8" else 1e-5)


def test_a_dry_run_tells_the_disk(small_retriever, tiny_passages, tmp_path):
    sizes = {}
    for dtype in ("float32", *QUANTIZED):
        words = ["--retriever", small_retriever, "--passages", tiny_passages, "--dtype", dtype]
        ran = call("encode-corpus", *words, "--output-dir", tmp_path / "e", "--dry-run", "--json")
        sizes[dtype] = json.loads(ran.stdout)["disk_bytes"]
    assert sizes["float32"] - sizes["int8"] == 282 * (4 * 8 - 8 - 4)
    assert sizes["float32"] - sizes["binary"] == 282 * (4 * 8 - 1)


@pytest.mark.slow
def test_bits_are_those_of_sentence_transformers():
    quantization = pytest.importorskip("sentence_transformers.quantization")
    vectors = np.random.default_rng(0).standard_normal((50, 24), dtype=np.float32)
    expected = quantization.quantize_embeddings(vectors, "ubinary")
    np.testing.assert_array_equal(columns_of(vectors, "binary")[0], expected)
