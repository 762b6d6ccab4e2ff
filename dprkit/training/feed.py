"""The batches of training, made ahead of the device: in the background or by worker processes.

In the background, since the tokenizer lets go of the interpreter while it works; a worker process
opens the files itself and imports no torch. A batch is a pure function of its step.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np

from dprkit.ahead import Ahead, Source
from dprkit.models.tokens import Ids

T_co = TypeVar("T_co", covariant=True)


class Batch(NamedTuple):
    """The batch of an optimizer step, ready for the model."""

    step: int
    sides: tuple[Ids, ...]
    """The token ids of the texts of each side, such as questions and passages; long texts last."""
    targets: dict[str, np.ndarray]
    """What the objective is told by name beside the rows of each side."""
    places: list[str]
    """Where each question comes from, for messages: `train.jsonl:17`."""


class Feed(Ahead[T_co]):
    """Iterates over the batches of steps begin, ..., end - 1, in order, made ahead (Ahead)."""

    def __init__(
        self, source: Source[int, T_co], begin: int, end: int, workers: int = 0, ahead: int = 3
    ) -> None:
        super().__init__(iter(range(begin, end)), source, workers, ahead)

    def __enter__(self) -> Feed[T_co]:
        return self
