"""The rules of mining: which of the passages found for a question are hard negatives.

What is looked at is what it takes to find as many as were asked for.


sift      every passage gets an outcome: it is left, or by which of RULES it is not
in_order  those that are left, in the order in which they are taken
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dprkit.data.answer_matching import Texts, has_token
from dprkit.data.ids import text_key
from dprkit.mining.rows import Asked
from dprkit.mining.same_texts import TextSet, opening
from dprkit.mining.united_hits import Found
from dprkit.records import Passage, same_question
from dprkit.settings import MineSettings

KEPT, RELABELLED, LEFT, ALREADY_THERE = "kept", "relabelled", "", "already_there"
RULES = (
    "same_id",
    "same_text",
    "other_positive",
    "no_text",
    ALREADY_THERE,
    "answer",
    "relative_margin",
    "absolute_margin",
    "repeated_text",
    "teacher",
)
"""Why a passage is no negative, in the order in which it is asked."""


class Beside(NamedTuple):
    """The passages that are known beside a question."""

    ids: frozenset[str]
    texts: TextSet
    """Of its positives."""
    other_ids: frozenset[str]
    other_texts: TextSet
    """Of the positives of all rows that ask the same."""
    there_ids: frozenset[str]
    there_texts: TextSet
    """Of the hard negatives that stay."""

    @classmethod
    def of(cls, asked: Asked, merge: bool) -> Beside:
        """What is known beside a question; its hard negatives stay where they are merged."""
        negatives = asked.negatives if merge else ()
        return cls(
            frozenset(p.id for p in asked.positives),
            TextSet(p.text for p in asked.positives),
            asked.other_ids,
            TextSet(asked.other_texts),
            frozenset(p.id for p in negatives),
            TextSet(p.text for p in negatives),
        )

    def rule(self, passage: Passage) -> str:
        """By which rule a passage is no negative; or LEFT."""
        begins = opening(passage.text)
        if passage.id in self.ids:
            return "same_id"
        if self.texts.has(passage.text, begins):
            return "same_text"
        if self._is_other(passage, begins):
            return "other_positive"
        if not begins:
            return "no_text"
        if passage.id in self.there_ids or self.there_texts.has(passage.text, begins):
            return ALREADY_THERE
        return LEFT

    def is_positive(self, passage: Passage) -> bool:
        """Whether a passage is a positive of the question, in any of the rows that ask it."""
        return self._is_other(passage, opening(passage.text))

    def _is_other(self, passage: Passage, begins: str) -> bool:
        return passage.id in self.other_ids or self.other_texts.has(passage.text, begins)


class Gold(NamedTuple):
    """The positive that passages are compared with: the first one that the corpus has."""

    row: int = -1
    """Of the corpus; -1: it is not known."""
    place: int = -1
    """Among what was found; -1: it was not."""
    scores: np.ndarray = np.empty(0)
    """(E,) by each index; NaN: none."""

    def above(self, found: Found) -> int:
        """How many of the passages found rank above it: all of them where it was not found."""
        return 0 if self.row < 0 else self.place if self.place >= 0 else len(found.rows)


# --- which are left -------------------------------------------------------------------------------


def inside(found: Found, settings: MineSettings) -> np.ndarray:
    """(M,) the places of the ranks that negatives are taken from."""
    ranks: np.ndarray = found.ranks
    return np.flatnonzero((ranks >= settings.from_rank) & (ranks <= settings.to_rank))


def holding(asked: Asked, texts: Sequence[str], match: str) -> list[bool]:
    """Whether each of the texts holds an answer."""
    answers = [answer for answer in asked.answers if has_token(answer)]
    if match == "none" or not answers:
        return [False] * len(texts)
    return Texts(texts).flags(answers, match)


def near(found: Found, gold: Gold, settings: MineSettings) -> list[tuple[str, np.ndarray]]:
    """By each margin the passages, (C,) bool, that an index which found them scores too high.

    The margin below a score s is a share of |s|, so that it lies below s where s is negative too,
    as in sentence-transformers' mine_hard_negatives. Without a score of the positive it counts for
    nothing: comparing with NaN is False.
    """
    positive = gold.scores[:, None]
    limits = []
    if settings.relative_margin is not None:
        limits.append(("relative_margin", positive - np.abs(positive) * settings.relative_margin))
    if settings.absolute_margin is not None:
        limits.append(("absolute_margin", positive - settings.absolute_margin))
    return [(name, (found.all_scores > limit).any(axis=0)) for name, limit in limits]


# --- in which order -------------------------------------------------------------------------------


def in_order(
    asked: Asked, places: np.ndarray, found: Found, gold: Gold, settings: MineSettings
) -> np.ndarray:
    """The places (M,) in the order in which they are looked at, until enough are taken.

    A sample without replacement stays one when some are passed over. What is drawn depends on the
    seed and the question alone.
    """
    if settings.pick == "top" or not len(places):
        return places
    drawn = np.random.default_rng([settings.seed, text_key(same_question(asked.question))])
    weights = np.zeros(len(places))
    if settings.pick == "around":
        weights = _log_weights(places, found, gold, settings)
    # The largest of weights with Gumbel noise are a sample without replacement (Gumbel-top-k).
    return places[np.argsort(-(weights + drawn.gumbel(size=len(places))), kind="stable")]


def _log_weights(
    places: np.ndarray, found: Found, gold: Gold, settings: MineSettings
) -> np.ndarray:
    """(M,) log of SimANS's weights, -a (s - s_positive - b)^2 (Zhou et al. 2022, arXiv 2210.11773).

    Of an index that gives the positive no score, all passages weigh what the others do on average.
    """
    weights = np.full(len(places), np.nan)
    scores, sources = found.scores[places].astype(np.float64), found.sources[places]
    for source in np.unique(sources).tolist():
        own = sources == source
        spread = scores[own].var()
        sharpness = settings.sharpness
        if sharpness is None:
            sharpness = 1 / spread if spread > 0 else 0.0
        weights[own] = -sharpness * (scores[own] - gold.scores[source] - settings.shift) ** 2
    known = np.isfinite(weights)
    weights[~known] = weights[known].mean() if known.any() else 0.0
    return weights
