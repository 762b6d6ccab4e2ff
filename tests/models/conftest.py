"""A small retriever with its ONNX graphs, made once."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.interop.foreign import convert, save_bert

MISSING = [m for m in ("onnx", "onnxscript", "onnxruntime") if find_spec(m) is None]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One BERT for both sides, with mean pooling and cosine, and both its ONNX copies."""
    if MISSING:
        pytest.skip(f"the extra onnx is not installed: no {MISSING[0]}")
    from dprkit.models.onnx_copies import keep_copy

    folder = tmp_path_factory.mktemp("copies")
    save_bert(folder / "bert")
    use = {"pooling": "mean", "similarity": "cosine", "title_join": ". "}
    convert(source=folder / "bert", output_dir=folder / "model", **use)
    keep_copy(folder / "model", "question", int8=True)
    return folder / "model"


@pytest.fixture
def retriever(made_once: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(made_once, tmp_path / "model"))
