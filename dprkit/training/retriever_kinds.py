"""The kinds of retriever that are trained: which is asked for, and which settings it has."""

from __future__ import annotations

import string
from typing import Any, Literal

import msgspec

from dprkit.errors import MismatchError, SettingsError
from dprkit.models.config import (
    ColbertConfig,
    Config,
    RetrieverConfig,
    bi_encoder_config,
    is_retriever,
    load_config,
)
from dprkit.settings import TrainSettings

Kind = Literal["bi-encoder", "colbert"]
LENGTHS = ("question_max_length", "passage_max_length")
PREFIXES = ("question_prefix", "passage_prefix")
READING = (*PREFIXES, "title_join", "straight_apostrophe", "strip")
"""How texts are read, whatever the kind of model."""
SHAPE = ("shared", "separate_heads", "pooling", "similarity", "title_join", *LENGTHS)
"""What a bi-encoder is; training cannot change it."""
COLBERT_ALONE = (
    "embedding_size",
    "expansion",
    "expansion_length",
    "attend_to_expansion",
    "question_marker",
    "passage_marker",
)
LATE_SHAPE = (*COLBERT_ALONE, "title_join", *LENGTHS, *PREFIXES)
"""What a ColBERT model is, beside the tokens that it skips."""
BI_ENCODER_ALONE = (
    "shared",
    "separate_heads",
    "pooling",
    "end_token",
    "projection",
    "similarity",
    "matryoshka",
    "freeze",
    "whiten",
)
INSTEAD = {
    "projection": "; --embedding-size is the width of its vectors",
    "embedding_size": "; --projection is the width of its vectors",
    "freeze": ", which has one transformer for both sides",
}
SKIP = {"punctuation": tuple(string.punctuation), "none": ()}
"""--skip -> the tokens of passages whose vectors do not count."""


def kind_of(settings: TrainSettings) -> Kind:
    """What is trained: as asked for, as the retriever of --init is, else a bi-encoder."""
    if settings.kind:
        return settings.kind
    start = settings.init
    late = start and is_retriever(start) and isinstance(load_config(start), ColbertConfig)
    return "colbert" if late else "bi-encoder"


def of_its_kind(settings: TrainSettings) -> TrainSettings:
    """A retriever that training goes on from keeps its shape; the kind and --init have to fit.

    Raises SettingsError for a setting that the kind does not have, MismatchError for one that
    contradicts the retriever.
    """
    kind = kind_of(settings)
    _refuse_others(settings, kind)
    start = settings.init if settings.init and is_retriever(settings.init) else None
    if kind == "bi-encoder":
        if start:
            config = bi_encoder_config(start, "--kind bi-encoder")
            if settings.projection_init:
                raise MismatchError(
                    f"{start}: a retriever keeps its shape; leave --projection-init out"
                )
            if settings.end_token not in (None, config.end_token):
                raise MismatchError(f"{start}: its texts have an end already; leave end_token out")
            if settings.matryoshka is None and config.matryoshka:
                settings = msgspec.structs.replace(settings, matryoshka=config.matryoshka)
            if config.heads and settings.projection:
                raise MismatchError(
                    f"{start}: has {len(config.heads)} layers behind its pooling, in whose place "
                    "no projection can stand; leave projection out"
                )
            return _as_the_retriever(settings, config, _shape(config))
        return settings
    settings = msgspec.structs.replace(settings, kind=kind)
    there = load_config(start) if start else None
    if isinstance(there, ColbertConfig):
        refuse_projection(settings)
        return _as_the_retriever(settings, there, _late_shape(there))
    if isinstance(there, RetrieverConfig) and not there.shared:
        raise MismatchError(
            f"{start}: has an encoder a side, and a ColBERT model has one; start from one of them: "
            f"--init {start}/passage_encoder"
        )
    return settings


def continues(settings: TrainSettings) -> bool:
    """Whether training goes on from a retriever of the kind that is trained."""
    start = settings.init
    if not (start and is_retriever(start)):
        return False
    is_late = isinstance(load_config(start), ColbertConfig)
    return is_late == (kind_of(settings) == "colbert")


def _refuse_others(settings: TrainSettings, kind: Kind) -> None:
    """Refuse settings that only the other kind has."""
    others: tuple[str, ...] = BI_ENCODER_ALONE
    what, other = "a ColBERT model", "bi-encoder"
    if kind == "bi-encoder":
        others = (*COLBERT_ALONE, "skip")
        what, other = "a bi-encoder", "colbert"
    for name in others:
        value = getattr(settings, name)
        if value is not None:
            flag = name.replace("_", "-")
            raise SettingsError(
                f"--{flag} is a setting of --kind {other}; leave it out for {what}"
                + INSTEAD.get(name, "")
            )


def turns(settings: TrainSettings) -> bool:
    """Whether vectors that are to be cut are turned first, by a projection of their own width.

    Their first numbers are then their principal components. An index that is to stay valid has
    them as they are.
    """
    wanted = settings.projection is None and settings.projection_init != "random"
    return bool(settings.matryoshka) and wanted and not settings.freeze


def refuse_projection(settings: TrainSettings) -> None:
    """Raises MismatchError for a first projection of a model that has one."""
    if settings.projection_init:
        raise MismatchError(
            f"{settings.init}: has a projection already; leave --projection-init out"
        )


def _shape(config: RetrieverConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in SHAPE} | {"projection": config.projection or 0}


def _late_shape(config: ColbertConfig) -> dict[str, Any]:
    words = next((name for name, words in SKIP.items() if words == config.skip), None)
    shape = {name: getattr(config, name) for name in LATE_SHAPE if name not in PREFIXES}
    return shape | {"skip": words}


def _as_the_retriever(
    settings: TrainSettings, config: Config, shape: dict[str, Any]
) -> TrainSettings:
    """The settings with the shape of the retriever; they may not contradict it.

    Prefixes may be others than so far, but for that of passages which are not encoded anew.
    """
    kept = shape
    if settings.freeze:
        kept = shape | {"passage_prefix": config.passage_prefix}
    for name, theirs in kept.items():
        mine = getattr(settings, name)
        if mine not in (theirs, None):
            raise MismatchError(
                f"{settings.init}: has {name} {theirs!r}, which cannot become {mine!r}; "
                f"leave {name} out"
            )
    temperature = settings.temperature or config.temperature
    return msgspec.structs.replace(settings, **shape, temperature=temperature)
