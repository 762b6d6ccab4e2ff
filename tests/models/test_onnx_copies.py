"""Graphs beside a retriever: when they count, when they are made, and when they are refused."""

import shutil
import threading
import time

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from dprkit import errors
from dprkit.errors import GateError, MissingExtra
from dprkit.models import onnx_copies
from dprkit.models import onnx_export as export
from dprkit.models.onnx_copies import GRAPH, find_copy, keep_copy
from dprkit.store.integrity import input_of
from dprkit.store.manifests import read_manifest
from tests.conftest import remade
from tests.interop.foreign import convert, save_bert


@pytest.fixture
def exports(monkeypatch, made_once):
    """The paths that graphs are written to; what is written is the graph made once."""
    written = []

    def write(encoder, path):
        written.append(path)
        shutil.copy(made_once / ".backends/question" / GRAPH, path)

    monkeypatch.setattr(export, "write_graph", write)
    return written


def test_graphs_are_no_part_of_what_a_retriever_is(retriever):
    before = input_of(retriever).identity
    shutil.rmtree(retriever / ".backends")
    assert input_of(retriever).identity == before == read_manifest(retriever).identity


def test_one_encoder_for_both_sides_has_one_graph(retriever):
    assert sorted(p.name for p in (retriever / ".backends").iterdir()) == [
        "question",
        "question-int8",
    ]
    assert find_copy(retriever, "passage") == find_copy(retriever, "question")
    assert find_copy(retriever, "question").agreement < 1e-5
    assert 0.9 < find_copy(retriever, "passage", int8=True).agreement < 1


def test_what_is_there_is_not_made_again(retriever, exports):
    assert keep_copy(retriever, "passage").path == retriever / ".backends/question" / GRAPH
    assert keep_copy(retriever, "passage", int8=True).path.parents[1].name == "question-int8"
    assert exports == []


def test_the_graph_of_another_retriever_does_not_count(retriever, tmp_path, exports):
    save_bert(tmp_path / "bert", seed=7)
    convert(source=tmp_path / "bert", output_dir=tmp_path / "other")
    shutil.copytree(retriever / ".backends", tmp_path / "other/.backends")
    assert find_copy(tmp_path / "other", "question") is None
    with pytest.raises(GateError, match=r"ONNX copy differs by .* --backend torch"):
        keep_copy(tmp_path / "other", "question")  # what `exports` writes is the first one's
    assert len(exports) == 1
    assert find_copy(tmp_path / "other", "question") is None


def test_a_damaged_graph_does_not_count_and_is_made_again(retriever, exports):
    path = retriever / ".backends/question" / GRAPH
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert find_copy(retriever, "question") is None
    assert keep_copy(retriever, "question").path == path
    assert path.read_bytes() == whole
    assert len(exports) == 1


def test_a_graph_lies_in_the_cache_where_the_retriever_cannot_be_written(
    retriever, exports, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.rmtree(retriever / ".backends")
    (retriever / ".backends").write_text("in the way")
    made = keep_copy(retriever, "question")
    assert made.path.is_relative_to(tmp_path / "cache/dprkit/backends")
    assert find_copy(retriever, "question") == made
    assert keep_copy(retriever, "question") == made
    assert len(exports) == 1


def test_of_two_that_ask_at_once_one_makes_it_and_the_other_waits(retriever, monkeypatch, exports):
    shutil.rmtree(retriever / ".backends")
    write, found = export.write_graph, []

    def slowly(encoder, path):
        time.sleep(0.5)
        write(encoder, path)

    monkeypatch.setattr(export, "write_graph", slowly)
    asking = [
        threading.Thread(target=lambda: found.append(keep_copy(retriever, "question")))
        for _ in range(2)
    ]
    for one in asking:
        one.start()
        time.sleep(0.1)
    for one in asking:
        one.join()
    assert len(exports) == 1
    assert found[0] == found[1] == find_copy(retriever, "question")


def test_an_int8_graph_unlike_the_retriever_is_refused(retriever, monkeypatch, exports):
    path, noise = retriever / "probes.safetensors", np.random.default_rng(0)
    with safe_open(path, "np") as probes:
        texts = probes.metadata()
        vectors = {name: probes.get_tensor(name) for name in ("questions", "passages")}
    save_file(
        {name: noise.standard_normal(v.shape, np.float32) for name, v in vectors.items()},
        path,
        texts,
    )
    shutil.rmtree(retriever / ".backends")
    remade(retriever)
    monkeypatch.setattr(onnx_copies, "CLOSE", np.inf)
    with pytest.raises(GateError, match="leave --int8 out"):
        keep_copy(retriever, "question", int8=True)
    assert not (retriever / ".backends/question-int8").exists()


def test_the_extra_is_named_where_it_is_missing(retriever, monkeypatch):
    shutil.rmtree(retriever / ".backends")
    monkeypatch.setattr(errors, "find_spec", lambda module: None)
    with pytest.raises(MissingExtra, match=r"onnxruntime is not .*'dprkit\[onnx\]'"):
        keep_copy(retriever, "question")


def test_a_restart_makes_it_again(retriever, exports):
    from dprkit.progress import Run

    keep_copy(retriever, "question", run=Run(restart=True))
    assert len(exports) == 1
    assert onnx_copies.find_copy(retriever, "question")
