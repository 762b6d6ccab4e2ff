"""Types of index that would rank by something else than the inner product."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from dprkit.errors import InputError, SettingsError
from dprkit.indexes.build import index
from dprkit.indexes.faiss_index import FaissIndex
from dprkit.indexes.faiss_types import make
from dprkit.indexes.index_folder import IndexFolder
from dprkit.settings import IndexSettings
from tests.conftest import call

MOVED = (
    *("PCA16,Flat", "PCA8,Flat", "PCAR8,Flat", "PCAW8,SQ8", "PCAWR8,IVF4,Flat"),
    *("L2norm,Flat", "ITQ16,Flat", "ITQ8,PQ4x4", "RR,L2norm,HNSW8,Flat", "OPQ4,PCA8,PQ4x4"),
    *("PCA8,Flat,RFlat", "IVF4,Flat,Refine(PCA8,Flat)"),
)
KEPT = ("RR,Flat", "OPQ4,Flat", "OPQ4_16,SQ8", "Pad24,Flat", "RR,Pad32,IVF4,Flat", "RR,SQ8,RFlat")


@pytest.fixture(scope="module")
def shifted(tmp_path_factory, write_embeddings):
    """Vectors whose mean is far from 0 and whose lengths differ, as those of encoders do."""
    dice = np.random.default_rng(1)
    vectors = dice.standard_normal((500, 16)) * dice.uniform(0.5, 3, (500, 1)) + 1
    folder = tmp_path_factory.mktemp("shifted") / "embeddings"
    return write_embeddings(folder, vectors.astype(np.float32)), vectors.astype(np.float32)


def build(embeddings, folder, kind):
    index(IndexSettings(embeddings=str(embeddings), output_dir=str(folder), type=kind, nprobe=4))


@pytest.mark.parametrize("kind", MOVED)
def test_a_type_that_moves_or_scales_vectors_is_refused_before_it_is_built(kind, shifted, tmp_path):
    with pytest.raises(SettingsError, match=r"--type: .* moves or scales the vectors"):
        build(shifted[0], tmp_path / "i", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KEPT)
def test_a_type_that_turns_or_pads_vectors_finds_what_brute_force_finds(kind, shifted, tmp_path):
    embeddings, vectors = shifted
    build(embeddings, tmp_path / "i", kind)
    found = FaissIndex(IndexFolder(tmp_path / "i")).search(vectors[:20], 20)
    true = vectors[:20] @ vectors.T
    gold = np.argsort(-true, axis=1)[:, :20]
    shares = [len(set(a) & set(b)) / 20 for a, b in zip(found.rows, gold, strict=True)]
    assert np.mean(shares) > 0.9
    np.testing.assert_allclose(found.scores, np.take_along_axis(true, found.rows, 1), rtol=0.03)


@pytest.mark.parametrize("kind", ["SQ8_direct", "HNSW8_SQ8_direct", "RR,SQ8_direct", "SQtqmse4"])
def test_codes_for_numbers_of_another_size_are_refused(kind, shifted, tmp_path):
    with pytest.raises(SettingsError, match="made for numbers of another size"):
        build(shifted[0], tmp_path / "i", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["OPQ3,Flat", "Flat,IDMap"])
def test_a_type_that_faiss_cannot_train_or_fill_leaves_nothing_behind(kind, shifted, tmp_path):
    with pytest.raises((InputError, SettingsError), match=r"FAISS (cannot train|does not fill)"):
        build(shifted[0], tmp_path / "i", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["OPQ4,SQ8", "RQ2x4", "PQ4x4,Refine(PQ4x4)"])
def test_faiss_prints_no_warning_of_few_vectors(kind, shifted, tmp_path, capfd):
    build(shifted[0], tmp_path / "i", kind)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["PQ1x1", "RR2,Flat", "SQ4", "IVF4,PQ2x2", "PQ4x4fs", "NSG8,Flat"])
def test_coarse_codes_are_no_fault(kind, shifted, tmp_path):
    build(shifted[0], tmp_path / "i", kind)


def test_an_index_that_was_built_with_a_shift_is_not_searched(shifted, tmp_path):
    """As dprkit 0.1 built them: its file is exchanged for one that FAISS makes."""
    embeddings, vectors = shifted
    build(embeddings, tmp_path / "i", "Flat")
    moved = faiss.index_factory(16, "PCA16,Flat", faiss.METRIC_INNER_PRODUCT)
    moved.train(vectors)
    moved.add(vectors)
    faiss.write_index(moved, str(tmp_path / "i/index.faiss"))
    with pytest.raises(InputError, match=r"index\.faiss: "):
        FaissIndex(IndexFolder(tmp_path / "i"))


def test_the_line_names_the_flag_and_what_does_no_harm(shifted, tmp_path):
    line = ["index", "--embeddings", shifted[0], "--type", "L2norm,Flat"]
    made = call(*line, "--output-dir", tmp_path / "i")
    assert made.exit_code == 1
    last = made.stderr.splitlines()[-1]
    assert last.startswith("Error: --type: 'L2norm,Flat' moves or scales the vectors")
    assert "OPQ and RR rotate without harm" in last
    with pytest.raises(SettingsError, match="--types: 'PCA8,Flat' moves"):
        make("PCA8,Flat", 500, 16, "--types")  # as tune-index asks
