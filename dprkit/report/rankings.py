"""Rankings and texts of a report, packed question by question for all systems at once.

The files of rankings are read once, side by side. Memory is one ranking of each system, a few
blocks, and what texts.py keeps of each passage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec import UNSET

from dprkit.data.answer_matching import answer_spans
from dprkit.evaluation.judging import Figures
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.report.in_turn import InTurn
from dprkit.report.spool import Blocks, Spool
from dprkit.report.systems import ShownSystem
from dprkit.report.texts import Texts

DIGITS = 5
"""Of the best score of a ranking; the others have as many behind the point."""
QUESTIONS = 50
"""In a block."""


def packed_ranking(
    ranking: Ranking, judged: Figures, texts: Texts, depth: int | None, match: str
) -> dict[str, Any]:
    """A ranking as the page reads it: its best `depth` passages, and those below that matter.

    These are the first with an answer, and the gold passages.
    """
    hits = ranking.hits
    ranks: Sequence[int] = range(1, len(hits) + 1)
    if depth is not None and len(hits) > depth:
        first = () if judged.answer_rank is UNSET else (judged.answer_rank,)
        lower = {rank for rank in (*first, *judged.gold_ranks) if rank and rank > depth}
        ranks = [*range(1, depth + 1), *sorted(lower)]
        hits = tuple(hits[rank - 1] for rank in ranks)
    number = texts.number
    found: dict[str, Any] = {
        "n": [number(hit) for hit in hits],
        **_scores([hit.score for hit in hits]),
    }
    if ranks and ranks[-1] != len(ranks):
        found["r"] = ranks
    answers = ranking.question.answers
    if marks := {
        str(at): spans_in_utf16(answers, hit.text, match)
        for at, hit in enumerate(hits)
        if hit.has_answer
    }:
        found["m"] = marks
    if judged.gold_ranks:
        found["g"] = judged.gold_ranks
    return found


def _scores(scores: Sequence[float]) -> dict[str, Any]:
    """Scores in a third of their size: whole numbers of 10^-d, the first and then by how much each
    is below the one before it."""
    largest = max(map(abs, (scores[0], scores[-1])), default=0.0) if scores else 0.0
    decimals = DIGITS - 1 - math.floor(math.log10(largest)) if largest > 0 else 0
    decimals = min(decimals, 300)  # 10**308 is the largest power of ten
    scale = 10.0**decimals
    whole = [round(score * scale) for score in scores]
    return {"d": decimals, "s": [*whole[:1], *(a - b for a, b in pairwise(whole))]}


def spans_in_utf16(answers: Sequence[str], text: str, match: str) -> list[tuple[int, int]]:
    """Where answers stand in a text, in the units that JavaScript counts in."""
    spans = answer_spans(answers, text, match) if text else []
    if text.isascii() or max(text) < "\U00010000":
        return spans
    return [(utf16_length(text[:start]), utf16_length(text[:end])) for start, end in spans]


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


# --- all systems ----------------------------------------------------------------------------------


class Packed(NamedTuple):
    """What was packed, and what the page needs to find it."""

    questions: list[tuple[str, str, Sequence[str], Sequence[str]]]
    """Id, text, answers and gold passages of each question."""
    blocks: int
    """Of rankings."""
    passages: dict[str, Any]
    with_texts: list[bool]
    """Of each system, whether its rankings have texts."""


def pack(systems: Sequence[ShownSystem], depth: int | None, spool: Spool, run: Run) -> Packed:
    """Pack the rankings of all systems, question by question in the order of the first system."""
    with ExitStack() as stack:
        rankings = [
            stack.enter_context(closing(InTurn(one.rankings(), spool.folder))) for one in systems
        ]
        return _pack(systems, rankings, depth, spool, run)


def _pack(
    systems: Sequence[ShownSystem],
    rankings: Sequence[InTurn],
    depth: int | None,
    spool: Spool,
    run: Run,
) -> Packed:
    questions, with_texts = [], [False] * len(systems)
    blocks, texts = Blocks("r", QUESTIONS, spool.add_json), Texts(spool)
    count = len(systems[0].system.questions)
    run.progress.start("packing", count, "questions")
    for row in range(count):
        judged = [one.system.questions[row] for one in systems]
        own = [file.of(one.id) for file, one in zip(rankings, judged, strict=True)]
        questions.append(_question(judged[0], own))
        packed: list[dict[str, Any] | None] = [None] * len(own)
        has_text = [ranking is not None and any(h.text for h in ranking.hits) for ranking in own]
        # Those with texts first: a hit of the others is then a passage with a text.
        for at in sorted(range(len(own)), key=has_text.__getitem__, reverse=True):
            if ranking := own[at]:
                packed[at] = packed_ranking(
                    ranking, judged[at], texts, depth, systems[at].system.match
                )
        with_texts = [a or b for a, b in zip(with_texts, has_text, strict=True)]
        blocks.append(packed)
        run.progress.advance(1)
    run.progress.finish()
    deepest = max(one.longest for one in systems)
    return Packed(
        questions, blocks.finish(), texts.finish() | {"depth": depth or deepest}, with_texts
    )


def _question(
    judged: Figures, rankings: Sequence[Ranking | None]
) -> tuple[str, str, Sequence[str], Sequence[str]]:
    """What is told of a question, from the first ranking that tells it."""
    known = [ranking.question for ranking in rankings if ranking]
    text = judged.question or next((one.question for one in known if one.question), "")
    answers = next((one.answers for one in known if one.answers), ())
    gold = next((one.gold for one in known if one.gold), ())
    return judged.id, text, answers, gold
