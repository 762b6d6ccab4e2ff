"""Tests of whether systems differ on the questions that all of them answered.

A difference is that of the second system of a pair to the first, question by question. Arrays are
(S, M, Q) values of S systems by M measures for Q questions, and (P, M) of the P pairs.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import TYPE_CHECKING

from dprkit.cpu_cores import thread_count
from dprkit.evaluation.statistics import Z95
from dprkit.indexes.blas_threads import one_thread_each

if TYPE_CHECKING:
    import numpy as np

Z80 = 0.8416212335729143
"""The 80 % point of the normal distribution."""
EXACT = 16
"""Questions with a difference up to which all flips of signs are counted, and none are drawn."""
FEWEST = 6
"""Questions with a difference below which no exact test gives p < .05: 2 / 2**5 is .0625."""
EQUAL = 1e-12
"""What numbers that are equal may differ by when they are computed."""
DRAWN_BYTES = 1 << 23
"""Memory for the signs that a thread draws at once."""
ROUNDING = 1e-5
"""Errors of float32 in a sum, in parts of the root of its sum of squares: above a hundred times
what they are, far below any difference that measures of one question can have."""


def pairs_of(systems: int) -> list[tuple[int, int]]:
    """All pairs of systems, in order."""
    return list(combinations(range(systems), 2))


def mcnemar(wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Two-sided p of the exact test of McNemar 1947 for hits: wins and losses are of any shape.

    Of n questions where one of two systems alone has a hit, each has its half by chance.
    """
    import numpy as np
    from scipy.special import bdtr

    fewer, both = np.minimum(wins, losses), np.asarray(wins + losses)
    return np.where(both == 0, 1.0, np.minimum(1.0, 2 * bdtr(fewer, both, 0.5)))


def sign_flips(values: np.ndarray, permutations: int, seed: int = 0) -> np.ndarray:
    """(P, M) two-sided p that the means of two systems differ, by randomisation (Fisher 1935).

    Without a difference between systems, each question's difference could as well have the other
    sign. p is the share of flips of signs whose mean is as far from 0 as the one found: of all
    flips, where at most EXACT questions differ, else of `permutations` random ones and the one
    found (Phipson and Smyth 2010, "Permutation p-values should never be zero").
    """
    import numpy as np

    p = np.ones((len(pairs_of(len(values))), values.shape[1]))
    drawn = False
    for pair, (a, b) in enumerate(pairs_of(len(values))):
        for measure, difference in enumerate(values[b] - values[a]):
            different = difference[difference != 0]
            if 0 < len(different) <= EXACT:
                p[pair, measure] = _of_all_flips(different)
            elif len(different):
                p[pair, measure], drawn = np.nan, True
    return np.where(np.isnan(p), _of_drawn_flips(values, permutations, seed), p) if drawn else p


def _of_all_flips(differences: np.ndarray) -> float:
    """p of N differences, each not 0, by all 2**N flips: half of them are the others' negatives."""
    import numpy as np

    count = len(differences)
    bits = np.arange(1 << (count - 1))[:, None] >> np.arange(count) & 1
    sums = np.abs((1 - 2 * bits) @ differences)
    found = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    return float(np.mean(sums >= found))


def _of_drawn_flips(values: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """(P, M) p by flips that are drawn once for all pairs and measures.

    A flipped difference of two systems is the difference of their flipped values, so the sums of
    all pairs come from one product with the values of S systems: signs (N, Q) @ values (Q, S * M).
    Threads draw N at a time; what they draw does not depend on their number.
    """
    import numpy as np

    systems, measures, _ = values.shape
    centred = values - values.mean(axis=0)  # what is equal in all systems adds but noise
    centred = centred[:, :, centred.any(axis=(0, 1))]
    pairs = pairs_of(systems)
    least = np.array([_least(centred[b] - centred[a]) for a, b in pairs], np.float32)
    columns = centred.reshape(systems * measures, -1).astype(np.float32)

    def as_far(drawn: tuple[int, np.random.SeedSequence]) -> np.ndarray:
        signs = _signs(*drawn, columns.shape[1])
        sums = (columns @ signs.T).reshape(systems, measures, len(signs))
        far = (np.abs(sums[b] - sums[a]) >= least[n][:, None] for n, (a, b) in enumerate(pairs))
        return np.array([np.count_nonzero(of_pair, axis=1) for of_pair in far])

    at_once = max(1, DRAWN_BYTES // (4 * max(columns.shape)))
    counts = [min(at_once, permutations - begin) for begin in range(0, permutations, at_once)]
    drawn = zip(counts, np.random.SeedSequence(seed).spawn(len(counts)), strict=True)
    pool = ThreadPoolExecutor(thread_count())
    try:
        with one_thread_each():
            found = np.array([*pool.map(as_far, drawn)]).sum(axis=0)
    finally:  # after Ctrl-C nothing is drawn any more
        pool.shutdown(cancel_futures=True)
    p: np.ndarray = (1 + found) / (1 + permutations)
    return p


def _least(differences: np.ndarray) -> np.ndarray:
    """(M,) sums of differences (M, Q), as far from 0 as what float32 makes of them at least is."""
    import numpy as np

    sums: np.ndarray = np.abs(differences.sum(axis=1))
    least: np.ndarray = sums - ROUNDING * np.sqrt((differences**2).sum(axis=1))
    return least


def _signs(count: int, seed: np.random.SeedSequence, width: int) -> np.ndarray:
    """(count, width) random signs as float32."""
    import numpy as np

    bytes_each = -(-width // 8)
    raw = np.frombuffer(np.random.default_rng(seed).bytes(count * bytes_each), np.uint8)
    bits = np.unpackbits(raw.reshape(count, bytes_each), axis=1, count=width).view(np.int8)
    bits *= -2
    bits += 1
    return bits.astype(np.float32)


def holm(p: np.ndarray) -> np.ndarray:
    """p corrected for the number of tests (Holm 1979); any shape, NaN is no test.

    The smallest of n is multiplied by n, the next by n - 1, and none is below the one before.
    """
    import numpy as np

    corrected = np.full(p.size, np.nan)
    tests = np.flatnonzero(~np.isnan(p.ravel()))
    order = tests[np.argsort(p.ravel()[tests], kind="stable")]
    raised = p.ravel()[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return corrected.reshape(p.shape)


def effect_size(differences: np.ndarray) -> float | None:
    """The mean of differences (Q,) in parts of their standard deviation: Cohen's d of pairs.

    None where all are the same. 0.2 is called small, 0.5 medium (Cohen 1988).
    """
    spread = _spread(differences)
    return float(differences.mean()) / spread if spread else None


def smallest_visible(differences: np.ndarray) -> float | None:
    """The true difference of means that a test at .05 finds four times of five, on such questions.

    By the normal approximation, with the spread of the differences (Q,); of fewer than FEWEST
    questions no test finds anything. None where there is no difference at all.
    """
    count, spread = len(differences), _spread(differences)
    largest = float(abs(differences).max(initial=0.0))
    if not spread:
        return None
    return max((Z95 + Z80) * spread / math.sqrt(count), min(FEWEST, count) * largest / count)


def _spread(differences: np.ndarray) -> float:
    """The standard deviation of differences (Q,), 0 where all are equal but for rounding."""
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return spread if spread > EQUAL else 0.0
