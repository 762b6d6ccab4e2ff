"""What `audit` counts: the figures, what each of them means, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dprkit.errors import SettingsError, nearest


class Figure(msgspec.Struct):
    """How many of the questions, or of the passages, have something, with some examples."""

    count: int
    of: int
    share: float | None
    """None: there is nothing that could have it."""
    examples: list[str]


class About(NamedTuple):
    """What a figure counts, in words."""

    label: str
    meaning: str
    advice: str
    tag: str = ""
    """What a question that is counted is tagged with; "" for figures of passages."""


QUESTIONS = {
    "no_answer": About(
        "no answer in the corpus",
        "no passage holds an answer, so no retriever can find one",
        "read answer recall against the ceiling, or take the corpus that the questions were made "
        "for",
        "no-answer-in-corpus",
    ),
    "gold_missing": About(
        "gold passage missing",
        "a gold passage is not in the corpus, and counts as a miss",
        "check that the ids of questions and corpus are of the same edition",
        "gold-missing",
    ),
    "common_answer": About(
        "answer in very many passages",
        "an answer occurs in so many passages that a search finds it by chance",
        "trust gold passages more than answer recall for these, or leave them out",
        "common-answer",
    ),
    "stop_word_answer": About(
        "answer of stop words alone",
        "an answer consists of words such as 'the' and 'it', or of single signs",
        "check these answers: nearly every passage holds them",
        "stop-word-answer",
    ),
    "empty_answer": About(
        "empty answer",
        "an answer has no letter, digit or sign",
        "remove these answers: evaluate refuses them",
        "empty-answer",
    ),
    "unmatchable_answer": About(
        "answer that matches nothing",
        "an answer is no valid regular expression or, with --match kilt, an article alone",
        "mend these answers",
        "unmatchable-answer",
    ),
    "without_answers": About(
        "without answers",
        "a question has no answer to look for, and is not in answer recall",
        "measure these by gold passages",
        "without-answers",
    ),
    "repeated_question": About(
        "question asked before",
        "an earlier question of the file is the same but for letter case and punctuation",
        "keep one of them: a question that is there twice counts twice",
        "repeated-question",
    ),
    "in_train": About(
        "question in the training data",
        "training data has the same question, but for letter case and punctuation",
        "leave them out of training (select-data --exclude), or of the evaluation",
        "in-train",
    ),
    "near_train": About(
        "nearly a training question",
        "training data has a question of nearly the same words",
        "compare the metrics with and without them",
        "near-train",
    ),
    "question_cut": About(
        "question cut by the retriever",
        "a question has more tokens than the retriever reads",
        "raise question_max_length when the retriever is trained",
        "question-cut",
    ),
}
"""Figures of questions."""

PASSAGES = {
    "empty_passage": About(
        "empty passages",
        "a passage has no text",
        "remove these passages: their vectors mean nothing, and they can still be found",
    ),
    "duplicate_passage": About(
        "repeated passages",
        "an earlier passage has the same text, letter case and white space aside",
        "remove them: they take places in the ranking, and only one of them is the gold passage",
    ),
    "near_duplicate_passage": About(
        "nearly repeated passages",
        "an earlier passage has nearly the same text",
        "look at some of them in duplicates.jsonl; gold passages among them are found too seldom",
    ),
    "passage_cut": About(
        "passages cut by the retriever",
        "a passage has more tokens than the retriever reads, and its end is not searched",
        "split the passages, or raise passage_max_length when the retriever is trained",
    ),
}
"""Figures of passages."""

FIGURES = QUESTIONS | PASSAGES
OF_ANSWERS = (
    "no_answer",
    "common_answer",
    "stop_word_answer",
    "empty_answer",
    "unmatchable_answer",
)
"""Figures that only questions with answers can have."""


def limits(fail_if: Sequence[str]) -> dict[str, float]:
    """The shares that figures may have, by name. Raises SettingsError for what names none."""
    found = {}
    for text in fail_if:
        name, colon, share = text.partition(":")
        if name not in FIGURES:
            raise SettingsError(
                f"--fail-if: no figure is called {name!r}{nearest(name, FIGURES)}; there are "
                f"{', '.join(FIGURES)}"
            )
        try:
            found[name] = float(share if colon else "0")
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] <= 1:
            raise SettingsError(f"--fail-if: {text!r} is not valid: a share is from 0 to 1")
    return found
