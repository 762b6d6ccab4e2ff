"""--precision auto: what the machine multiplies faster, told by the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprkit.errors import SettingsError
from dprkit.models import precision
from dprkit.models.retriever import load_retriever
from dprkit.store.manifests import read_manifest
from tests.conftest import call


def done(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return result.stderr


def content(folder: Path) -> dict[str, str]:
    return {name: one.sha256 for name, one in read_manifest(folder).files.items() if one.content}


@pytest.mark.parametrize(("has_bf16", "meant"), [(True, "bf16"), (False, "fp32")])
def test_auto_encodes_as_the_type_that_it_stands_for(
    has_bf16, meant, small_retriever, tiny_passages, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "_has_bf16", lambda: has_bf16)
    words = ["encode-corpus", "--retriever", small_retriever, "--passages", tiny_passages]
    chosen, named = tmp_path / "auto", tmp_path / meant
    done(*words, "--precision", "auto", "--output-dir", chosen)
    done(*words, "--precision", meant, "--output-dir", named)
    assert read_manifest(chosen).settings["precision"] == meant
    assert content(chosen) == content(named)
    assert "up to date" in done(*words, "--precision", meant, "--output-dir", chosen)
    done("index", "--embeddings", chosen, "--output-dir", tmp_path / "index")
    (tmp_path / "q.txt").write_text("who was it\n")
    done("search", "--index", tmp_path / "index", "--questions", tmp_path / "q.txt", "--topk", "3")


def test_a_precision_that_is_none_is_refused(small_retriever):
    with pytest.raises(SettingsError, match="'fp8' is none of fp32, tf32, bf16, fp16"):
        load_retriever(small_retriever, precision="fp8").encode_questions(["who"])


def test_auto_trains_as_the_type_that_it_stands_for(
    small_retriever, tiny_examples, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "_has_bf16", lambda: True)
    words = ["train", "--train-file", tiny_examples, "--init", small_retriever, "--max-steps", "2"]
    for given in ("auto", "bf16", "fp32"):
        done(*words, "--lr", "0.01", "--precision", given, "--output-dir", tmp_path / given)
    weights = "question_encoder/model.safetensors"
    auto, half, full = (content(tmp_path / name)[weights] for name in ("auto", "bf16", "fp32"))
    assert auto == half != full
