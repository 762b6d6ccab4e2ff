"""The list of passages that a question is compared with its teacher on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprkit.records import Candidate, Example
from dprkit.training.distill_settings import DrawnBy


def drawn_candidates(
    example: Example, count: int, by: DrawnBy, rng: np.random.Generator | None
) -> list[Candidate]:
    """`count` passages of a row beside its first positive, each text once; fewer where it has so.

    Those that the teacher scored come before the others. first: as they stand in the row. uniform:
    by chance. teacher: half of them (rounded up) those with the highest scores, the others by
    chance, as RocketQAv2 (Ren et al. 2021, section 4.3) takes half of its lists at random. Without
    `rng` the first.
    """
    scored, unscored = _others(example)
    if rng is None or by == "first":
        return [*scored, *unscored][:count]
    best = (count + 1) // 2 if by == "teacher" else 0
    ranked = sorted(scored, key=_score, reverse=True) if best else scored
    return [*ranked[:best], *_mixed(ranked[best:], rng), *_mixed(unscored, rng)][:count]


def _others(example: Example) -> tuple[list[Candidate], list[Candidate]]:
    """The distinct passages beside the first positive: with a teacher's score, and without one."""
    first = example.positives[0]
    seen = {(first.title, first.text)}
    scored: list[Candidate] = []
    unscored: list[Candidate] = []
    for passage in (*example.positives[1:], *example.hard_negatives, *example.negatives):
        if (passage.title, passage.text) not in seen:
            seen.add((passage.title, passage.text))
            (unscored if passage.teacher_score is None else scored).append(passage)
    return scored, unscored


def _score(passage: Candidate) -> float:
    return passage.teacher_score or 0.0


def _mixed(passages: Sequence[Candidate], rng: np.random.Generator) -> list[Candidate]:
    return [passages[i] for i in rng.permutation(len(passages))]
