from __future__ import annotations

from pathlib import Path

import pytest

from dprkit.retrieval.encode import encode_corpus
from dprkit.retrieval.faiss_index import index
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
