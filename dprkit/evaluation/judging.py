"""The judgement of a ranking: the ranks of passages with an answer, and of gold passages."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dprkit.data.answer_matching import answer_flags, has_token, invalid_patterns
from dprkit.errors import FormatError, InputError
from dprkit.records import Hit, Question, Ranking


class Figures(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a question's ranking: all metrics are made of it."""

    id: str
    hits: int
    """Passages in the ranking."""
    answer_rank: int | UnsetType | None = UNSET
    """The rank of the first passage that holds an answer; None: no passage does; unset: the
    question has no answers, or its passages no texts."""
    gold_ranks: tuple[int | None, ...] = ()
    """The rank of each gold passage that the question names, ascending; None: not found."""


def refuse_empty_answer(question: Question, path: str) -> None:
    """Raise FormatError for an answer that every passage would hold."""
    if not all(map(has_token, question.answers)):
        problem = "an answer is empty and would match every passage; remove it"
        raise FormatError(path, f"question {question.question!r}", problem)


def with_flags(ranking: Ranking, match: str) -> Ranking:
    """The ranking with has_answer set from the texts of its passages."""
    texts = [hit.text for hit in ranking.hits]
    flags = answer_flags(ranking.question.answers, texts, match)
    hits = (replace(hit, has_answer=flag) for hit, flag in zip(ranking.hits, flags, strict=True))
    return Ranking(ranking.question, tuple(hits))


def is_flagged(ranking: Ranking) -> bool:
    """Whether somebody looked for answers in the passages."""
    return any(hit.has_answer is not None for hit in ranking.hits)


def figures_of(ranking: Ranking) -> Figures:
    """The figures of a ranking whose passages are flagged, where they can be."""
    question, hits = ranking.question, ranking.hits
    answer_rank: int | UnsetType | None = UNSET
    if is_flagged(ranking) or (question.answers and not hits):
        answer_rank = next((rank for rank, hit in enumerate(hits, 1) if hit.has_answer), None)
    gold = set(question.gold)
    found = [rank for rank, hit in enumerate(hits, 1) if hit.id in gold]
    gold_ranks = (*found, *[None] * (len(gold) - len(found)))
    return Figures(question.id, len(hits), answer_rank, gold_ranks)


def tied_depths(hits: Sequence[Hit], rank: int) -> range:
    """The depths that cut through the passages whose score equals that of the one at `rank`."""
    score, first, last = hits[rank - 1].score, rank, rank
    while first > 1 and hits[first - 2].score == score:
        first -= 1
    while last < len(hits) and hits[last].score == score:
        last += 1
    return range(first, last)


class Tally:
    """The figures of all questions, and counts of what changes their meaning."""

    def __init__(self, match: str) -> None:
        self.match = match
        self.figures: list[Figures] = []
        self.tied: list[range] = []
        """Depths at which the order of equal scores decides whether a first hit counts."""
        self.without_answers = self.without_texts = self.bad_patterns = 0
        self._any_flagged = False

    def add(self, ranking: Ranking) -> None:
        """Count a ranking whose passages are flagged, where they can be."""
        figures = figures_of(ranking)
        self.figures.append(figures)
        self._any_flagged |= is_flagged(ranking)
        if figures.answer_rank is UNSET:
            if ranking.question.answers:
                self.without_texts += 1
            else:
                self.without_answers += 1
        for rank in (figures.answer_rank, *figures.gold_ranks[:1]):
            if rank and (depths := tied_depths(ranking.hits, rank)):
                self.tied.append(depths)
        if self.match == "regex":
            self.bad_patterns += len(invalid_patterns(ranking.question.answers))

    def finish(self, source: str) -> list[Figures]:
        """The figures of all questions. Raises InputError where there is nothing to measure."""
        if not self.figures:
            raise InputError(f"{source}: holds no question; there is nothing to measure")
        if self.without_texts and not self._any_flagged:
            # What is left are questions that found nothing, which alone say nothing.
            self.figures = [replace(figures, answer_rank=UNSET) for figures in self.figures]
        if any(f.answer_rank is not UNSET or f.gold_ranks for f in self.figures):
            return self.figures
        if self.without_texts:
            raise InputError(
                f"{source}: its passages have neither texts nor has_answer, so no answer can be "
                "looked for; write the rankings with their texts"
            )
        raise InputError(
            f"{source}: no question has an answer or a gold passage to look for (in a TREC run "
            "none ever has); search again with evaluate --index INDEX --questions FILE, or use "
            "trec_eval"
        )
