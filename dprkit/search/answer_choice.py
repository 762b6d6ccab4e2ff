"""Which span of which passage is the answer, from what a reader says of each passage.

weight 0    the best span of the most relevant passage (DPR's rule)
weight w    of all spans of all passages the one with the highest
            (1 - w) (log P_start + log P_end) + 2 w log P_passage
            P_start and P_end over the tokens of what the reader has read with a passage, and
            P_passage over the passages of the depth (as minimal-rnr-qa has it)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from dprkit.answer_scores import normalised
from dprkit.data.answers import Answer, Prediction
from dprkit.errors import InputError
from dprkit.models.best_spans import Span, best_spans
from dprkit.models.reading import PassageLogits
from dprkit.records import Hit, Passage

SPANS = 5
"""Spans of a passage that compete where those of all passages do."""


class Reads(Protocol):
    """What a reader is to those who want its answers."""

    def logits(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> Sequence[PassageLogits]:
        """What it says of N questions and their N passages, pair by pair."""
        ...


class Reading(NamedTuple):
    """What a reader says of a passage, as far as answers are chosen by it."""

    relevance: float
    spans: Sequence[Span]
    """Best first; none where the passage has no text."""
    log_total: float
    """log of the sum of exp(start logit) plus that of exp(end logit): what makes probabilities."""


class Chosen(NamedTuple):
    """A span of the passage at `place` of a ranking, from 0, and what it was chosen by."""

    place: int
    span: Span
    score: float


def readings(
    reader: Reads,
    questions: Sequence[str],
    passages: Sequence[Passage],
    max_tokens: int,
    weight: float = 0.0,
) -> list[Reading]:
    """What a reader says of N questions and their N passages, pair by pair.

    Raises InputError where it says no numbers.
    """
    said = reader.logits(questions, passages)
    count = SPANS if weight else 1
    found = []
    for question, passage, logits in zip(questions, passages, said, strict=True):
        sides = logits.start, logits.end
        if not all(np.isfinite(part).all() for part in (*sides, logits.relevance)):
            raise InputError(
                f"the reader's logits for {question!r} are no numbers (NaN or infinite); its "
                "training has diverged: name another reader"
            )
        spans = best_spans(sides, logits.offsets, passage.text, max_tokens, count)
        found.append(Reading(logits.relevance, spans, logits.log_total))
    return found


def choose(read: Sequence[Reading], weight: float = 0.0) -> list[Chosen]:
    """The spans of a question's passages, best first; of equal ones that of the first passage.

    `read`: the passages of a depth, as they were found. With weight 0 each passage has its best
    span there, by relevance.
    """
    if not weight:
        best = (
            Chosen(place, one.spans[0], one.relevance)
            for place, one in enumerate(read)
            if one.spans
        )
        return sorted(best, key=lambda chosen: -chosen.score)
    relevance = np.array([one.relevance for one in read], np.float64)
    log_passage = relevance - np.logaddexp.reduce(relevance) if read else relevance
    scored = (
        Chosen(place, span, _score(span.score - one.log_total, float(log_p), weight))
        for place, (one, log_p) in enumerate(zip(read, log_passage, strict=True))
        for span in one.spans
    )
    return sorted(scored, key=lambda chosen: -chosen.score)


def _score(log_span: float, log_passage: float, weight: float) -> float:
    return (1 - weight) * log_span + 2 * weight * log_passage


def prediction(
    hits: Sequence[Hit], read: Sequence[Reading], depth: int, weight: float = 0.0
) -> Prediction:
    """The answer from the best `depth` passages, which were `read`."""
    chosen = choose(read[:depth], weight)
    if not chosen:
        return Prediction(depth)
    place, span, score = chosen[0]
    hit = hits[place]
    return Prediction(
        depth,
        hit.text[span.start : span.end],
        span.start,
        span.end,
        hit.id,
        hit.title,
        place + 1,
        read[place].relevance,
        span.score,
        score,
    )


def distinct(
    texts: Sequence[str], chosen: Sequence[Chosen], count: int = SPANS
) -> tuple[Answer, ...]:
    """The best answers that differ as exact match compares them, at most `count`, best first."""
    return tuple(islice(_distinct(texts, chosen), count))


def _distinct(texts: Sequence[str], chosen: Sequence[Chosen]) -> Iterator[Answer]:
    seen: set[str] = set()
    for place, span, score in chosen:
        text = texts[place][span.start : span.end]
        if (key := normalised(text) or text) not in seen:
            seen.add(key)
            yield Answer(text, score)
