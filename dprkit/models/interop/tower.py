"""What a reader hands over: one or two encoders and how they are used, in dprkit's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from torch import Tensor, nn

from dprkit.errors import MismatchError
from dprkit.models.bi_encoder import BiEncoder, Encoder, device, positions
from dprkit.models.config import RetrieverConfig
from dprkit.models.tokens import Files, Tokens, tokens_for
from dprkit.settings import ConvertSettings

COSINE_TEMPERATURE = 0.05
"""Only training needs it, and most sources do not tell theirs."""


@dataclass
class Tower:
    """One foreign encoder."""

    backbone: nn.Module
    tokenizer: tuple[Any, Files]
    head: dict[str, Tensor] | None = None
    """weight (D, H) and bias (D) of a projection after pooling."""

    @property
    def room(self) -> int:
        """Tokens the transformer can read."""
        return positions(self.backbone.config)


@dataclass
class Foreign:
    """A retriever as it was found: without `passage`, the question's tower reads passages too."""

    question: Tower
    passage: Tower | None
    config: RetrieverConfig
    mapped: list[str] = field(default_factory=list)
    """What became what, a sentence each, for the report."""


def configured(
    settings: ConvertSettings, fixed: dict[str, Any], usual: dict[str, Any]
) -> RetrieverConfig:
    """The config of a source: what is `fixed` by it, and what is `usual` unless a flag says else.

    Raises MismatchError for a flag that contradicts the source.
    """
    given = {
        name: value
        for name in RetrieverConfig.__struct_fields__
        if (value := getattr(settings, name, None)) is not None
    }
    for name in given.keys() & fixed.keys():
        if given[name] != fixed[name]:
            flag = name.replace("_", "-")
            raise MismatchError(
                f"--{flag} {given[name]}: the source is made for {fixed[name]}; leave the flag out"
            )
    known = usual | given | fixed
    if known.get("similarity") == "cosine":
        known.setdefault("temperature", COSINE_TEMPERATURE)
    return RetrieverConfig(**known)


def assembled(found: Foreign) -> tuple[BiEncoder, Tokens]:
    """The model, in evaluation mode on `device()`, and the way it reads text."""
    question, passage = found.question, found.passage
    shared = passage is None or passage.backbone is question.backbone
    config = msgspec.structs.replace(
        found.config,
        shared=shared,
        separate_heads=shared and passage is not None,
        projection=_width(question, passage),
        question_max_length=min(found.config.question_max_length, question.room),
        passage_max_length=min(found.config.passage_max_length, (passage or question).room),
    )
    first = _encoder(question, config)
    second = _encoder(passage, config) if passage else first
    if first.dim != second.dim:
        raise MismatchError(
            f"questions get {first.dim} dimensions and passages {second.dim}; "
            "these two encoders are no pair"
        )
    tokens = tokens_for(question.tokenizer, config)
    if passage and not shared:
        tokens.read_passages_with(*passage.tokenizer)
    return BiEncoder(first, second, config).eval().to(device()), tokens


def _width(question: Tower, passage: Tower | None) -> int | None:
    """The width of the projections, which both sides have or neither."""
    heads = [tower.head for tower in (question, passage or question)]
    if (heads[0] is None) != (heads[1] is None):
        raise MismatchError("one encoder has a projection and the other has none; no pair")
    return int(heads[0]["weight"].shape[0]) if heads[0] else None


def _encoder(tower: Tower, config: RetrieverConfig) -> Encoder:
    encoder = Encoder(tower.backbone, config)
    if encoder.projection is not None and tower.head is not None:
        encoder.projection.load_state_dict(tower.head)
    return encoder
