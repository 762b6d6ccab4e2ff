"""The items that rows of a foreign table make, from the values of their columns.

Each function gets the values of the columns that its form names (imports/columns.py), None where
the source has no such column, and raises Unusable for values that make no item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dprkit.data.ids import content_id
from dprkit.imports.items import Judgement
from dprkit.imports.values import (
    Unusable,
    candidates_of,
    grade_of,
    scores_of,
    shared_out,
    single,
    texts_of,
)
from dprkit.records import Candidate, Example, Passage, Question


def judgement(values: Sequence[Any]) -> Judgement:
    """Of question_id, passage_id, grade."""
    question_id, passage_id, grade = values
    return Judgement(single(question_id), single(passage_id), grade_of(grade))


def question(values: Sequence[Any]) -> Question:
    """Of question, question_id, answers, passage_id, dataset, tags, pages.

    A question without an id gets one of its text.
    """
    asked, question_id, answers, passage_id, dataset, tags, pages = values
    text = single(asked)
    return Question(
        single(question_id) or content_id("", text),
        text,
        texts_of(answers),
        texts_of(passage_id),
        single(dataset),
        texts_of(tags),
        tuple(map(texts_of, pages or ())),
    )


def passage(values: Sequence[Any]) -> Passage:
    """Of text, id, title; without an id, by its content."""
    text, id_, title = values
    body, head = single(text), single(title)
    return Passage(single(id_) or content_id(head, body), body, head)


def example(values: Sequence[Any]) -> Example:
    """Of question, positive, answers, positive_id, positive_title, positive_score, negative,
    negative_id, negative_score, score. The scores are a teacher's.
    """
    asked, positive, answers, positive_id, title, positive_score, *others = values
    negative, negative_id, negative_score, score = others
    positives = candidates_of(positive, positive_id, title)
    negatives = candidates_of(negative, negative_id, None)
    scores = scores_of(positive_score), scores_of(negative_score)
    if not negatives and scores_of(score) == [0.0]:
        raise Unusable("a pair with the score 0")
    if not any(scores):
        scores = shared_out(scores_of(score), len(positives), len(negatives))
    return Example(
        single(asked),
        texts_of(answers),
        _with_text(_scored(positives, scores[0])),
        _with_text(_scored(negatives, scores[1])),
    )


def labelled_pair(values: Sequence[Any]) -> Example:
    """Of question, positive, label, answers, positive_id, positive_title.

    Above 0 the label says that the passage answers the question.
    """
    asked, positive, label, answers, id_, title = values
    found, labels = candidates_of(positive, id_, title), scores_of(label)
    return _rated(single(asked), texts_of(answers), found, labels)


def labelled_list(values: Sequence[Any]) -> Example:
    """Of question, passages, label, score, answers: labels say which passages answer it.

    Without labels the passage of the highest score is the positive.
    """
    asked, passages, label, score, answers = values
    if isinstance(passages, dict):  # MS MARCO's passages are an object of lists
        label = passages.get("is_selected", label)
        passages = passages.get("passage_text", passages.get("text"))
    found, labels, scores = candidates_of(passages), scores_of(label), scores_of(score)
    if not labels and scores:
        labels = [float(score == max(scores)) for score in scores]
    if scores:
        found = list(_scored(found, scores))
    return _rated(single(asked), texts_of(answers), found, labels)


def _rated(
    question: str,
    answers: tuple[str, ...],
    candidates: Sequence[Candidate],
    labels: Sequence[float],
) -> Example:
    """An example of passages with labels: those above 0 are positives, the highest first."""
    if len(labels) != len(candidates):
        raise Unusable("labels that are not as many as the passages")
    rated = [p for p in zip(labels, candidates, strict=True) if p[1].text.strip()]
    best = sorted((pair for pair in rated if pair[0] > 0), key=lambda pair: -pair[0])
    others = tuple(candidate for label, candidate in rated if label <= 0)
    return Example(question, answers, tuple(candidate for _, candidate in best), others)


def _scored(candidates: Sequence[Candidate], scores: Sequence[float]) -> tuple[Candidate, ...]:
    """Candidates with their scores by a teacher."""
    if scores and len(scores) != len(candidates):
        raise Unusable("scores that are not as many as the passages")
    if not scores:
        return tuple(candidates)
    return tuple(
        Candidate(c.id, c.text, c.title, c.score, score)
        for c, score in zip(candidates, scores, strict=True)
    )


def _with_text(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple(candidate for candidate in candidates if candidate.text.strip())
