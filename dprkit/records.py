"""The records that flow through dprkit, and the glossary of the field's words.

    question          what a user asks
    answer            a string (or a regular expression) that settles a question
    passage           a piece of text with an id and a title
    corpus            all passages that can be retrieved
    positive          a passage that answers the question; the first one is the gold passage
    hard negative     a passage that looks like a positive and does not answer the question
    negative          any other passage of the corpus
    example           a question with its answers and its positives, hard negatives, negatives
    candidate         a passage of an example, with the scores it was given there
    ranking           passages in order of score for one question
    retriever         a question encoder and a passage encoder with a similarity
    shard             a piece of the encoded corpus

Foreign names (ctx, psg_id, doc, query, ...) are mapped to these in dprkit/data.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Passage(msgspec.Struct, frozen=True):
    """A piece of text that can be retrieved. `id` is "" where a file gives none."""

    id: str
    text: str
    title: str = ""


def as_passages(texts: Iterable[Passage | tuple[str, str] | str]) -> list[Passage]:
    """Records of passages given as records, (title, text) pairs or texts."""
    return [
        p
        if isinstance(p, Passage)
        else Passage("", p)
        if isinstance(p, str)
        else Passage("", p[1], p[0])
        for p in texts
    ]


class Question(msgspec.Struct, frozen=True):
    """A question; `gold` names the passages known to answer it, where a file tells.

    `dataset` and `tags` are what the metrics of a part of the questions are asked for by. `pages`
    are KILT's provenance: sets of Wikipedia's page ids, whose pages together show an answer.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    gold: tuple[str, ...] = ()
    dataset: str = ""
    tags: tuple[str, ...] = ()
    pages: tuple[tuple[str, ...], ...] = ()


def same_question(question: str) -> str:
    """What questions have in common that differ in letter case and white space alone."""
    return " ".join(question.casefold().split())


class Candidate(Passage, frozen=True):
    """A passage beside a question, with its scores for it; None where a file gives none.

    `score` is that of the search which found the passage. `teacher_score` is that of a model which
    a retriever learns from, as it is: a logit, a similarity or a logarithm of a probability.
    """

    score: float | None = None
    teacher_score: float | None = None


class Example(msgspec.Struct, frozen=True):
    """A training example: a question with its passages, each list best first."""

    question: str
    answers: tuple[str, ...]
    positives: tuple[Candidate, ...]
    hard_negatives: tuple[Candidate, ...] = ()
    negatives: tuple[Candidate, ...] = ()


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A retrieved passage.

    `has_answer` is None where nobody has looked yet, `teacher_score` (see Candidate) where no
    teacher has.
    """

    id: str
    score: float
    title: str = ""
    text: str = ""
    has_answer: bool | None = None
    teacher_score: float | None = None


class Ranking(msgspec.Struct, frozen=True):
    """The passages retrieved for one question, best first."""

    question: Question
    hits: tuple[Hit, ...]
