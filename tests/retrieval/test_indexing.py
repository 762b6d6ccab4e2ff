import numpy as np
import pytest

from dprkit.errors import InputError
from dprkit.manifests import read_manifest
from dprkit.retrieval.faiss_index import FaissIndex
from dprkit.retrieval.indexing import index, open_dense
from dprkit.retrieval.vectors import Embeddings
from dprkit.settings import IndexSettings


def test_exact_writes_a_manifest_and_no_file(embeddings, tmp_path):
    report = index(
        IndexSettings(embeddings=str(embeddings), output_dir=str(tmp_path / "i"), type="exact")
    )
    manifest = read_manifest(tmp_path / "i")
    assert (report.type, report.passages, manifest.files) == ("exact", 2000, {})
    assert manifest.inputs["embeddings"].identity == read_manifest(embeddings).identity


def test_an_index_is_opened_by_its_manifest(embeddings, vectors, tmp_path):
    for kind in ("flat", "ivf"):
        index(IndexSettings(embeddings=str(embeddings), output_dir=str(tmp_path / kind), type=kind))
        opened = open_dense(tmp_path / kind, nprobe=3)
        assert isinstance(opened, FaissIndex)
        assert (opened.nprobe, opened.count) == (3, 2000)


def test_a_bm25_index_is_no_index_of_vectors(embeddings, tmp_path):
    path = tmp_path / "i" / "manifest.json"
    index(IndexSettings(embeddings=str(embeddings), output_dir=str(tmp_path / "i")))
    path.write_text(path.read_text().replace('"type": "flat"', '"type": "bm25"'))
    with pytest.raises(InputError, match="compares words"):
        open_dense(tmp_path / "i")


def test_rows_are_read_across_shards(embeddings, vectors):
    opened = Embeddings(embeddings)
    np.testing.assert_array_equal(opened.read(250, 950), vectors[250:950])
    np.testing.assert_array_equal(opened.read(1990, 2500), vectors[1990:])
    rows = np.array([0, 299, 300, 301, 1999])
    np.testing.assert_array_equal(opened.take(rows), vectors[rows])
