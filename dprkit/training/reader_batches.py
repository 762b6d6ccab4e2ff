"""The batch of each step of a reader's training: a pure function of the seed, the step, the files.

ReaderMixture  the files, with how often an epoch sees each, and which of their rows can be used
Draw           which passages a question has: a positive, and negatives beside it
Preparation    the batch of a step as token ids, ready for the model
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from dprkit.data.folds import Fold
from dprkit.data.reader_rows import ReaderFile, ReaderRow
from dprkit.data.row_index import changed
from dprkit.models.reader_tokens import ReaderInput, ReaderTokens
from dprkit.records import Passage
from dprkit.training.batch_layout import batches_needed, cut
from dprkit.training.feed import Batch
from dprkit.training.spans import as_array, gold_spans
from dprkit.training.weighted_files import WeightedFiles

TRIED = 20
"""Positives of a row that are looked at, as in DPR: the first ones."""

Spans = list[tuple[int, int]]


# --- which rows -----------------------------------------------------------------------------------


class ReaderMixture(WeightedFiles[ReaderRow]):
    """Files of examples or rankings with their weights."""

    def __init__(
        self, files: Sequence[ReaderFile], weights: Sequence[float], usable: Sequence[np.ndarray]
    ) -> None:
        """`usable`: of each file, the rows whose questions have an answer to be learned.

        Raises SettingsError where a weight leaves nothing of a file.
        """
        super().__init__(files, weights, list(map(len, usable)))
        self.files, self.usable = list(files), list(usable)

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(N, 2): the rows that an epoch sees, in its order."""
        rng = np.random.default_rng([seed, epoch])
        parts = []
        for file, rows in enumerate(self.usable):
            whole, rest = divmod(self.sizes[file], len(rows))
            chosen = np.concatenate([np.tile(rows, whole), rng.permutation(rows)[:rest]])
            parts.append(np.stack([np.full(len(chosen), file), chosen], 1))
        return rng.permutation(np.concatenate(parts))


# --- which passages -------------------------------------------------------------------------------


class Draw(NamedTuple):
    """How a question's passages are drawn."""

    passages: int
    """So many for a question, or as many as there are."""
    seed: int | None
    """None: the first ones in the file's order, as validation wants them."""
    among: int | None = None
    """Negatives are drawn among the first so many of the row; None: among all."""
    any_positive: bool = False
    """Any positive, and not the gold ones before others."""


class Drawn(NamedTuple):
    """The passages of a question, and what there is to be learned of the first."""

    positive: Passage
    given: ReaderInput
    """The positive's."""
    spans: Spans
    """Its answers' first and last tokens."""
    negatives: list[Passage]

    @property
    def passages(self) -> list[Passage]:
        """All of them, the positive first."""
        return [self.positive, *self.negatives]


def drawn(row: ReaderRow, draw: Draw, tokens: ReaderTokens, key: Sequence[int]) -> Drawn | None:
    """A positive that holds an answer within the length, and negatives; None: there is no such.

    A function of the row, `draw` and `key`, numbers that tell one draw from another.
    """
    rng = None if draw.seed is None else np.random.default_rng([draw.seed, *key])
    for place in _positives(row, draw, rng):
        positive = row.positives[place]
        (given,) = tokens.inputs([row.question], [positive])
        if spans := gold_spans(given, positive.text, row.answers):
            return Drawn(positive, given, spans, _negatives(row, draw, rng))
    return None


def _positives(row: ReaderRow, draw: Draw, rng: np.random.Generator | None) -> list[int]:
    """The places of a row's positives in the order in which they are tried."""
    gold, count = row.gold, min(len(row.positives), max(TRIED, row.gold))
    if rng is None:
        return list(range(count))
    gold = 0 if draw.any_positive else gold
    return [*rng.permutation(gold).tolist(), *(gold + rng.permutation(count - gold)).tolist()]


def _negatives(row: ReaderRow, draw: Draw, rng: np.random.Generator | None) -> list[Passage]:
    among = row.negatives[: draw.among]
    order = range(len(among)) if rng is None else rng.permutation(len(among)).tolist()
    return [among[place] for place in order[: draw.passages - 1]]


# --- batches --------------------------------------------------------------------------------------


def batch_of(step: int, questions: Sequence[tuple[str, Drawn]], tokens: ReaderTokens) -> Batch:
    """Questions with their passages as a batch for ReaderObjective; it has no places."""
    asked = [(question, p) for question, own in questions for p in own.negatives]
    others = iter(tokens.inputs(*zip(*asked, strict=True))) if asked else iter(())
    inputs: list[ReaderInput] = []
    bounds = [0]
    for _, own in questions:
        inputs += [own.given, *(next(others) for _ in own.negatives)]
        bounds.append(len(inputs))
    spans = [(i, *span) for i, (_, own) in enumerate(questions) for span in own.spans]
    targets = {
        "passages": np.array(bounds, np.int64),
        "begins": np.array([given.begin for given in inputs], np.int64),
        "spans": as_array(spans),
    }
    return Batch(step, ([given.ids for given in inputs],), targets, [])


@dataclass(frozen=True)
class Preparation:
    """Makes the batch of an optimizer step, counted from 0: a pure function of the step."""

    mixture: ReaderMixture
    batch_size: int
    draw: Draw
    tokens: ReaderTokens

    @property
    def batches_per_epoch(self) -> int:
        """Batches in which an epoch sees its rows once."""
        return batches_needed(len(self.mixture), self.batch_size, 0)

    def __call__(self, step: int) -> Batch:
        epoch, number = divmod(step, self.batches_per_epoch)
        bounds = cut(len(self.mixture), self.batch_size, self.batches_per_epoch)
        rows = self.mixture.epoch(epoch, self.draw.seed or 0)[bounds[number] : bounds[number + 1]]
        places = [(int(file), int(row)) for file, row in rows]
        found = []
        for at in places:
            row = self.mixture[at]
            own = drawn(row, self.draw, self.tokens, (*at, epoch))
            if own is None:  # it had one when training began
                raise changed(self.mixture.files[at[0]].path)
            found.append((row.question, own))
        return batch_of(step, found, self.tokens)._replace(
            places=list(map(self.mixture.where, places))
        )

    def describe(self) -> Callable[[], Preparation]:
        """What makes the same of the files in another process."""
        mixture = self.mixture
        files = [(str(f.path), f.sha256, f.leave_out) for f in mixture.files]
        rest = self.batch_size, self.draw, self.tokens
        return partial(_opened_again, files, (mixture.weights, mixture.usable), rest)


def _opened_again(
    files: list[tuple[str, str, Fold | None]],
    mixed: tuple[list[float], list[np.ndarray]],
    rest: tuple[int, Draw, ReaderTokens],
) -> Preparation:
    """Raises InputError where a file is no longer what it was."""
    opened = [_unchanged(*file) for file in files]
    return Preparation(ReaderMixture(opened, *mixed), *rest)


def _unchanged(path: str, sha256: str, leave_out: Fold | None) -> ReaderFile:
    file = ReaderFile(path, leave_out=leave_out)
    if file.sha256 != sha256:
        raise changed(path)
    return file
