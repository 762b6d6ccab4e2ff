import pickle
import shutil
import sys

import numpy as np
import pytest

from dprkit.embeddings.exporting import export_embeddings
from dprkit.errors import MissingExtra
from dprkit.progress import Progress, Run
from dprkit.settings import ExportEmbeddingsSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call


def settings(encoded, to, output):
    return ExportEmbeddingsSettings(embeddings=str(encoded.folder), to=to, output_dir=str(output))


def test_npy_is_one_array_and_its_ids(encoded, tmp_path):
    report = export_embeddings(settings(encoded, "npy", tmp_path / "o"))
    assert (report.passages, report.dim, report.files) == (282, 8, ["ids.txt", "vectors.npy"])
    found = np.load(tmp_path / "o" / "vectors.npy", mmap_mode="r")
    np.testing.assert_array_equal(found, encoded.vectors)
    assert (tmp_path / "o" / "ids.txt").read_text().splitlines() == encoded.ids


def test_pyserinis_index_has_the_bytes_that_faiss_writes(encoded, tmp_path):
    import faiss

    export_embeddings(settings(encoded, "pyserini", tmp_path / "o"))
    flat = faiss.IndexFlatIP(8)
    flat.add(encoded.vectors)
    assert (tmp_path / "o" / "index").read_bytes() == faiss.serialize_index(flat).tobytes()
    # As Pyserini's FaissSearcher opens it:
    index = faiss.read_index(str(tmp_path / "o" / "index"))
    ids = [line.rstrip() for line in (tmp_path / "o" / "docid").read_text().splitlines()]
    assert (index.ntotal, index.d, ids) == (282, 8, encoded.ids)
    scores, rows = index.search(encoded.vectors[:1], 3)
    np.testing.assert_allclose(scores[0], (encoded.vectors @ encoded.vectors[0])[rows[0]])


def test_dprs_pickles_load_as_its_list_of_pairs(encoded, tmp_path):
    export_embeddings(settings(encoded, "dpr", tmp_path / "o"))
    found = []
    for number in range(3):
        found += pickle.loads((tmp_path / "o" / f"passages_{number}.pkl").read_bytes())
    assert [id_ for id_, _ in found] == encoded.ids
    assert {(vector.dtype, vector.shape) for _, vector in found} == {(np.dtype(np.float32), (8,))}
    np.testing.assert_array_equal([vector for _, vector in found], encoded.vectors)


def test_parquet_has_ids_and_vectors_of_one_length(encoded, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    export_embeddings(settings(encoded, "parquet", tmp_path / "o"))
    files = [tmp_path / "o" / f"vectors-0000{number}.parquet" for number in range(3)]
    table = parquet.read_table(files)
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[8]"
    assert table["id"].to_pylist() == encoded.ids
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), encoded.vectors)


def test_parquet_without_pyarrow_names_the_extra(encoded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"pyarrow is not installed; .*dprkit\[parquet\]"):
        export_embeddings(settings(encoded, "parquet", tmp_path / "o"))


@pytest.mark.parametrize("to", ["npy", "parquet", "pyserini", "dpr"])
def test_half_precision_is_kept_where_the_form_has_it(to, encoded, take_in, tmp_path):
    if to == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    half = encoded.vectors.astype(np.float16)
    take_in(encoded.folder, dtype="float16")
    out = tmp_path / "o"
    export_embeddings(
        ExportEmbeddingsSettings(embeddings=str(tmp_path / "out"), to=to, output_dir=str(out))
    )
    if to == "npy":
        found = np.load(out / "vectors.npy")
        assert found.dtype == np.float16
    elif to == "parquet":
        table = parquet.read_table(sorted(out.glob("*.parquet")))
        found = np.stack(table["vector"].to_numpy())
    elif to == "pyserini":
        import faiss

        index = faiss.read_index(str(out / "index"))
        found = index.reconstruct_n(0, 282)
    else:
        shards = [pickle.loads((out / f"passages_{n}.pkl").read_bytes()) for n in range(3)]
        found = [vector for shard in shards for _, vector in shard]
    np.testing.assert_array_equal(np.asarray(found, np.float16), half)


@pytest.mark.parametrize("to", ["npy", "dpr"])
def test_what_is_written_out_and_taken_in_again_is_the_same(to, encoded, take_in, tmp_path):
    export_embeddings(settings(encoded, to, tmp_path / "o"))
    take_in(tmp_path / "o")
    assert read_manifest(tmp_path / "out").identity == read_manifest(encoded.folder).identity


class StopAfter(Progress):
    def __init__(self, left):
        self.left = left

    def advance(self, count, facts=None):
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("to", ["npy", "pyserini", "dpr"])
def test_a_stopped_export_ends_with_the_same_bytes(to, encoded, tmp_path):
    export_embeddings(settings(encoded, to, tmp_path / "whole"))
    for left in (50, 150):
        with pytest.raises(KeyboardInterrupt):
            export_embeddings(settings(encoded, to, tmp_path / "o"), Run(StopAfter(left)))
    export_embeddings(settings(encoded, to, tmp_path / "o"))
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "o"))
    assert one.files == other.files


def test_the_command_writes_and_is_up_to_date_afterwards(encoded, tmp_path):
    words = ["export-embeddings", "--embeddings", encoded.folder, "--to", "pyserini"]
    result = call(*words, "--output-dir", tmp_path / "o")
    assert result.exit_code == 0, result.stderr
    assert "282 vectors of 8 dimensions -> pyserini" in result.stderr
    assert "up to date" in call(*words, "--output-dir", tmp_path / "o").stderr


def test_a_shard_that_was_cut_is_named(encoded, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(encoded.folder, cut)
    shard = cut / "vectors-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-10])
    result = call("export-embeddings", "--embeddings", cut, "--output-dir", tmp_path / "o")
    assert result.exit_code == 1
    assert "vectors-00001.npy" in result.stderr
