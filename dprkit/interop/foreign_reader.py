"""A foreign reader in dprkit's words: a transformer, the two heads, and how they are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from torch import Tensor

from dprkit.errors import InputError, SettingsError, loading
from dprkit.interop.tower import Tower
from dprkit.models.bi_encoder import device
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_config import ReaderConfig
from dprkit.models.reader_tokens import ReaderTokens, reader_tokens
from dprkit.settings import ConvertSettings

HEADS = {"qa_outputs": "span", "qa_classifier": "relevance"}
"""DPR's names of the heads, and ours."""
USES = frozenset(ReaderConfig.__struct_fields__)
COMMON = USES | {"source", "output_dir", "kind", "backbone"}
"""The settings of convert that a reader has a use for."""


@dataclass
class ForeignReader:
    """A reader as it was found."""

    tower: Tower
    heads: dict[str, Tensor]
    """span.weight (2, H), span.bias, relevance.weight (1, H), relevance.bias."""
    config: ReaderConfig
    mapped: list[str] = field(default_factory=list)
    """What became what, a sentence each, for the report."""

    @property
    def idle(self) -> list[str]:
        """The weights that are passed over."""
        return sorted(self.tower.idle)


def configured_reader(settings: ConvertSettings, usual: dict[str, Any]) -> ReaderConfig:
    """What is `usual` for a source unless a flag says else.

    Raises SettingsError for a flag that only retrievers have.
    """
    given = {
        name: value
        for name in settings.__struct_fields__
        if (value := getattr(settings, name)) is not None
    }
    for name in sorted(given.keys() - COMMON):
        flag = name.replace("_", "-")
        raise SettingsError(f"--{flag} is for retrievers; {settings.source} is a reader")
    with loading(str(settings.source), "its settings do not fit together"):
        return ReaderConfig(**(usual | {name: given[name] for name in given.keys() & USES}))


def heads_in(weights: dict[str, Tensor], where: object) -> dict[str, Tensor]:
    """The heads among weights under DPR's names. Raises InputError where one is missing."""
    names = [f"{head}.{part}" for head in HEADS for part in ("weight", "bias")]
    if missing := [name for name in names if name not in weights]:
        raise InputError(f"{where}: its weights lack {missing[0]}; name a whole reader")
    return {
        f"{ours}.{part}": weights[f"{theirs}.{part}"].float()
        for theirs, ours in HEADS.items()
        for part in ("weight", "bias")
    }


def mapped_heads(config: ReaderConfig) -> list[str]:
    """What became of the heads, for the report."""
    types = "0" if config.token_types == "zeros" else "0 for the question and 1 after it"
    return [
        "qa_outputs gives start and end, qa_classifier the relevance",
        f"token types are {types}",
    ]


def assembled_reader(
    foreign: ForeignReader, settings: ConvertSettings
) -> tuple[ReaderModel, ReaderTokens]:
    """The model, in evaluation mode on `device()`, and how it reads text.

    The length is cut to what the transformer can read. Raises SettingsError for one that a flag
    asks for beyond it, InputError where transformer, heads and tokenizer do not fit.
    """
    tower = foreign.tower
    if (settings.passage_max_length or 0) > tower.room:
        raise SettingsError(f"--passage-max-length: the model reads at most {tower.room} tokens")
    length = min(foreign.config.passage_max_length, tower.room)
    config = msgspec.structs.replace(
        foreign.config, passage_max_length=length, positions=tower.room
    )
    tokens = reader_tokens(tower.tokenizer, config, tower.where)
    model = ReaderModel(tower.backbone, tokens)
    with loading(tower.where, "its heads do not fit its transformer"):
        model.heads.load_state_dict(foreign.heads)
    return model.eval().to(device()), tokens
