"""Rows: what a model gives for texts, one row of numbers a text or many.

bi-encoder          one row a text, its vector
late interaction    a row for each token that counts
reader              a row for each token: start, end, relevance
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dprkit.models.tokens import Ids


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of N texts, laid end to end: text i has values[bounds[i] : bounds[i + 1]]."""

    values: Tensor
    """(T, D)."""
    bounds: Tensor
    """(N + 1,) int64, from 0 to T. Always on the CPU, so that nobody waits for a GPU to read it."""

    @classmethod
    def single(cls, values: Tensor) -> Rows:
        """Rows of which each text has one: (N, D)."""
        return cls(values, torch.arange(len(values) + 1))

    @classmethod
    def of_counts(cls, values: Tensor, counts: Sequence[int] | Tensor) -> Rows:
        """Rows, values (T, D), of which text i has counts[i], (N,)."""
        return cls(values, bounds_of(torch.as_tensor(counts, dtype=torch.long)))

    def __len__(self) -> int:
        """N, the texts."""
        return len(self.bounds) - 1

    @property
    def counts(self) -> Tensor:
        """(N,): the rows of each text."""
        return self.bounds.diff()

    def __getitem__(self, texts: slice) -> Rows:
        """The rows of consecutive texts, without a copy."""
        begin, end, _ = texts.indices(len(self))
        bounds = self.bounds[begin : max(begin, end) + 1]
        return Rows(self.values[int(bounds[0]) : int(bounds[-1])], bounds - bounds[0])

    def take(self, texts: Sequence[int] | Tensor) -> Rows:
        """The rows of `texts`, (M,) int64, in that order; a text may come several times."""
        chosen = torch.as_tensor(texts, dtype=torch.long)
        return Rows.of_counts(self.values[places(self.bounds, chosen)], self.counts[chosen])


def bounds_of(counts: Tensor) -> Tensor:
    """(N,) counts -> (N + 1,) bounds."""
    return nn.functional.pad(counts.cumsum(0), (1, 0))


def places(bounds: Tensor, texts: Tensor) -> Tensor:
    """The places (R,), among the rows that bounds (N + 1,) cut, of those of texts (M,).

    Text after text.
    """
    counts = bounds[texts + 1] - bounds[texts]
    begins = bounds_of(counts)
    # Row r of the answer is row r - begins[i] of its text i, which begins at bounds[texts[i]].
    shift = torch.repeat_interleave(bounds[texts] - begins[:-1], counts)
    return shift + torch.arange(int(begins[-1]))


class RowModel(nn.Module):
    """A model of texts as training sees it: token ids of one side in, rows out."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """D, the numbers of a row, on all sides."""

    @property
    def padded(self) -> bool:
        """Whether texts are padded to the longest of their pass, so that padding costs time."""
        return True

    def learns(self, side: int) -> bool:
        """Whether the rows of a side have a gradient; if not, they are the same at every step."""
        return True

    @abstractmethod
    def rows(self, side: int, ids: Ids) -> Rows:
        """The rows of N texts in one forward pass, with gradient where it is enabled.

        `side`: which of a batch's sides the texts are of, such as 0 for questions and 1 for
        passages. From the same random state a repeated call gives the same dropout and the same
        bits.
        """
