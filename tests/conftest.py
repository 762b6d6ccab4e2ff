"""What many tests share: a small real retriever, made by the real stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprkit.settings import TrainSettings, bundled

SMALL = {
    "scratch_hidden_size": 16,
    "scratch_vocab_size": 600,
    "projection": 8,
    "batch_size": 16,
}


@pytest.fixture(scope="session")
def tiny_examples() -> Path:
    """The shipped examples: 240 rows in DPR's form."""
    return bundled("bundled:tiny/examples.json")


@pytest.fixture(scope="session")
def tiny_passages() -> Path:
    return bundled("bundled:tiny/passages.tsv")


@pytest.fixture(scope="session")
def small_retriever(tmp_path_factory: pytest.TempPathFactory, tiny_examples: Path) -> Path:
    """A retriever with random weights, 8 dimensions wide."""
    from dprkit.training.trainer import train

    folder = tmp_path_factory.mktemp("small") / "model"
    train(
        TrainSettings(train_file=str(tiny_examples), max_epochs=0, output_dir=str(folder), **SMALL)
    )
    return folder
