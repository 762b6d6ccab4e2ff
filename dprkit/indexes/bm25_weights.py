"""BM25 weights: what a term counts in a passage, as Lucene computes it.

Kamphuis et al. 2020 (https://doi.org/10.1007/978-3-030-45442-5_4), "Lucene (accurate)". The weight
of a term in a passage is the product of both functions; it is computed when the index is built.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np


class Bm25Weights(NamedTuple):
    """What a weight depends on besides the term and the passage."""

    passages: int
    words: int
    """Words of all passages together."""
    k1: float
    b: float

    def idf(self, frequency: int) -> np.float32:
        """How rare a term is that n = `frequency` of the N passages have.

        idf = ln( 1 + (N - n + 0.5) / (n + 0.5) )
        """
        return np.float32(log(1 + (self.passages - frequency + 0.5) / (frequency + 0.5)))

    def saturation(self, times: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(N,): how much a term counts in N passages of so many words, 0 to 1.

        `times` (N,): how often each has it; `lengths` (N,): the words of each.

        times / ( k1 * (1 - b + b * lengths / average) + times )
        """
        average = self.words / self.passages
        weights: np.ndarray = times / (
            self.k1 * ((1 - self.b) + self.b * lengths / average) + times
        )
        return weights
