"""Task, the interface of a kind of training: its batches, its loss, its validation."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from dprkit.ahead import Source
from dprkit.models.rows import RowModel
from dprkit.store.drafts import Draft
from dprkit.training.feed import Batch
from dprkit.training.gradients import GradientEngine

Figures = dict[str, float]
"""What a validation found; "loss" is among them."""


class Task(Protocol):
    """A model that is trained on batches towards an objective.

    Gradient caching, several processes, checkpoints and resuming to the same bytes are the
    trainer's, whatever the task.
    """

    batches_per_epoch: int

    @property
    def model(self) -> RowModel:
        """What learns."""

    @property
    def objective(self) -> nn.Module:
        """Called with the rows of each side and the targets by name; gives an Outcome."""

    @property
    def prepare(self) -> Source[int, Batch]:
        """The batch of an optimizer step, counted from 0.

        It has to be a pure function of the step: so a resumed run sees what an unbroken one sees,
        and every process the same.
        """

    def validate(self, engine: GradientEngine) -> Figures | None:
        """The figures of the model as it is; all processes call it. None: nothing to validate."""

    def better(self, figures: Figures, best: Figures) -> bool:
        """Whether a validation is better than the best one so far."""

    def summary(self, figures: Figures) -> str:
        """A validation in a line for the user."""

    def save(self, work: Draft, below: str = "") -> None:
        """Write the model as it is used, into an artifact below the folder `below`."""
