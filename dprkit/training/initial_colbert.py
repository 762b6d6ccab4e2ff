"""The ColBERT model before training: a transformer, and the first weights of its projection.

The states of a trained transformer already tell texts apart, token by token, and a projection on
their principal components keeps most of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from dprkit.data.examples_by_row import ExampleFile
from dprkit.errors import SettingsError
from dprkit.interop.colbert import ForeignColbert, started_colbert
from dprkit.interop.tower import check_lengths
from dprkit.models.bi_encoder import device
from dprkit.models.config import ColbertConfig, is_retriever
from dprkit.models.forward_batches import PASS_TOKENS, chunks
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens, late_tokens
from dprkit.models.position_limit import measured
from dprkit.models.retriever_folder import load_bi_encoder, load_colbert
from dprkit.models.tokens import Files
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.training.initial_projection import project_on_components, sample, takes_components
from dprkit.training.resolved_settings import ResolvedSettings
from dprkit.training.retriever_kinds import (
    LATE_SHAPE,
    LENGTHS,
    READING,
    SKIP,
    continues,
    refuse_projection,
)
from dprkit.training.starting_transformer import foreign_start, scratch_transformer


class Start(NamedTuple):
    """A transformer that becomes a ColBERT model."""

    backbone: nn.Module
    tokenizer: tuple[Any, Files]
    where: Path | str
    reading: dict[str, Any]
    """How the transformer is used to read texts: prefixes, titles, apostrophes."""


def starting_colbert(
    settings: ResolvedSettings, files: Sequence[ExampleFile], run: Run, first: bool
) -> tuple[Colbert, LateTokens]:
    """The model before training. Raises InputError, MismatchError, SettingsError.

    `first`: whether this is the first process, whose projection the others take.
    """
    if continues(settings):
        return load_colbert(settings.init, settings.output_dropout)
    start = _start(settings, files, run)
    if isinstance(start, ForeignColbert):
        refuse_projection(settings)
        model, tokens = started_colbert(start, _given(settings), settings, run.progress.warn)
        model.dropout.p = settings.output_dropout
        return model, tokens
    tokens = late_tokens(start.tokenizer, _config(settings, start), start.where)
    model = Colbert(start.backbone, tokens, settings.output_dropout).eval().to(device())
    if tokens.not_skipped and settings.init:
        run.progress.note(
            f"no tokens of the vocabulary, so never skipped: {' '.join(tokens.not_skipped)}"
        )
    if settings.init and settings.max_epochs == 0 and tokens.expansion_id is not None:
        run.progress.note(
            "questions are filled up with [MASK], which mean nothing to a transformer that was not "
            "trained with them: without training, --expansion none finds far more"
        )
    if first and takes_components(settings, model.projection, files, run):
        _project_on_components(model, sample(files, settings.seed), run)
    return model, tokens


def _start(
    settings: ResolvedSettings, files: Iterable[ExampleFile], run: Run
) -> Start | ForeignColbert:
    source = settings.init
    if not source:
        backbone, tokenizer = scratch_transformer(settings, files)
        return Start(backbone, (tokenizer, {}), "the model from scratch", {})
    if is_retriever(source):  # a bi-encoder with one transformer
        model, tokens = load_bi_encoder(source)
        said = {name: getattr(model.config, name) for name in READING}
        return Start(model.question_encoder.backbone, tokens.of["question"], source, said)
    _, foreign = foreign_start(source, run)
    if isinstance(foreign, ForeignColbert):
        return foreign
    if foreign.passage and not foreign.shared:
        raise SettingsError(f"{source}: has an encoder a side; name the folder of one of them")
    tower = foreign.question
    said = {name: getattr(foreign.config, name) for name in READING}
    return Start(tower.backbone, tower.tokenizer, source, said)


def _given(settings: ResolvedSettings) -> dict[str, Any]:
    """What the settings ask for, as fields of ColbertConfig."""
    names = (*LATE_SHAPE, "temperature")
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    return given | ({"skip": SKIP[settings.skip]} if settings.skip else {})


def _config(settings: ResolvedSettings, start: Start) -> ColbertConfig:
    """What the settings ask for; where they do not, the usual, as far as the transformer reads."""
    room = measured(start.backbone, start.tokenizer[0], start.where)
    check_lengths(settings, (room, room))
    usual = ColbertConfig()
    lengths = {name: min(getattr(usual, name), room) for name in LENGTHS}
    values = lengths | start.reading | _given(settings) | {"positions": (room, room)}
    values.setdefault("expansion_length", min(usual.expansion_length, values[LENGTHS[0]]))
    try:
        return msgspec.structs.replace(usual, **values)
    except ValueError as error:
        raise SettingsError(str(error)) from None


# --- the projection -------------------------------------------------------------------------------


def _project_on_components(model: Colbert, passages: Sequence[Passage], run: Run) -> None:
    """Let the projection be on the principal components of the passages' token states."""
    moment, count = second_moment(model, passages)
    of = f"{count:,} token states of {len(passages)} passages"
    run.progress.note(project_on_components([model.projection], moment, of))


@torch.no_grad()
def second_moment(model: Colbert, passages: Sequence[Passage]) -> tuple[Tensor, int]:
    """The mean (H, H), float64, of the squares of the states of passages, and of how many."""
    ids = model.tokens.passages(passages)
    most = PASS_TOKENS[next(model.parameters()).device.type]
    width, count = model.projection.in_features, 0
    moment = torch.zeros(width, width, dtype=torch.float64)
    for part in chunks(list(map(len, ids)), most, padded=model.padded):
        states = model.states("passage", [ids[i] for i in part]).values.double().cpu()
        moment += states.T @ states
        count += len(states)
    return moment / max(1, count), count
