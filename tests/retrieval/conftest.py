from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dprkit.artifacts import draft
from dprkit.progress import Run
from dprkit.retrieval.encode import encode_corpus
from dprkit.retrieval.indexing import index
from dprkit.retrieval.vectors import write_shard
from dprkit.settings import EncodeSettings, IndexSettings


@pytest.fixture(scope="session")
def small_index(
    tmp_path_factory: pytest.TempPathFactory, small_retriever: Path, tiny_passages: Path
) -> Path:
    """The shipped passages, encoded in shards of 100 and indexed."""
    folder = tmp_path_factory.mktemp("corpus")
    encode_corpus(
        EncodeSettings(
            retriever=str(small_retriever),
            passages=str(tiny_passages),
            output_dir=str(folder / "embeddings"),
            shard_size=100,
        )
    )
    index(IndexSettings(embeddings=str(folder / "embeddings"), output_dir=str(folder / "index")))
    return folder / "index"


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """(2000, 16) float32 of different lengths, in clusters."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((40, 16))
    found = centres[dice.integers(0, 40, 2000)] + 0.5 * dice.standard_normal((2000, 16))
    return found.astype(np.float32)


@pytest.fixture(scope="session")
def write_embeddings() -> Callable[..., Path]:
    return _write_embeddings


def _write_embeddings(folder: Path, vectors: np.ndarray, shard: int = 300) -> Path:
    """An embeddings artifact of these vectors, of a corpus that is a file."""
    corpus = folder.parent / f"{folder.name}.txt"
    corpus.write_text(folder.name)
    with draft(folder, "embeddings", {}, {"passages": str(corpus)}, Run()) as work:
        begins = range(0, len(vectors), shard)
        for number, begin in enumerate(begins):
            own = vectors[begin : begin + shard]
            write_shard(work, number, own, [f"p{begin + n}" for n in range(len(own))])
        count, dim = vectors.shape
        work.finish({"passages": count, "dim": dim, "shards": len(begins)})
    return folder


@pytest.fixture(scope="session")
def embeddings(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    return _write_embeddings(tmp_path_factory.mktemp("vectors") / "embeddings", vectors)
