"""Folds: parts of the questions, so that a model can be trained without those that it will score.

A question's fold is a hash of the question, so that it is the same in every file, in any order,
and rows that ask the same are of one fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dprkit.data.ids import text_key
from dprkit.errors import SettingsError
from dprkit.records import same_question

if TYPE_CHECKING:
    import numpy as np


class Fold(NamedTuple):
    """One of several folds, counted from 1, as `1/4` names it."""

    number: int
    folds: int

    def __str__(self) -> str:
        return f"{self.number}/{self.folds}"

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which of N questions are of it, by their keys (ExampleFile.questions)."""
        held: np.ndarray = keys % keys.dtype.type(self.folds) == self.number - 1
        return held


def fold_of(question: str, folds: int) -> int:
    """The number of a question's fold, from 1 to `folds`."""
    return text_key(same_question(question)) % folds + 1


def parse_fold(text: str | None, flag: str = "--leave-out") -> Fold | None:
    """The fold that a setting names, or None. Raises SettingsError for one that cannot be."""
    if text is None:
        return None
    number, folds = map(int, text.split("/"))
    if folds < 2:
        raise SettingsError(f"{flag} {text}: there must be 2 folds or more; give one such as 1/4")
    if number > folds:
        raise SettingsError(f"{flag} {text}: there are {folds}; give 1/{folds} to {folds}/{folds}")
    return Fold(number, folds)
