"""The settings that every training has, resolved: without a None."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dprkit.errors import SettingsError
from dprkit.settings.trainer import TrainerSettings

FOREVER = sys.maxsize
"""A count without a limit."""


class ResolvedTrainer(TrainerSettings, frozen=True, kw_only=True):
    """The settings of a training as the trainer uses them: every default is filled in.

    A limit that is not given is FOREVER.
    """

    batch_size: int
    chunk_size: str
    """A number, "auto", or "" for the whole batch in one graph."""
    max_epochs: int
    max_steps: int
    lr: float
    patience: int


def weighted_files(settings: TrainerSettings) -> list[tuple[str, float]]:
    """The training files with their weights: `b.jsonl:2` is b.jsonl, seen twice an epoch."""
    files = []
    for given in settings.train_file:
        split = re.fullmatch(r"(.+):(\d+(?:\.\d+)?)", given)
        weighted = split is not None and not Path(given).exists()
        files.append((split[1], float(split[2])) if split and weighted else (given, 1.0))
    return files


def valid_beside(settings: TrainerSettings) -> str | None:
    """valid.jsonl in the folder of the first training file, if it is there."""
    for first, _ in weighted_files(settings)[:1]:
        beside = Path(first).with_name("valid.jsonl")
        return str(beside) if beside.is_file() and beside != Path(first) else None
    return None


def refuse_patience_without_validations(settings: TrainerSettings) -> None:
    """Raises SettingsError for a patience that nothing is counted for."""
    if settings.patience and settings.valid_every == "never":
        raise SettingsError("--patience counts validations; leave --valid-every never out")


def total_steps(settings: ResolvedTrainer, batches_per_epoch: int) -> int:
    """Optimizer steps of the whole run."""
    return min(settings.max_epochs * batches_per_epoch, settings.max_steps)
