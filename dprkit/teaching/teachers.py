"""Teachers: what gives each passage beside a question a raw score for a retriever to learn from.

PairTeacher       a reader or a cross-encoder, which reads a question and a passage together
VectorTeacher     a ColBERT model or a bi-encoder, which encodes each passage once
RankingTeacher    the scores of a search that was done before, by passage id
FoldTeachers      several of one kind; each scores the questions that it was trained without
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from dprkit.data.folds import fold_of
from dprkit.errors import MismatchError
from dprkit.models.best_spans import best_spans
from dprkit.records import Hit, Passage, same_question
from dprkit.search.rerank import PairModel, Reranker

if TYPE_CHECKING:
    from dprkit.data.rankings_by_question import RankingsByQuestion
    from dprkit.models.reading import PassageLogits, Reader


class Asked(NamedTuple):
    """A question with C passages to score."""

    question: str
    passages: Sequence[Passage]


class Teacher(Protocol):
    """What scores the passages of questions."""

    window: int
    """Pairs to give it together: what is lost when it is stopped, and what it orders by length."""

    def scores(self, window: Sequence[Asked]) -> list[np.ndarray]:
        """The scores (C,), float32, of each question's passages; -inf: it has none."""
        ...


# --- models of pairs ------------------------------------------------------------------------------


class PairTeacher:
    """A model that reads both texts together."""

    window = 4096

    def __init__(self, model: PairModel) -> None:
        self.model = model

    def scores(self, window: Sequence[Asked]) -> list[np.ndarray]:
        """As Teacher has it."""
        questions = [asked.question for asked in window for _ in asked.passages]
        passages = [passage for asked in window for passage in asked.passages]
        return _split(self.model.scores(questions, passages), window)


class SpanScores:
    """A reader as a PairModel whose score has the best answer span of the passage.

    log P(span | passage) = log softmax(start)[first token] + log softmax(end)[last token], both
    over the tokens of the passage's text. With the logit of the relevance, which is
    log P(passage) but for a constant of the question, the sum is that of passage and span.
    """

    def __init__(self, reader: Reader, max_tokens: int, relevance: bool) -> None:
        self.reader, self.max_tokens, self.relevance = reader, max_tokens, relevance

    def scores(self, questions: Sequence[str], passages: Sequence[Passage]) -> np.ndarray:
        """The scores (N,), float32, pair by pair; -inf where no token of the text is read."""
        logits = self.reader.logits(questions, passages)
        return np.array(list(map(self._score, logits, passages)), np.float32)

    def _score(self, logits: PassageLogits, passage: Passage) -> float:
        sides = logits.start, logits.end
        spans = best_spans(sides, logits.offsets, passage.text, self.max_tokens)
        if not spans:
            return -np.inf
        best = spans[0].score - logits.log_total
        return best + logits.relevance if self.relevance else best


# --- retrievers -----------------------------------------------------------------------------------


class VectorTeacher:
    """A retriever: what it makes of a passage serves all questions."""

    window = 1 << 14

    def __init__(self, reranker: Callable[[Sequence[Passage]], Reranker]) -> None:
        """`reranker`: scores some passages, by their places among those it is given."""
        self._reranker = reranker

    def scores(self, window: Sequence[Asked]) -> list[np.ndarray]:
        """As Teacher has it."""
        distinct: dict[Passage, int] = {}
        bare = (Passage(p.id, p.text, p.title) for asked in window for p in asked.passages)
        places = [distinct.setdefault(passage, len(distinct)) for passage in bare]
        counts = [len(asked.passages) for asked in window]
        rows = np.full((len(window), max(counts, default=0)), -1)
        rows[np.arange(rows.shape[1]) < np.array(counts)[:, None]] = places
        scores = self._reranker(list(distinct)).scores([asked.question for asked in window], rows)
        return [row[:count] for row, count in zip(scores, counts, strict=True)]


# --- what was searched before ---------------------------------------------------------------------


class RankingTeacher:
    """The scores of rankings, by passage id."""

    window = 4096

    def __init__(self, rankings: RankingsByQuestion, lowest: bool) -> None:
        """`lowest`: whether a passage that a ranking lacks gets the lowest score that it has."""
        self._rankings, self._lowest = rankings, lowest

    def scores(self, window: Sequence[Asked]) -> list[np.ndarray]:
        """As Teacher has it. Raises MismatchError where an id is that of another text."""
        return [np.array(self._of(asked), np.float32) for asked in window]

    def _of(self, asked: Asked) -> list[float]:
        ranking = self._rankings.ranking(asked.question)
        known = {hit.id: hit for hit in ranking.hits} if ranking else {}
        lowest = min((hit.score for hit in known.values()), default=-np.inf)
        absent = lowest if self._lowest else -np.inf
        return [
            self._checked(known[passage.id], passage) if passage.id in known else absent
            for passage in asked.passages
        ]

    def _checked(self, hit: Hit, passage: Passage) -> float:
        if hit.text and same_question(hit.text) != same_question(passage.text):
            raise MismatchError(
                f"{self._rankings.path}: passage {hit.id!r} is {hit.text[:40]!r} there and "
                f"{passage.text[:40]!r} in the file to score; name rankings in the same corpus"
            )
        return hit.score


# --- several --------------------------------------------------------------------------------------


class FoldTeachers:
    """K teachers, the i-th trained without the questions of fold i, which it scores."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self.teachers, self.window = teachers, teachers[0].window

    def scores(self, window: Sequence[Asked]) -> list[np.ndarray]:
        """As Teacher has it."""
        folds = [fold_of(asked.question, len(self.teachers)) for asked in window]
        scores: dict[int, np.ndarray] = {}
        for number, teacher in enumerate(self.teachers, start=1):
            own = [place for place, fold in enumerate(folds) if fold == number]
            scores |= zip(own, teacher.scores([window[place] for place in own]), strict=True)
        return [scores[place] for place in range(len(window))]


def _split(flat: np.ndarray, window: Iterable[Asked]) -> list[np.ndarray]:
    bounds = np.cumsum([0, *(len(asked.passages) for asked in window)])
    return [flat[begin:end] for begin, end in pairwise(bounds.tolist())]
