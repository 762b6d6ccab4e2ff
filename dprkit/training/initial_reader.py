"""The reader before training: a transformer with new heads, or a reader that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from dprkit.errors import SettingsError
from dprkit.interop.colbert import ForeignColbert
from dprkit.interop.foreign_reader import ForeignReader
from dprkit.models.bi_encoder import device
from dprkit.models.config import is_retriever
from dprkit.models.late_interaction import Colbert
from dprkit.models.position_limit import measured
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_config import ReaderConfig, TokenTypes, is_reader
from dprkit.models.reader_tokens import ReaderTokens, reader_tokens
from dprkit.models.reading import load_reader_model
from dprkit.models.retriever_folder import load_model
from dprkit.models.tokens import Files
from dprkit.progress import Run
from dprkit.training.starting_transformer import foreign_model

DEVIATION = 0.02
"""Of the numbers that the heads' weights begin with, as in DPR."""


class Start(NamedTuple):
    """What a reader is made of."""

    backbone: nn.Module
    loaded: tuple[Any, Files]
    """The tokenizer and its files."""
    where: Path | str
    said: dict[str, Any]
    """What the source says of its use, as fields of ReaderConfig."""
    heads: dict[str, Tensor] | None = None
    """Of a source that is a reader."""


def starting_reader(
    init: str,
    run: Run = Run(),
    *,
    passage_max_length: int | None = None,
    token_types: TokenTypes | None = None,
    seed: int = 0,
    dropout: float = 0.0,
) -> tuple[ReaderModel, ReaderTokens]:
    """A reader made of `init`, in evaluation mode on `device()`, and how it reads text.

    `init`: the folder of a reader, which goes on; of a retriever, whose passage encoder is taken;
    or of a foreign model, or its name on the hub. New heads are drawn from `seed`. Raises
    InputError, MismatchError, SettingsError for a length beyond what the transformer reads.
    """
    given = {"passage_max_length": passage_max_length, "token_types": token_types}
    start = _start(init, run)
    return reader_from(start, {k: v for k, v in given.items() if v is not None}, seed, dropout)


def reader_from(
    start: Start, given: dict[str, Any], seed: int = 0, dropout: float = 0.0
) -> tuple[ReaderModel, ReaderTokens]:
    """A reader made of a transformer. `given`: fields of ReaderConfig that are asked for."""
    tokens = reader_tokens(start.loaded, _config(start, given), start.where)
    model = ReaderModel(start.backbone, tokens, dropout)
    model.heads.load_state_dict(start.heads or _new_heads(model, seed))
    return model.eval().to(device()), tokens


def _start(init: str, run: Run) -> Start:
    if is_reader(init):
        reader, how = load_reader_model(init)
        said = msgspec.structs.asdict(how.config)
        return Start(reader.backbone, how.loaded, init, said, reader.heads.state_dict())
    if is_retriever(init):
        model, tokens = load_model(init)
        backbone = model.backbone if isinstance(model, Colbert) else model.passage_encoder.backbone
        said = {"straight_apostrophe": model.config.straight_apostrophe}
        return Start(backbone, tokens.of["passage"], init, said)
    _, foreign = foreign_model(init, run)
    if isinstance(foreign, ForeignReader):
        said = msgspec.structs.asdict(foreign.config)
        tower = foreign.tower
        said["passage_max_length"] = min(said["passage_max_length"], tower.room)
        return Start(tower.backbone, tower.tokenizer, init, said, foreign.heads)
    if isinstance(foreign, ForeignColbert):
        tower = foreign.tower
    else:
        tower = foreign.passage or foreign.question
    said = {"straight_apostrophe": foreign.config.straight_apostrophe}
    return Start(tower.backbone, tower.tokenizer, init, said)


def _config(start: Start, given: dict[str, Any]) -> ReaderConfig:
    """What is asked for; else what the source says; else the usual, as far as it can be read."""
    room = measured(start.backbone, start.loaded[0], start.where)
    if given.get("passage_max_length", 0) > room:
        raise SettingsError(f"--passage-max-length: the model reads at most {room} tokens")
    kinds = int(getattr(start.backbone.config, "type_vocab_size", 0) or 0)
    if given.get("token_types") == "segments" and kinds < 2:
        raise SettingsError(
            f"--token-types segments: {start.where} has no two token types; leave it out"
        )
    usual = {
        "passage_max_length": min(ReaderConfig().passage_max_length, room),
        "token_types": "segments" if kinds > 1 else "zeros",
    }
    return ReaderConfig(**(usual | start.said | given | {"positions": room}))


def _new_heads(model: ReaderModel, seed: int) -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {
        name: torch.empty(weight.shape).normal_(0, DEVIATION, generator=dice)
        if name.endswith("weight")
        else torch.zeros(weight.shape)
        for name, weight in model.heads.state_dict().items()
    }
