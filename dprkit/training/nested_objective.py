"""Matryoshka: an objective of the first numbers of the vectors, at several sizes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dprkit.models.rows import Rows
from dprkit.training.objectives import Outcome, ScoreObjective


class Nesting(NamedTuple):
    """The sizes that vectors are cut to, the largest first, and their shares of the loss."""

    sizes: tuple[int, ...]
    shares: tuple[float, ...]
    """They add up to 1."""
    unit_length: bool
    """Whether vectors are brought to length 1 again after the cut, as they are for cosine."""


def nesting_of(sizes: Sequence[int], weights: Sequence[float], unit_length: bool) -> Nesting:
    """Sizes in any order, with their weights; without weights they count alike."""
    pairs = zip(sizes, weights or [1.0] * len(sizes), strict=True)
    ordered = sorted(pairs, reverse=True)
    total = sum(weight for _, weight in ordered)
    shares = tuple(weight / total for _, weight in ordered)
    return Nesting(tuple(size for size, _ in ordered), shares, unit_length)


class NestedObjective(ScoreObjective):
    """A ScoreObjective of the vectors cut to each of several sizes.

        loss = sum_m( share_m * loss of the vectors cut to m numbers )

    What is told of a question: its loss summed in the same way, and whether its positive scores
    highest at the largest size. A batch also tells the loss at each size.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning", eq. (1).
    """

    def __init__(self, nesting: Nesting, temperature: float, *args: Any, **kwargs: Any) -> None:
        """The arguments behind `nesting` are those of ScoreObjective."""
        super().__init__(temperature, *args, **kwargs)
        self.nesting = nesting

    def forward(self, questions: Rows, passages: Rows, weights: Tensor, **told: Tensor) -> Outcome:
        """As of a ScoreObjective; the rows (T, D) are cut to each size."""
        outcomes: list[Outcome] = []
        for size in self.nesting.sizes:
            asked, found = self._cut(questions, size), self._cut(passages, size)
            outcomes.append(super().forward(asked, found, weights, **told))
        named = zip(self.nesting.sizes, outcomes, strict=True)
        more = {f"loss@{size}": outcome.losses.mean() for size, outcome in named}
        return Outcome(
            self._shared(outcome.loss for outcome in outcomes),
            self._shared(outcome.losses for outcome in outcomes),
            outcomes[0].hits,
            {**outcomes[0].more, **more},
        )

    def _shared(self, values: Iterable[Tensor]) -> Tensor:
        """Values of all sizes as one, by their shares."""
        shares = self.nesting.shares
        return torch.stack([share * v for share, v in zip(shares, values, strict=True)]).sum(0)

    def _cut(self, rows: Rows, size: int) -> Rows:
        """The rows (N, D), cut to (N, size)."""
        if size == rows.values.shape[1]:
            return rows
        values = rows.values[:, :size]
        return Rows(F.normalize(values, dim=1) if self.nesting.unit_length else values, rows.bounds)
