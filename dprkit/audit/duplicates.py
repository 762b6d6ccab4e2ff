"""Passages that an earlier one has the text of, or nearly: by keys, or by MinHash and a comparison.

Two texts are near where the runs of three words that both have are a large share of those that
either has (Jaccard). A MinHash (Broder 1997) of a text is the smallest of its runs' hashes; two
texts have the same one with the probability of their similarity. Some of them in a row make a
band's key, and passages with the same key in any band are candidates (Indyk and Motwani 1998). So
of pairs of a similarity of 0.8 more than 99 % are candidates, and none is named that is not near.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dprkit.data.answer_matching import tokens_of
from dprkit.data.corpus_by_row import PassageFile

HASHES = 120
FOUND = 0.97
"""The least probability that a pair with just the similarity asked for is found."""
PAIRS = 1000
"""Pairs of passages that are in memory together."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Repeat(NamedTuple):
    """A passage, an earlier one with the same text or nearly, and their similarity."""

    row: int
    earlier: int
    similarity: float


def repeats(keys: np.ndarray) -> list[Repeat]:
    """The passages whose text's key (N,) an earlier passage has; 0 is the key of no text."""
    rows, firsts, _ = _same(keys)
    told = np.flatnonzero(keys[rows])
    pairs = zip(rows[told].tolist(), firsts[told].tolist(), strict=True)
    return [Repeat(row, first, 1.0) for row, first in sorted(pairs)]


def _same(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows (R,) whose key an earlier row has, the first row that has it, and the last before.

    `keys`: (N,) of N rows.
    """
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    places = np.flatnonzero(same)  # each of a row that the next one is the same as
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    firsts = order[starts[np.searchsorted(starts, places, side="right") - 1]]
    return order[places + 1], firsts, order[places]


# --- near duplicates ------------------------------------------------------------------------------


class Bands:
    """How the hashes of a text are grouped for a similarity that is asked for."""

    def __init__(self, near: float) -> None:
        fitting = (r for r in (10, 8, 6, 5, 4, 3, 2, 1) if _probability(near, r) >= FOUND)
        self.rows = next(fitting, 1)
        self.count = HASHES // self.rows
        dice = np.random.default_rng(0)
        self._factors = dice.integers(0, 1 << 63, (HASHES, 1), np.uint64) << np.uint64(1) | 1
        self._added = dice.integers(0, 1 << 63, (HASHES, 1), np.uint64)
        self._weights = dice.integers(0, 1 << 63, self.rows, np.uint64) << np.uint64(1) | 1

    def keys(self, texts: Sequence[str]) -> np.ndarray:
        """The keys (bands, N), uint64, of N texts."""
        keys = np.empty((self.count, len(texts)), np.uint64)
        for number, text in enumerate(texts):
            hashes = runs(text) * self._factors + self._added
            least = hashes.min(axis=1, initial=np.iinfo(np.uint64).max)  # of an empty text
            mixed = (least >> np.uint64(20)).reshape(self.count, self.rows) * self._weights
            keys[:, number] = mixed.sum(axis=1)
        return keys


def _probability(similarity: float, rows: int) -> float:
    """That a pair shares the key of one band at least."""
    return 1 - (1 - similarity**rows) ** (HASHES // rows)


def runs(text: str) -> np.ndarray:
    """Hashes (R,), uint64, of the runs of three words of a text; of its words where it has two."""
    words = tokens_of(text)
    hashes = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))
    if len(hashes) > 2:
        hashes = (hashes[:-2] * _ODD + hashes[1:-1]) * _ODD + hashes[2:]
    hashes = (hashes + np.uint64(1)) * _ODD
    return hashes ^ hashes >> np.uint64(29)


def near_repeats(corpus: PassageFile, keys: np.ndarray, near: float) -> list[Repeat]:
    """The passages that an earlier one is near to, each with the nearest one it was compared with.

    `keys`: (bands, N) of the N passages; a band is in memory at a time.
    """
    best: dict[int, Repeat] = {}
    pairs = sorted(_candidates(keys))
    for begin in range(0, len(pairs), PAIRS):
        chunk = pairs[begin : begin + PAIRS]
        rows = sorted({row for pair in chunk for row in pair})
        texts = zip(rows, corpus.at(rows), strict=True)
        sets = {row: set(runs(passage.text).tolist()) for row, passage in texts}
        for row, earlier in chunk:
            similarity = _jaccard(sets[row], sets[earlier])
            if similarity >= near and (row not in best or similarity > best[row].similarity):
                best[row] = Repeat(row, earlier, similarity)
    return list(best.values())


def _jaccard(one: set[int], other: set[int]) -> float:
    common = len(one & other)
    return common / max(len(one) + len(other) - common, 1)


def _candidates(keys: np.ndarray) -> set[tuple[int, int]]:
    """(row, earlier row) of passages that share a key: with the first that has it, and the last.

    All pairs of a text that thousands have would be too many.
    """
    found: set[tuple[int, int]] = set()
    for band in keys:
        rows, *earlier = _same(np.asarray(band))
        for ones in earlier:
            found.update(zip(rows.tolist(), ones.tolist(), strict=True))
    return found
