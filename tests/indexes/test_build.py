import json

import numpy as np
import pytest

from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError
from dprkit.evaluation.evaluate import evaluate
from dprkit.indexes.build import index
from dprkit.indexes.faiss_index import FaissIndex
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Progress, Run
from dprkit.settings import EvaluateSettings, IndexSettings
from dprkit.store.manifests import read_manifest


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
        opened = IndexFolder(tmp_path / kind).open_dense({"nprobe": 3})
        assert isinstance(opened, FaissIndex)
        assert (opened.nprobe, opened.count) == (3, 2000)


def test_a_bm25_index_is_no_index_of_vectors(embeddings, tmp_path):
    path = tmp_path / "i" / "manifest.json"
    index(IndexSettings(embeddings=str(embeddings), output_dir=str(tmp_path / "i")))
    manifest = json.loads(path.read_bytes()) | {"checksum": ""}
    manifest["counts"]["type"] = "bm25"
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="compares words"):
        IndexFolder(tmp_path / "i").open_dense()


def test_rows_are_read_across_shards(embeddings, vectors):
    opened = Embeddings(embeddings)
    np.testing.assert_array_equal(opened.read(250, 950), vectors[250:950])
    np.testing.assert_array_equal(opened.read(1990, 2500), vectors[1990:])
    rows = np.array([0, 299, 300, 301, 1999])
    np.testing.assert_array_equal(opened.take(rows), vectors[rows])


def test_a_depth_of_search_builds_nothing_and_counts_for_what_is_measured(
    tmp_path, small_index, tiny_examples
):
    """The bytes of the index are the same; the figures are not, so they are measured anew."""
    folder, notes = str(tmp_path / "i"), []
    vectors = str(small_index.parent / "embeddings")

    class Listening(Progress):
        def note(self, message):
            notes.append(message)

    def recall(**depth):
        index(IndexSettings(embeddings=vectors, output_dir=folder, **depth), run)
        wish = EvaluateSettings(
            index=folder,
            questions=str(tiny_examples),
            output_dir=str(tmp_path / "r"),
            topk=(5,),
        )
        return evaluate(wish, run).metrics["answer_recall"]["5"]

    run = Run(Listening())
    few = recall(type="IVF16,Flat", nprobe=1)
    made = (tmp_path / "i/index.faiss").stat().st_mtime_ns
    all_ = recall(type="IVF16,Flat", nprobe=16)
    assert (tmp_path / "i/index.faiss").stat().st_mtime_ns == made
    assert f"{folder}: searched with nprobe 16 from now on" in notes
    assert IndexFolder(folder).open_dense().nprobe == 16
    exact = evaluate(
        EvaluateSettings(index=str(small_index), questions=str(tiny_examples), topk=(5,))
    )
    assert all_ == exact.metrics["answer_recall"]["5"] != few  # 16 lists are all there are
    assert recall(type="IVF16,Flat", nprobe=1) == few
    assert read_manifest(folder).counts["nprobe"] == 1
    notes.clear()
    recall(type="IVF16,Flat", nprobe=1)
    assert len([note for note in notes if note.endswith(": up to date")]) == 2


def test_settings_of_another_type_rebuild_no_index(tmp_path, small_index):
    wish = {"embeddings": str(small_index.parent / "embeddings"), "output_dir": str(tmp_path / "i")}
    for kind, other in (
        ("flat", {"nprobe": 3, "ef_search": 9, "train_sample": 50, "target_recall": 0.5}),
        ("sq16", {"train_sample": 50}),
        ("hnsw", {"train_sample": 50, "nprobe": 3}),
    ):
        index(IndexSettings(**wish, type=kind))
        made = (tmp_path / "i/index.faiss").stat().st_mtime_ns
        index(IndexSettings(**wish, type=kind, **other))
        assert (tmp_path / "i/index.faiss").stat().st_mtime_ns == made, kind
