"""A foreign ColBERT model in dprkit's words: a transformer, a projection, and how they are used.

What a checkpoint does not say of its use (markers, [MASK] behind questions, lengths, the skip-list)
is assumed, and told with the flag that changes it.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from dprkit.errors import InputError, SettingsError, loading
from dprkit.interop.tower import AS_GIVEN, Tower, check_lengths
from dprkit.models.bi_encoder import device
from dprkit.models.config import ColbertConfig, RetrieverConfig
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens, late_tokens
from dprkit.settings import ConvertSettings, TrainSettings

PUNCTUATION = tuple(string.punctuation)
USES = frozenset(ColbertConfig.__struct_fields__) & frozenset(ConvertSettings.__struct_fields__)
"""The flags that say how a ColBERT model is used."""
ONE_VECTOR = frozenset(RetrieverConfig.__struct_fields__) - USES
"""The flags that are about one vector a text."""


@dataclass
class ForeignColbert:
    """A ColBERT model as it was found."""

    tower: Tower
    projection: Tensor
    """(D, H): a token's state of H numbers becomes a vector of D."""
    config: ColbertConfig
    mapped: list[str] = field(default_factory=list)
    """What became what, a sentence each, for the report."""

    @property
    def idle(self) -> list[str]:
        """The weights that are passed over."""
        return sorted(self.tower.idle)


def configured_colbert(
    settings: ConvertSettings, said: Mapping[str, Any], assumed: Mapping[str, Any]
) -> tuple[ColbertConfig, list[str]]:
    """The config of a source, and a sentence for each value that is assumed.

    Flags win over what the source has `said`, and that wins over what is `assumed`; a value of None
    was not said. Raises SettingsError for a flag that only bi-encoders have.
    """
    given = _given(settings)
    known = {name: value for name, value in said.items() if value is not None}
    missing = {name: value for name, value in assumed.items() if name not in known | given}
    with loading(str(settings.source), "its settings do not fit together"):
        config = ColbertConfig(**{**assumed, **known, **given, **AS_GIVEN})
    return config, [_assumption(name, value) for name, value in missing.items()]


def refuse_late_flags(settings: ConvertSettings) -> None:
    """Raises SettingsError for a flag that only ColBERT models have, of another source."""
    for name in sorted(USES - frozenset(RetrieverConfig.__struct_fields__)):
        if getattr(settings, name) is not None:
            flag = name.replace("_", "-")
            raise SettingsError(f"--{flag} is for ColBERT models; the source is none")


def _given(settings: ConvertSettings) -> dict[str, Any]:
    """The flags that were given, as fields of the config."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    given = {name: value for name, value in values.items() if value is not None}
    for name in sorted(given.keys() & ONE_VECTOR):
        flag = name.replace("_", "-")
        raise SettingsError(
            f"--{flag} is for models with one vector a text; the source is a ColBERT model, which "
            "has one for each token"
        )
    if "skip" in given:
        given["skip"] = PUNCTUATION if given["skip"] == "punctuation" else ()
    return {name: given[name] for name in given.keys() & USES}


def _assumption(name: str, value: Any) -> str:
    words, flag = name.replace("_", " "), name.replace("_", "-")
    if name == "skip":
        value = "punctuation" if value else "none"
    shown = repr(value) if value == "" or name.endswith("prefix") else value
    if isinstance(value, bool):
        flag, shown = f"[no-]{flag}", "yes" if value else "no"
    return f"{words}: {shown} is assumed, since the source does not say it; --{flag} changes it"


def checked_projection(weight: Any, tower: Tower, where: Path) -> Tensor:
    """A projection (D, H) in float32. Raises InputError where it does not fit the transformer."""
    width = int(tower.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    shape = tuple(weight.shape) if isinstance(weight, Tensor) else "no"
    if not isinstance(weight, Tensor) or weight.dim() != 2 or shape[1] != width or not shape[0]:
        raise InputError(
            f"{where}: has {shape} numbers for a projection; its transformer needs (size, {width})"
        )
    if not weight.isfinite().all():
        raise InputError(f"{where}: its projection has numbers that are not finite; fetch it again")
    return weight.to(torch.float32)


def assembled_colbert(
    foreign: ForeignColbert, settings: ConvertSettings | TrainSettings
) -> tuple[Colbert, LateTokens]:
    """The model, in evaluation mode on `device()`, and the way it reads text.

    Lengths are cut to what the transformer can read. Raises SettingsError for one that a flag asks
    for beyond it, InputError for a marker or a [MASK] that the vocabulary lacks.
    """
    tower, config = foreign.tower, foreign.config
    room = tower.room
    check_lengths(settings, (room, room))
    config = msgspec.structs.replace(
        config,
        embedding_size=len(foreign.projection),
        question_max_length=min(config.question_max_length, room),
        passage_max_length=min(config.passage_max_length, room),
        expansion_length=min(config.expansion_length, room),
        positions=(room, room),
    )
    tokens = late_tokens(tower.tokenizer, config, tower.where)
    model = Colbert(tower.backbone, tokens)
    with torch.no_grad():
        model.projection.weight.copy_(foreign.projection)
    return model.eval().to(device()), tokens


def started_colbert(
    foreign: ForeignColbert,
    given: Mapping[str, Any],
    settings: TrainSettings,
    warn: Callable[[str], None],
) -> tuple[Colbert, LateTokens]:
    """A foreign model to train on, as `assembled_colbert` makes it.

    `given`: the flags of its use, as fields of ColbertConfig; they win, and are told where the
    source says otherwise. The size of a vector is that of the source whatever `given` says.
    """
    source, said = settings.init, foreign.config
    size = len(foreign.projection)
    for name, ours in given.items():
        theirs = size if name == "embedding_size" else getattr(said, name)
        if theirs == ours or name == "temperature":  # no source says that
            continue
        flag = name.replace("_", "-")
        taken = f"{size} is taken" if name == "embedding_size" else f"--{flag} {ours} is taken"
        warn(f"{source}: says {name} {theirs}; {taken}")
    with loading(str(source), "its settings do not fit the flags"):
        foreign.config = msgspec.structs.replace(said, **given)
    return assembled_colbert(foreign, settings)
