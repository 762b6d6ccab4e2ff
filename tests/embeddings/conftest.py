from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.importing import ImportReport, import_embeddings
from dprkit.embeddings.shards import Embeddings
from dprkit.settings import EncodeSettings, ImportEmbeddingsSettings

SHARD = 100


class Encoded(NamedTuple):
    """The shipped passages as dprkit encodes them."""

    folder: Path
    vectors: np.ndarray
    ids: list[str]


@pytest.fixture(scope="session")
def encoded(
    tmp_path_factory: pytest.TempPathFactory, small_retriever: Path, tiny_passages: Path
) -> Encoded:
    folder = tmp_path_factory.mktemp("encoded") / "embeddings"
    encode_corpus(
        EncodeSettings(
            retriever=str(small_retriever),
            passages=str(tiny_passages),
            output_dir=str(folder),
            shard_size=SHARD,
        )
    )
    found = Embeddings(folder)
    return Encoded(folder, np.concatenate(list(found.vectors())), found.ids())


@pytest.fixture
def take_in(
    small_retriever: Path, tiny_passages: Path, tmp_path: Path
) -> Callable[..., ImportReport]:
    """take_in(sources..., **settings): import them for the shipped passages into tmp_path/out."""

    def take(*sources: Path, **more: object) -> ImportReport:
        given = {
            "retriever": str(small_retriever),
            "passages": str(tiny_passages),
            "output_dir": str(tmp_path / "out"),
            "shard_size": SHARD,
        }
        paths = tuple(map(str, sources))
        return import_embeddings(ImportEmbeddingsSettings(sources=paths, **{**given, **more}))

    return take
