"""retriever.yaml: all it takes to use a retriever's encoders as they were trained."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from dprkit.errors import InputError, loading
from dprkit.settings.training import PASSAGE_MAX_LENGTH, QUESTION_MAX_LENGTH, TEMPERATURES
from dprkit.yaml_file import read_yaml

CONFIG = "retriever.yaml"
Side = Literal["question", "passage"]
SIDES: tuple[Side, Side] = ("question", "passage")
QUESTION, PASSAGE = "question_encoder", "passage_encoder"
"""The folders of a retriever's encoders."""


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What retriever.yaml holds; `kind` in it is the tag of a class below."""


class RetrieverConfig(ModelConfig, frozen=True, kw_only=True, tag="bi-encoder"):
    """What retriever.yaml holds of a bi-encoder, besides `kind: bi-encoder`.

    Another kind of model is a class of its own with a tag of its own, and joins it in
    `load_config`, as a union.

    `shared`: one transformer serves questions and passages. `separate_heads`: it does, but each
    side has a projection of its own. The prefixes are put before every question and passage.
    `straight_apostrophe`: ’ in a question is read as ', as DPR does. `positions`: the tokens that
    the question's transformer can read, and the passage's; measured when a model comes in.
    """

    shared: bool = False
    separate_heads: bool = False
    pooling: Literal["cls", "mean"] = "cls"
    projection: int | None = None
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float = TEMPERATURES["dot"]
    title_join: str = "pair"
    question_max_length: int = QUESTION_MAX_LENGTH
    passage_max_length: int = PASSAGE_MAX_LENGTH
    question_prefix: str = ""
    passage_prefix: str = ""
    straight_apostrophe: bool = False
    positions: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for side, room in zip((QUESTION, PASSAGE), self.positions or (), strict=False):
            name = side.replace("encoder", "max_length")
            if getattr(self, name) > room:
                raise ValueError(f"{name}: the model reads at most {room} tokens")
        if self.separate_heads and not (self.shared and self.projection):
            raise ValueError("separate_heads needs shared: true and a projection")

    @property
    def longest(self) -> int:
        """Tokens of the longest text that is read, of either side."""
        return max(self.question_max_length, self.passage_max_length)


def is_retriever(directory: Path | str) -> bool:
    return (Path(directory) / CONFIG).is_file()


def load_config(directory: Path | str) -> RetrieverConfig:
    """The retriever.yaml of a retriever folder."""
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise InputError(
            f"{directory}: has no {CONFIG}; name a folder that dprkit train or convert made"
        )
    document = read_yaml(path)
    with loading(path, "not the settings of a retriever"):
        return msgspec.convert(document.value, RetrieverConfig)
