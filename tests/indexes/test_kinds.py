"""The table of index kinds: a kind of one's own is an entry and a module, and all commands take it.

The module is this one: a kind that keeps the vectors in one file and compares them all.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from dprkit.errors import InputError, SettingsError
from dprkit.evaluation.evaluate import evaluate
from dprkit.indexes.build import files_of, index
from dprkit.indexes.hits_and_tie_order import best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.kinds import KINDS, Kind, kind_names, kind_of, unused_settings
from dprkit.indexes.tune import tune_index
from dprkit.indexes.update import update_index
from dprkit.search.open_index import open_index
from dprkit.settings import (
    EvaluateSettings,
    IndexSettings,
    TuneSettings,
    UpdateSettings,
    fields_of,
)
from tests.conftest import call

QUESTIONS = ["how tall is mount kilimanjaro", "who painted the mona lisa"]


# --- the module of a kind -------------------------------------------------------------------------


def check_settings(settings):
    if settings.k1 > 2:
        raise SettingsError("--k1: too much")


def build(work, embeddings, settings):
    with work.file("vectors.npy") as file:
        np.save(file, embeddings.read(0, embeddings.count) * settings.k1)
    return {"passages": embeddings.count, "dim": embeddings.dim}


def open_folder(folder, depths):
    return Brute(np.load(folder.file("vectors.npy")))


class Brute:
    def __init__(self, vectors):
        self.vectors = vectors
        self.count, self.dim = vectors.shape

    def search(self, questions, topk, allowed=None):
        rows = np.arange(self.count) if allowed is None else allowed
        scores = (questions @ self.vectors[rows].T).astype(np.float32)
        return best(np.broadcast_to(rows, scores.shape), scores, min(topk, len(rows)))


@pytest.fixture(autouse=True)
def brute(monkeypatch):
    monkeypatch.setitem(KINDS, "brute", Kind(__name__, settings=("k1",)))


# --- what the commands make of it -----------------------------------------------------------------


def settings(small_index, folder, **more):
    vectors = str(small_index.parent / "embeddings")
    return IndexSettings(embeddings=vectors, output_dir=str(folder), type="brute", **more)


def ids(folder, **options):
    rankings = open_index(folder, **options).search(QUESTIONS, 20)
    return [[hit.id for hit in ranking.hits] for ranking in rankings]


def test_a_kind_of_ones_own_is_built_opened_searched_and_updated(
    small_index, tiny_examples, tmp_path
):
    report = index(settings(small_index, tmp_path / "i", k1=2.0))
    assert (report.type, report.passages, report.dim) == ("brute", 282, 8)
    assert ids(tmp_path / "i") == ids(small_index)
    assert isinstance(IndexFolder(tmp_path / "i").open_dense({"nprobe": 3}), Brute)
    gone = ids(small_index)[0][:2]
    (tmp_path / "gone.txt").write_text("\n".join(gone))
    wish = {"remove": str(tmp_path / "gone.txt"), "output_dir": str(tmp_path / "up")}
    assert update_index(UpdateSettings(index=str(tmp_path / "i"), **wish)).passages == 280
    assert ids(tmp_path / "up")[0] == [id_ for id_ in ids(small_index)[0] if id_ not in gone] + [
        *ids(tmp_path / "up")[0][-2:]
    ]
    figures = [
        evaluate(EvaluateSettings(index=str(folder), questions=str(tiny_examples), topk=(5,)))
        for folder in (small_index, tmp_path / "i")
    ]
    assert figures[0].metrics == figures[1].metrics


def test_a_kind_of_ones_own_refuses_settings_and_is_not_made_anew_for_those_of_others(
    small_index, tmp_path
):
    index(settings(small_index, tmp_path / "i"))
    made = (tmp_path / "i/vectors.npy").stat().st_mtime_ns
    index(settings(small_index, tmp_path / "i", b=0.1, train_sample=9, uri="http://x"))
    assert (tmp_path / "i/vectors.npy").stat().st_mtime_ns == made
    with pytest.raises(SettingsError, match="too much"):
        files_of(settings(small_index, tmp_path / "i", k1=3.0))
    index(settings(small_index, tmp_path / "i", k1=1.5))
    assert (tmp_path / "i/vectors.npy").stat().st_mtime_ns != made


def test_a_kind_of_ones_own_is_measured(small_index, tiny_examples, tmp_path, monkeypatch):
    """In this process: a new one would not know of the kind."""

    class Here:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def submit(self, function, *words):
            answer = function(*words)
            return type("", (), {"result": lambda _: answer})()

    monkeypatch.setattr("dprkit.indexes.tuning_measures.ProcessPoolExecutor", Here)
    wish = {"embeddings": str(small_index.parent / "embeddings"), "types": ("brute",)}
    report = tune_index(
        TuneSettings(**wish, questions=str(tiny_examples), output_dir=str(tmp_path / "t"))
    )
    assert [(row.type, row.recall) for row in report.rows] == [("brute", 1.0)]
    with pytest.raises(SettingsError, match="only indexes of vectors"):
        tune_index(
            TuneSettings(
                **(wish | {"types": ("bm25",)}), questions="q", output_dir=str(tmp_path / "t")
            )
        )


def test_an_index_of_words_is_none_of_vectors(small_index, tmp_path):
    vectors = str(small_index.parent / "embeddings")
    index(IndexSettings(embeddings=vectors, output_dir=str(tmp_path / "i"), type="bm25"))
    with pytest.raises(InputError, match="is a bm25 index, which compares words and no vectors"):
        IndexFolder(tmp_path / "i").open_dense()
    with pytest.raises(SettingsError, match="whose scores depend on the whole corpus"):
        update_index(UpdateSettings(index=str(tmp_path / "i"), remove="x", output_dir="o"))


def test_every_kind_has_what_the_table_says_of_it():
    known = fields_of(IndexSettings)
    for name, kind in KINDS.items():
        module, rules = kind.load(), kind.load_rules()
        assert callable(module.open_folder), name
        assert not kind.checked or callable(rules.check_settings), name
        assert name not in kind_names() or callable(module.build), name
        if kind.has_depths:
            deepest = {"late": {"candidates": 1000}, "binary": {"candidates": 2000}}
            deepest = deepest.get(name, {"nprobe": 4})
            assert rules.depths_to_try({"lists": 4})[-1] == deepest
        assert {*kind.settings} <= {*known}, name
    assert kind_of("IVF16,Flat") == kind_of("ivf") and "updated" not in kind_names()


OTHERS = {
    "train_sample": 50,
    "nprobe": 3,
    "ef_search": 9,
    "target_recall": 0.5,
    "max_ram": "8GB",
    "k1": 1.7,
    "b": 0.1,
    "stemmer": "none",
    "uri": "http://nowhere:19530",
    "collection": "c",
    "first_stage": "ivf",
    "candidates": 7,
}
KEPT = ("flat", "hnsw", "sq16", "ivf", "sq8", "IVF4,SQ8", "exact", "bm25")


@pytest.mark.parametrize("kind", KEPT)
def test_settings_of_another_kind_build_no_index_again(kind, small_index, tmp_path):
    """By the command; nprobe and ef_search build none of any kind."""
    words = ["index", "--embeddings", small_index.parent / "embeddings", "--type", kind]
    words += ["--output-dir", tmp_path / "i"]
    assert call(*words).exit_code == 0
    manifest = json.loads((tmp_path / "i/manifest.json").read_bytes())
    times = {name: (tmp_path / "i" / name).stat().st_mtime_ns for name in manifest["files"]}
    others = unused_settings(kind) | {"nprobe", "ef_search"}
    flags = [w for n in sorted(others) for w in (f"--{n.replace('_', '-')}", OTHERS[n])]
    ran = call(*words, *flags)
    assert ran.exit_code == 0 and "made again" not in ran.stderr
    assert {n: (tmp_path / "i" / n).stat().st_mtime_ns for n in times} == times
    for name in kind_of(kind).settings:
        ran = call(*words, f"--{name.replace('_', '-')}", OTHERS[name])
        assert re.search(rf"made again: .*\b{name} was", ran.stderr)
