"""A foreign retriever in dprkit's words: one or two encoders, and how they are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn

from dprkit.errors import MismatchError, SettingsError, loading
from dprkit.models.bi_encoder import BiEncoder, Encoder, device
from dprkit.models.config import RetrieverConfig
from dprkit.models.decoders import reads_one_way
from dprkit.models.heads import Heads, width_behind
from dprkit.models.nested_sizes import refuse_misfit
from dprkit.models.position_limit import measured
from dprkit.models.tokens import Files, Tokens
from dprkit.settings import ConvertSettings, TrainSettings
from dprkit.settings.training import DECODER, TEMPERATURES

AS_GIVEN: dict[str, Any] = {"strip": False}
"""How the libraries of sources other than DPR's read texts: white space at their ends is theirs."""


@dataclass
class Tower:
    """One foreign encoder."""

    backbone: nn.Module
    tokenizer: tuple[Any, Files]
    where: Path
    """The folder or file it was read from."""
    head: dict[str, Tensor] | None = None
    """weight (D, H) and bias (D) of a projection after pooling, or the weights of `heads`."""
    idle: list[str] = field(default_factory=list)
    """Weights of heads that are passed over."""
    heads: Heads = ()
    """The layers after pooling, where they are more than a projection."""

    @cached_property
    def room(self) -> int:
        """Tokens that the transformer can read. Raises InputError where the two do not fit."""
        return measured(self.backbone, self.tokenizer[0], self.where)


@dataclass
class Foreign:
    """A retriever as it was found: without `passage`, the question's tower reads passages too."""

    question: Tower
    passage: Tower | None
    config: RetrieverConfig
    mapped: list[str] = field(default_factory=list)
    """What became what, a sentence each, for the report."""
    include_prompt: bool = True
    """Whether the tokens of a prompt have a part in its vectors."""

    @property
    def shared(self) -> bool:
        """Whether one transformer serves both sides."""
        return self.passage is None or self.passage.backbone is self.question.backbone

    @property
    def idle(self) -> list[str]:
        """The weights that are passed over, of both sides."""
        return sorted({*self.question.idle, *(self.passage.idle if self.passage else ())})

    @property
    def use(self) -> RetrieverConfig:
        """The config, with what the towers say of themselves."""
        return msgspec.structs.replace(
            self.config,
            shared=self.shared,
            separate_heads=self.shared and self.passage is not None,
            projection=_width(self.question, self.passage),
            heads=self.question.heads,
        )


def usual_use(tower: Tower) -> dict[str, Any]:
    """How a plain transformer is used, where it is otherwise than an encoder is by default."""
    with loading(tower.where, "the model cannot be used as an encoder of texts"):
        return dict(DECODER) if reads_one_way(tower.backbone) else {}


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
    config = usual | given | fixed
    config["truncate_dim"] = config.get("truncate_dim") or None
    if config.get("similarity") == "cosine":
        # Only training needs it, and most sources do not tell theirs.
        config.setdefault("temperature", TEMPERATURES["cosine"])
    return RetrieverConfig(**config)


def assembled(
    foreign: Foreign, settings: ConvertSettings | TrainSettings
) -> tuple[BiEncoder, Tokens]:
    """The model, in evaluation mode on `device()`, and the way it reads text.

    Lengths are cut to what the transformers can read. Raises SettingsError for one that a flag
    asks for beyond it, InputError where a transformer and its tokenizer do not fit.
    """
    question, passage = foreign.question, foreign.passage
    rooms = question.room, (question if foreign.shared or passage is None else passage).room
    check_lengths(settings, rooms)
    config = msgspec.structs.replace(
        foreign.use,
        truncate_dim=_size(foreign, settings),
        question_max_length=min(foreign.config.question_max_length, rooms[0]),
        passage_max_length=min(foreign.config.passage_max_length, rooms[1]),
        positions=rooms,
    )
    if config.pooling == "cls" and reads_one_way(question.backbone):
        raise MismatchError(
            f"{question.where}: is a decoder, whose first token knows nothing of the text behind "
            "it; choose another pooling than cls, such as --pooling last"
        )
    first = _encoder(question, config)
    second = _encoder(passage, config) if passage else first
    if first.dim != second.dim:
        raise MismatchError(
            f"questions get {first.dim} dimensions and passages {second.dim}; "
            "name two encoders that were trained together"
        )
    tokens = Tokens(question.tokenizer, config)
    if passage and not foreign.shared:
        tokens.read_passages_with(*passage.tokenizer)
    return BiEncoder(first, second, config).eval().to(device()), tokens


def _size(foreign: Foreign, settings: ConvertSettings | TrainSettings) -> int | None:
    """What the vectors are cut to. Raises MismatchError for a flag that asks for more than all.

    Of a source that says so it cuts nothing, as sentence-transformers has it.
    """
    hidden: Any = foreign.question.backbone.config.hidden_size  # type: ignore[union-attr]
    size, use = foreign.config.truncate_dim, foreign.use
    width = use.projection or width_behind(use.heads, int(hidden))
    if getattr(settings, "truncate_dim", None):
        refuse_misfit(size or 0, width, foreign.question.where)
    return size if size and size < width else None


def check_lengths(settings: ConvertSettings | TrainSettings, rooms: tuple[int, int]) -> None:
    """Raises SettingsError for a length beyond what the transformers can read."""
    names = "question_max_length", "passage_max_length"
    for name, room in zip(names, rooms, strict=True):
        if (getattr(settings, name) or 0) > room:
            flag = name.replace("_", "-")
            raise SettingsError(f"--{flag}: the model reads at most {room} tokens")


def _width(question: Tower, passage: Tower | None) -> int | None:
    """The width of the projections, which both sides have or neither; None of other heads."""
    heads = [tower.head for tower in (question, passage or question)]
    if (heads[0] is None) != (heads[1] is None):
        raise MismatchError(
            "one encoder has a projection and the other has none; "
            "name two encoders that were trained together"
        )
    if passage and question.heads != passage.heads:
        raise MismatchError(
            "the layers behind pooling differ between the two encoders; name two that were trained "
            "together"
        )
    return int(heads[0]["weight"].shape[0]) if heads[0] and not question.heads else None


def _encoder(tower: Tower, config: RetrieverConfig) -> Encoder:
    encoder = Encoder(tower.backbone, config)
    if encoder.projection is not None and tower.head is not None:
        with loading(tower.where, "its projection does not fit its transformer"):
            encoder.projection.load_state_dict(tower.head)
    return encoder
