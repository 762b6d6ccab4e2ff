"""Sets of questions: all rows of one are in one set, so that no set tells another's answers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dprkit.data.split_sizes import Split, shared_out

if TYPE_CHECKING:
    import numpy as np


class QuestionSets:
    """Which set of a split each question is of. Memory: 12 bytes a question, 40 a row at first."""

    def __init__(self, keys: Iterable[int], split: Split, seed: int | None) -> None:
        """`keys`: those of the questions of all rows, in order; the sizes of `split` count them.

        The sets are drawn at random, or without a seed are blocks in the order of the rows. Raises
        InputError where there are too few questions.
        """
        import numpy as np

        rows = np.frombuffer(array("Q", keys), np.uint64)
        self._keys, first = np.unique(rows, return_index=True)
        order = np.argsort(first) if seed is None else _drawn(len(first), seed)
        sizes = shared_out(split, len(order), "questions")
        self._names: list[str | None] = [*sizes, None]
        self._sets = np.full(len(order), len(sizes), np.uint32)
        at = 0
        for number, size in enumerate(sizes.values()):
            self._sets[order[at : at + size]] = number
            at += size

    def of(self, key: int) -> str | None:
        """The set of a question that was among the keys; None: of none."""
        return self._names[int(self._sets[self._keys.searchsorted(key)])]


def _drawn(count: int, seed: int) -> np.ndarray:
    import numpy as np

    return np.random.default_rng(seed).permutation(count)
