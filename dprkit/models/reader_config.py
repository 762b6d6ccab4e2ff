"""reader.yaml: all it takes to use a reader as it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from dprkit.errors import InputError, MismatchError, loading, reading
from dprkit.models.config import READER, is_retriever
from dprkit.settings.train_reader import READER_MAX_LENGTH
from dprkit.yaml_file import read_yaml

TokenTypes = Literal["segments", "zeros"]
LEAST = 16
"""The fewest tokens of an input that leave room for a question, a title and a text."""


class ReaderConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="reader"
):
    """What reader.yaml holds.

    `passage_max_length`: tokens of a whole input: question, title and text. `token_types`: 0 up to
    the end of the question and 1 after it (segments), as DPR trains, or 0 everywhere (zeros), as
    transformers' DPRReader reads. `straight_apostrophe`: ’ in a question is read as ', as DPR does.
    `positions`: the tokens that the transformer can read; measured when a model comes in.
    """

    passage_max_length: int = READER_MAX_LENGTH
    token_types: TokenTypes = "segments"
    straight_apostrophe: bool = False
    positions: int | None = None

    def __post_init__(self) -> None:
        if self.passage_max_length < LEAST:
            raise ValueError(f"passage_max_length: expected a number from {LEAST} up")
        if self.positions is not None and self.passage_max_length > self.positions:
            raise ValueError(f"passage_max_length: the model reads at most {self.positions} tokens")

    def document(self) -> dict[str, Any]:
        """The lines of reader.yaml."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def is_reader(directory: Path | str) -> bool:
    """Whether a folder is a reader's. Raises InputError where that may not be seen."""
    with reading(directory):
        return (Path(directory) / READER).is_file()


def load_reader_config(directory: Path | str) -> ReaderConfig:
    """The reader.yaml of a reader folder. Raises MismatchError for a retriever's."""
    path = Path(directory) / READER
    if not is_reader(directory):
        if is_retriever(directory):
            raise MismatchError(
                f"{directory}: is a retriever, which finds passages; a reader is needed here: "
                "name a folder that dprkit train-reader made"
            )
        raise InputError(
            f"{directory}: has no {READER}; name a folder that dprkit train-reader or convert made"
            + _convert_first(Path(directory))
        )
    document = read_yaml(path)
    with loading(path, "not the settings of a reader"):
        config: ReaderConfig = msgspec.convert(document.value, ReaderConfig)
    return config


def _convert_first(source: Path) -> str:
    """What to do with a reader of another library, or `""`."""
    config = source / "config.json"
    foreign = source.is_file() or (config.is_file() and b'"DPRReader"' in config.read_bytes())
    return f", such as dprkit convert {source} --output-dir READER" if foreign else ""
