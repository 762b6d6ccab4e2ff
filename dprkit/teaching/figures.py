"""How a teacher's scores lie: those of positives and of others, and how sharp its lists are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import msgspec

from dprkit.data.candidate_rows import CandidateRow
from dprkit.score_spread import Spread, entropy


class Figures(msgspec.Struct, frozen=True):
    """Of the scores of all questions."""

    positives: Spread | None
    others: Spread | None
    """None in artifacts of before, where there is none; so are their quartiles."""
    gold_first: float | None
    """Share of the questions whose highest score is that of a positive, of those where a positive
    and another passage have one. The highest of equal scores counts for both."""
    entropy: float | None
    """Mean entropy, in bits, of the softmax of a question's scores at temperature 1: 0 where one
    passage has all of it, log2 of their number where all have the same."""
    short: int
    """Questions with fewer than two scores, from which nothing is learned."""


def figures_of(rows: Iterable[CandidateRow]) -> tuple[int, int, int, Figures]:
    """Questions, passages with a score, passages without, and the figures. Memory: 4 bytes each."""
    import numpy as np

    positives, others = array("f"), array("f")
    questions = unscored = short = first = judged = 0
    entropies = array("d")
    for row in rows:
        known = [(place, s) for place, s in enumerate(row.teacher_scores) if s is not None]
        gold = [score for place, score in known if place in row.gold]
        rest = [score for place, score in known if place not in row.gold]
        positives.extend(gold)
        others.extend(rest)
        questions, unscored = questions + 1, unscored + len(row.teacher_scores) - len(known)
        if len(known) < 2:
            short += 1
        else:
            entropies.append(entropy(np.array([score for _, score in known])))
        if gold and rest:
            judged, first = judged + 1, first + (max(gold) >= max(rest))
    figures = Figures(
        Spread.of(np.frombuffer(positives, np.float32)),
        Spread.of(np.frombuffer(others, np.float32)),
        first / judged if judged else None,
        sum(entropies) / len(entropies) if entropies else None,
        short,
    )
    return questions, len(positives) + len(others), unscored, figures
