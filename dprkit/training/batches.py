"""What is in batch i: a pure function of the seed, the epoch, i and the training file.

So any epoch can be begun without replaying those before it, and no number of workers changes
what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.data.formats import parse_example
from dprkit.data.streams import Row, open_source, read_json_rows
from dprkit.errors import InputError
from dprkit.records import Example, Passage
from dprkit.settings import TrainSettings


class Batch(NamedTuple):
    """Q questions with their P passages; `positives[i]` is the passage that answers question i."""

    questions: list[str]
    passages: list[Passage]
    positives: list[int]


class ExampleFile(Sequence[Example]):
    """The examples of a training file, decoded when they are asked for.

    Holds the file's rows as bytes in memory, without those that have no positive.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        rows = list(read_json_rows(open_source(path)))
        self.rows: list[Row] = [row for row in rows if parse_example(row, path).positives]
        self.dropped = len(rows) - len(self.rows)
        if not self.rows:
            raise InputError(
                f"{path}: no row has a question with a positive; nothing to learn from"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        return parse_example(self.rows[index], self.path)


class Draw(NamedTuple):
    """How passages are drawn for a question beside its first positive."""

    hard_negatives: int
    negatives: int
    seed: int | None
    """None: the first ones in the file's order, as validation wants them."""


def batch_size(settings: TrainSettings) -> int:
    """Questions in a batch; 32 where neither the user nor train() has said."""
    return settings.batch_size or 32


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Every row is seen once an epoch; the last batch may be smaller."""
    return -(-rows // batch_size)


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order (rows,) in which an epoch sees the rows."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def make_batch(examples: Sequence[Example], rows: Sequence[int], epoch: int, draw: Draw) -> Batch:
    """The batch of `rows`: each question's positive, then its hard negatives, then negatives."""
    batch = Batch([], [], [])
    for row in rows:
        example = examples[row]
        batch.positives.append(len(batch.passages))
        batch.questions.append(example.question)
        batch.passages.append(example.positives[0])
        batch.passages.extend(_drawn_negatives(example, row, epoch, draw))
    return batch


def _drawn_negatives(example: Example, row: int, epoch: int, draw: Draw) -> list[Passage]:
    """Hard negatives and negatives; where a row lacks hard ones, negatives stand in."""
    wanted = draw.hard_negatives
    hard = _some(example.hard_negatives, wanted, [row, epoch, 0], draw.seed)
    more = wanted - len(hard) + draw.negatives
    return hard + _some(example.negatives, more, [row, epoch, 1], draw.seed)


def _some(pool: Sequence[Passage], count: int, key: list[int], seed: int | None) -> list[Passage]:
    if seed is None or count == 0:
        return list(pool[:count])
    chosen = np.random.default_rng([seed, *key]).permutation(len(pool))[:count]
    return [pool[i] for i in chosen]
