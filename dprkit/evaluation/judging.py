"""The judgement of rankings: the ranks of passages with an answer, and of relevant passages.

`with_flags` and `judge` depend on what they are given alone, so any process can do them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dprkit.data.answer_matching import answer_flags, has_token, unmatchable
from dprkit.errors import FormatError, InputError
from dprkit.evaluation.kilt_pages import values_of_pages
from dprkit.evaluation.measures import values_of
from dprkit.records import Question, Ranking

BATCH = 128
"""Rankings judged together: ir-measures is five times faster than with one."""


class Figures(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a question's ranking: a line of per_question.jsonl."""

    id: str
    question: str = ""
    hits: int = 0
    """Passages in the ranking."""
    answer_rank: int | UnsetType | None = UNSET
    """The rank of the first passage that holds an answer; None: no passage does; unset: the
    question has no answers, or its passages no texts."""
    gold_ranks: tuple[int | None, ...] = ()
    """The rank of each relevant passage, ascending; None: not found."""
    dataset: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    missing: bool | UnsetType = UNSET
    """Set where there was no ranking of the question, though it has a judgement."""
    ties: int | UnsetType = UNSET
    """Passages with the score of the passage before; unset: none."""
    tied: tuple[int, ...] | UnsetType = UNSET
    """Depths k at which the passages at k and k + 1 have the same score; unset: none."""
    measures: dict[str, float | None] | UnsetType = UNSET
    """Label of a measure, such as nDCG@10, -> its value; None: undefined."""


class Judging(NamedTuple):
    """What is asked of each ranking."""

    match: str = "string"
    cuts: tuple[int, ...] = ()
    """Depths to look for ties at."""
    labels: tuple[str, ...] = ()
    """Measures of ir-measures."""
    grades: Mapping[str, Mapping[str, int]] | None = None
    """Question id -> passage id -> grade; None: questions name their gold passages."""
    page_depths: tuple[int, ...] = ()
    """Depths to look for KILT's pages at."""

    def of(self, question: Question) -> Mapping[str, int]:
        """The grades of passages for a question; those it names have grade 1."""
        if self.grades is None:
            return dict.fromkeys(question.gold, 1)
        return self.grades.get(question.id, {})


class Judged(NamedTuple):
    """A ranking's figures, with what they were made of."""

    figures: Figures
    values: Sequence[float]
    """(M,) by the measures of ir-measures, and then of pages; NaN: undefined."""
    flagged: bool
    """Whether somebody looked for answers in the passages."""
    has_answers: bool
    irrelevant: bool
    """Whether it has judgements, and none of a relevant passage."""
    unmatchable: int
    """Answers that match nothing, such as a broken regular expression."""


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


def judge(rankings: Sequence[Ranking], judging: Judging) -> list[Judged]:
    """The figures of rankings whose passages are flagged, where they can be."""
    graded = [judging.of(ranking.question) for ranking in rankings]
    values: Sequence[Sequence[float]] = [()] * len(rankings)
    if judging.labels:
        ids = [[hit.id for hit in ranking.hits] for ranking in rankings]
        values = values_of(judging.labels, list(zip(ids, graded, strict=True)))
    if judging.page_depths:
        values = [
            [*own, *_values_of_pages(ranking, judging)]
            for own, ranking in zip(values, rankings, strict=True)
        ]
    return [
        _judged(ranking, grades, own, judging)
        for ranking, grades, own in zip(rankings, graded, values, strict=True)
    ]


def _values_of_pages(ranking: Ranking, judging: Judging) -> list[float]:
    ids = [hit.id for hit in ranking.hits]
    return values_of_pages(ids, ranking.question.pages, judging.page_depths)


def _judged(
    ranking: Ranking, grades: Mapping[str, int], values: Sequence[float], judging: Judging
) -> Judged:
    question, hits = ranking.question, ranking.hits
    flagged = any(hit.has_answer is not None for hit in hits)
    answer_rank: int | UnsetType | None = UNSET
    if flagged or (question.answers and not hits):
        answer_rank = next((rank for rank, hit in enumerate(hits, 1) if hit.has_answer), None)
    relevant = {id_ for id_, grade in grades.items() if grade > 0}
    found = [rank for rank, hit in enumerate(hits, 1) if hit.id in relevant]
    equal = [k for k, (hit, after) in enumerate(pairwise(hits), 1) if hit.score == after.score]
    figures = Figures(
        question.id,
        question.question,
        len(hits),
        answer_rank,
        (*found, *[None] * (len(relevant) - len(found))),
        question.dataset or UNSET,
        question.tags or UNSET,
        ties=len(equal) or UNSET,
        tied=tuple(k for k in judging.cuts if k in equal) or UNSET,
    )
    bad = len(unmatchable(question.answers, judging.match))
    irrelevant = bool(grades) and not relevant
    return Judged(figures, values, flagged, bool(question.answers), irrelevant, bad)


class Tally:
    """The figures of all questions, and counts of what changes their meaning."""

    def __init__(self) -> None:
        self.figures: list[Figures] = []
        self.values = array("d")
        """(Q * M,) of Q questions by M measures of ir-measures and of pages."""
        self.without_answers = self.without_texts = self.unmatchable = self.irrelevant = 0
        self._any_flagged = False

    def add(self, judged: Judged) -> None:
        """Count a question."""
        self.figures.append(judged.figures)
        self.values.extend(judged.values)
        self._any_flagged |= judged.flagged
        self.unmatchable += judged.unmatchable
        self.irrelevant += judged.irrelevant
        if judged.figures.answer_rank is UNSET:
            self.without_texts += judged.has_answers
            self.without_answers += not judged.has_answers

    def finish(self, source: str) -> list[Figures]:
        """The figures of all questions. Raises InputError where there is nothing to measure."""
        if not self.figures:
            raise InputError(f"{source}: holds no question; there is nothing to measure")
        if self.without_texts and not self._any_flagged:
            # What is left are questions that found nothing, which alone say nothing.
            self.figures = [replace(figures, answer_rank=UNSET) for figures in self.figures]
        if any(f.answer_rank is not UNSET or f.gold_ranks for f in self.figures):
            return self.figures
        if any(value == value for value in self.values):  # which NaN is not
            return self.figures
        if self.without_texts:
            raise InputError(
                f"{source}: its passages have neither texts nor has_answer, so no answer can be "
                "looked for; write them with their texts (convert-results --passages does)"
            )
        if self.irrelevant:
            raise InputError(
                f"{source}: no passage is relevant to any of its questions by the qrels; a grade "
                "above 0 says that one is"
            )
        raise InputError(
            f"{source}: no question has an answer or a gold passage to look for (in a TREC run "
            "none ever has); give judgements with --qrels or --questions"
        )


def with_measures(figures: Figures, labels: Sequence[str], values: Sequence[float]) -> Figures:
    """The figures with the values of measures; NaN, which JSON does not have, becomes None."""
    shown = (None if value != value else value for value in values)
    return replace(figures, measures=dict(zip(labels, shown, strict=True)))


def missing(judged: Judged) -> Judged:
    """The judgement of a question that has no ranking."""
    return judged._replace(figures=replace(judged.figures, missing=True))
