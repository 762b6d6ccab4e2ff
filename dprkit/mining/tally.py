"""What mining counts and samples as it goes, and the figures of its scores."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dprkit.score_spread import Spread

SCORE = np.dtype([("index", "<u2"), ("positive", "<f4"), ("negative", "<f4")])
"""A line of the growing file of scores: of a negative by the index that ranked it best, with the
positive's score there, NaN if it has none; or of a question's positive by an index, with NaN."""


class Scores(msgspec.Struct):
    """Scores by one index."""

    index: str
    positive: Spread
    """Of the positives that it has a score for, one a question."""
    negative: Spread
    """Of the negatives that have their best rank in it."""
    difference: Spread
    """The positive's score less the negative's, of each pair that has both."""


class Tally(msgspec.Struct):
    """The counts of mining so far, and the sample for audit.jsonl; goes through JSON unchanged."""

    questions: int = 0
    """Rows that were mined for and written."""
    gold_missing: int = 0
    """Questions without a gold passage in the corpus, which are left out."""
    candidates: int = 0
    """Passages of the ranks that were asked for."""
    looked_at: int = 0
    """Of those, what it took to find enough; and what was relabelled above them."""
    dropped: dict[str, int] = {}
    mined: int = 0
    relabelled: int = 0
    merged: int = 0
    """Hard negatives that were there and are kept."""
    merged_positives: int = 0
    """Those that are left out, as they are positives of the question."""
    short: int = 0
    none: int = 0
    """Questions that got fewer than asked for, and those of them that got none."""
    without_answers: int = 0
    unscored: int = 0
    """Questions whose positive has no score by any index."""
    bytes: dict[str, int] = {}
    """Of the growing files."""
    sample: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    """outcome -> decisions drawn at random, each behind its order."""

    def offer(self, outcome: str, order: int, decision: Mapping[str, Any], size: int) -> None:
        """Keep the decision if it is among the `size` of an outcome with the lowest order."""
        kept = self.sample.setdefault(outcome, [])
        insort(kept, (order, self.questions, dict(decision)), key=lambda one: one[:2])
        del kept[size:]

    def wants(self, outcome: str, order: int, size: int) -> bool:
        """Whether `offer` would keep it."""
        kept = self.sample.get(outcome, [])
        return len(kept) < size or (order, self.questions) < kept[-1][:2]


def order_of(seed: int, question: str, outcome: str) -> int:
    """A number of 63 bits by which decisions are drawn: the same in any order of the questions."""
    digest = blake2b(f"{seed}\n{outcome}\n{question}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def figures_of(path: Path, indexes: Sequence[str]) -> list[Scores]:
    """The figures of a file of SCORE. Memory: 10 bytes for each negative."""
    lines = np.fromfile(path, SCORE)
    found = []
    for number, name in enumerate(indexes):
        own = lines[lines["index"] == number]
        of_positive = np.isnan(own["negative"])
        pairs = own[~of_positive]
        both = pairs[~np.isnan(pairs["positive"])]
        found.append(
            Scores(
                name,
                Spread.of(own["positive"][of_positive]),
                Spread.of(pairs["negative"]),
                Spread.of(both["positive"] - both["negative"]),
            )
        )
    return found
