"""The settings of train-reader, resolved."""

from __future__ import annotations

from typing import Any

import msgspec

from dprkit.data.folds import Fold, parse_fold
from dprkit.errors import SettingsError
from dprkit.models.precision import settled
from dprkit.settings import TrainReaderSettings, required
from dprkit.settings.train_reader import BATCH_SIZE, EPOCHS, LR
from dprkit.training.resolved_settings import start_input
from dprkit.training.resolved_trainer import (
    FOREVER,
    ResolvedTrainer,
    refuse_patience_without_validations,
    valid_beside,
    weighted_files,
)


class ResolvedReader(ResolvedTrainer, TrainReaderSettings, frozen=True, kw_only=True):
    """train-reader's settings as training uses them: every default is filled in.

    None is left where the model that training starts from has the say.
    """

    output_dir: str
    init: str
    valid_file: str
    valid_passages: int
    negatives_top: int
    files: tuple[tuple[str, float], ...]
    """The training files with their weights."""
    left_out: Fold | None
    """The fold of the questions that are not trained on."""
    recorded: TrainReaderSettings
    """As the manifest records them, with None for what is not given."""


def resolve_reader(settings: TrainReaderSettings) -> ResolvedReader:
    """The settings with all defaults. Raises SettingsError."""
    recorded = settled(reader_defaults(settings))
    values = msgspec.structs.asdict(recorded)
    limits = ("negatives_top", "max_epochs", "max_steps", "patience")
    absent: dict[str, Any] = {"output_dir": "", "valid_file": "", "chunk_size": ""}
    absent |= dict.fromkeys(limits, FOREVER) | {"valid_passages": recorded.passages}
    concrete = {name: value for name, value in absent.items() if values[name] is None}
    return ResolvedReader(
        **values | concrete,
        files=tuple(weighted_files(recorded)),
        left_out=parse_fold(recorded.leave_out),
        recorded=recorded,
    )


def reader_defaults(settings: TrainReaderSettings) -> TrainReaderSettings:
    """Fill in what depends on other settings and on the files that are there."""
    parse_fold(settings.leave_out)
    refuse_patience_without_validations(settings)
    required(settings.init, "--init", "model to start from")
    if not settings.span_weight and not settings.relevance_weight:
        raise SettingsError(
            "--span-weight 0 --relevance-weight 0: nothing is learned; give one a weight"
        )
    defaults: dict[str, Any] = {
        "batch_size": BATCH_SIZE,
        "lr": LR,
        "valid_file": valid_beside(settings),
        "max_epochs": EPOCHS if settings.max_steps is None else None,
    }
    missing = {k: v for k, v in defaults.items() if getattr(settings, k) is None}
    return msgspec.structs.replace(settings, **missing)


def reader_inputs(settings: TrainReaderSettings) -> dict[str, str]:
    """The files that the result depends on. Raises SettingsError for a file that is not given."""
    files: dict[str, str | None] = {}
    if settings.max_epochs != 0:
        if settings.valid_every != "never":
            files["valid"] = settings.valid_file
        required(next(iter(settings.train_file), None), "--train-file", "training file")
        for number, (path, _) in enumerate(weighted_files(settings)):
            files[f"train {number}" if number else "train"] = path
    files["init"] = start_input(settings.init)
    return {name: path for name, path in files.items() if path}
