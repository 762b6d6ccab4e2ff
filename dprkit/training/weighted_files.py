"""Training files, each with a weight: how often an epoch sees a row of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from dprkit.errors import SettingsError

Row = TypeVar("Row", covariant=True)


class RowFile(Protocol[Row]):
    """A file of rows, numbered from 0."""

    path: Path | str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    def where(self, index: int) -> str:
        """The place of a row for a message."""


At = tuple[int, int]
"""A row: the number of its file, its number there."""
R = TypeVar("R")


class WeightedFiles(Generic[R]):
    """Files with their weights.

    With weight 2 each row comes twice, with 0.5 another random half of the rows each epoch.
    """

    def __init__(
        self, files: Sequence[RowFile[R]], weights: Sequence[float], counts: Sequence[int]
    ) -> None:
        """`counts`: of each file, the rows that are trained on.

        Raises SettingsError where a weight leaves nothing of a file.
        """
        self.weights = list(weights)
        self._rows = files
        self.sizes: list[int] = []
        """Rows of each file that an epoch sees."""
        for file, weight, count in zip(files, weights, counts, strict=True):
            self.sizes.append(round(weight * count))
            if self.sizes[-1] < 1:
                raise SettingsError(
                    f"{file.path}: weight {weight:g} leaves none of its {count} rows; give it a "
                    "larger one"
                )

    def __len__(self) -> int:
        """The rows that an epoch sees."""
        return sum(self.sizes)

    def __getitem__(self, at: At) -> R:
        return self._rows[at[0]][at[1]]

    def where(self, at: At) -> str:
        """The place of a row for a message: `train.jsonl:17`."""
        return self._rows[at[0]].where(at[1])
