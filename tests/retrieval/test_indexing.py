import numpy as np
import pytest

from dprkit.errors import InputError
from dprkit.manifests import read_manifest
from dprkit.retrieval.faiss_index import FaissIndex
from dprkit.retrieval.indexing import index
from dprkit.retrieval.opening import open_dense
from dprkit.retrieval.vectors import Embeddings
from dprkit.settings import IndexSettings


def test_an_exact_index_is_the_embeddings_that_it_names(embeddings, write_embeddings, tmp_path):
    others = write_embeddings(tmp_path / "others", np.ones((3, 4), np.float32))
    made = []
    for number, source in enumerate((embeddings, embeddings, others)):
        folder = str(tmp_path / str(number))
        report = index(IndexSettings(embeddings=str(source), output_dir=folder, type="exact"))
        made.append(read_manifest(folder))
        assert made[-1].inputs["embeddings"].identity == read_manifest(source).identity
    assert (report.type, report.passages) == ("exact", 3)
    assert made[0].identity == made[1].identity != made[2].identity


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
