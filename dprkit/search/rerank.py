"""Reranking: the best passages of a first engine get new scores, and a new order.

    first engine     questions -> rows           any Engine: dense, words, both, late interaction
    Reranker         questions, rows -> scores   PairReranker, DenseReranker, LateReranker
    RerankedEngine   both together, an Engine

A cross-encoder, a reader or whatever else scores pairs of texts is a PairModel. A retriever scores
vectors, so it reads each passage once for all questions of a batch, and keeps what it read last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from dprkit.errors import InputError
from dprkit.indexes.fuse import fuse
from dprkit.indexes.hits_and_tie_order import Hits, best
from dprkit.models.maxsim import maxsim
from dprkit.records import Passage
from dprkit.search.engine import Engine

if TYPE_CHECKING:
    from dprkit.indexes.indexed_passages import IndexedPassages
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.retriever import Retriever
    from dprkit.models.token_vectors import TokenVectors

V = TypeVar("V")

DEPTH = 200
"""Passages that are asked of the first engine, at least."""
PAIRS = 2048
"""Pairs of texts that are given to a model together: it orders them by length."""
BLOCK = 512
"""Passages whose vectors are compared together."""
KEPT = 1 << 28
"""Bytes of vectors that are kept for the next questions: of some 3,500 passages of 150 tokens."""


class Reranker(Protocol):
    """What gives the rows that were found new scores."""

    def scores(self, questions: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The scores (Q, C), float32, of (Q, C) rows for Q questions; of row -1: -inf."""
        ...


class RerankedEngine:
    """An engine whose best passages are ordered by a Reranker.

    Only passages that were scored again are found: scores of two models cannot be compared.
    """

    def __init__(
        self, first: Engine, reranker: Reranker, depth: int | None = None, weight: float = 1.0
    ) -> None:
        """`depth`: passages to score for each question; None: DEPTH, or topk if that is more.

        `weight`: of the new scores; the first engine's have the rest, as `fuse` weighs them.
        """
        self.first, self.reranker = first, reranker
        self.depth, self.weight = depth, weight
        self.count = first.count

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows (Q, K) for each of Q questions; K is at most the depth."""
        depth = self.depth or max(DEPTH, topk)
        hits = self.first.search(questions, depth, allowed)
        scores = self.reranker.scores(questions, hits.rows)
        refuse_nan(scores, questions, "reranker", "--rerank")
        if self.weight == 1:
            return best(hits.rows, scores, topk)
        again = best(hits.rows, scores, depth)
        return fuse([hits, again], topk, (1 - self.weight, self.weight), "weighted")


def refuse_nan(scores: np.ndarray, questions: Sequence[str], what: str, flag: str) -> None:
    """Raise InputError for scores (Q, C) that are no numbers. `flag`: which names the model."""
    if len(bad := np.flatnonzero(np.isnan(scores).any(axis=1))):
        raise InputError(
            f"the {what}'s scores for {questions[bad[0]]!r} are no numbers (NaN); its training has "
            f"diverged: name another model with {flag}"
        )


# --- models of pairs of texts ---------------------------------------------------------------------


class PairModel(Protocol):
    """What scores a question and a passage by their texts, such as a cross-encoder."""

    def scores(self, questions: Sequence[str], passages: Sequence[Passage]) -> np.ndarray:
        """The scores (N,) of N questions and their N passages, pair by pair."""
        ...


class PairReranker:
    """A Reranker of a PairModel."""

    def __init__(self, model: PairModel, passages: IndexedPassages) -> None:
        self.model, self.passages = model, passages

    def scores(self, questions: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The scores (Q, C), float32, of (Q, C) rows for Q questions; of row -1: -inf."""
        scores = np.full(rows.shape, -np.inf, np.float32)
        asked, places = np.nonzero(rows >= 0)
        for begin in range(0, len(asked), PAIRS):
            q, c = asked[begin : begin + PAIRS], places[begin : begin + PAIRS]
            distinct, which = np.unique(rows[q, c], return_inverse=True)
            texts = self.passages.at(distinct.tolist())
            scores[q, c] = self.model.scores([questions[i] for i in q], [texts[i] for i in which])
        return scores


# --- retrievers -----------------------------------------------------------------------------------


class DenseReranker:
    """A Reranker by the vectors of a bi-encoder."""

    def __init__(
        self, retriever: Retriever, vectors_of: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """`vectors_of`: the vectors (N, D) of rows (N,) of the corpus, ascending."""
        self.retriever, self.vectors_of = retriever, vectors_of

    def scores(self, questions: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The scores (Q, C), float32, of (Q, C) rows for Q questions; of row -1: -inf."""
        asked = self.retriever.encode_questions(questions)

        def score(question: int, vectors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
            products: np.ndarray = vectors[chosen] @ asked[question]
            return products

        return _by_vectors(rows, self.vectors_of, score)


class LateReranker:
    """A Reranker by MaxSim over the token vectors of a late-interaction model."""

    def __init__(
        self, retriever: LateRetriever, vectors_of: Callable[[np.ndarray], TokenVectors]
    ) -> None:
        """`vectors_of`: the token vectors of rows (N,) of the corpus, ascending, as float32."""
        self.retriever, self.vectors_of = retriever, vectors_of

    def scores(self, questions: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The scores (Q, C), float32, of (Q, C) rows for Q questions; of row -1: -inf."""
        asked = self.retriever.question_vectors(questions)

        def score(question: int, vectors: TokenVectors, chosen: np.ndarray) -> np.ndarray:
            alone: np.ndarray = maxsim(asked.span(question, question + 1), vectors.take(chosen))
            return np.asarray(alone[0])

        return _by_vectors(rows, self.vectors_of, score)


class Kept:
    """Arrays of passages by row, made when they are wanted and kept for the next questions.

    Those that nobody wanted for longest go first, so that `limit` bytes are kept at most.
    """

    def __init__(
        self, make: Callable[[list[int]], Iterable[np.ndarray]], limit: int = KEPT
    ) -> None:
        """`make`: gives the array of each of some rows."""
        self._make, self._limit = make, limit
        self._arrays: dict[int, np.ndarray] = {}
        self._bytes = 0

    def __call__(self, rows: np.ndarray) -> list[np.ndarray]:
        """The arrays, of any shape, of rows (N,)."""
        wanted = rows.tolist()
        missing = [row for row in wanted if row not in self._arrays]
        for row, array in zip(missing, self._make(missing) if missing else (), strict=True):
            self._arrays[row] = np.array(array)  # a view would keep the arrays beside it
            self._bytes += array.nbytes
        found = [self._arrays.pop(row) for row in wanted]
        self._arrays |= zip(wanted, found, strict=True)  # at the end
        while self._bytes > self._limit:
            self._bytes -= self._arrays.pop(next(iter(self._arrays))).nbytes
        return found


def _by_vectors(
    rows: np.ndarray,
    vectors_of: Callable[[np.ndarray], V],
    score: Callable[[int, V, np.ndarray], np.ndarray],
) -> np.ndarray:
    """The scores (Q, C), float32, of (Q, C) rows; of row -1: -inf.

    The distinct rows go through in blocks of BLOCK. `vectors_of`: the vectors of rows (B,),
    ascending. `score`: a question's number, these vectors, and places (N,) among them -> (N,).
    """
    scores = np.full(rows.shape, -np.inf, np.float32)
    asked, places = np.nonzero(rows >= 0)
    distinct, which = np.unique(rows[asked, places], return_inverse=True)
    for begin in range(0, len(distinct), BLOCK):
        vectors = vectors_of(distinct[begin : begin + BLOCK])
        here = np.flatnonzero((which >= begin) & (which < begin + BLOCK))
        edges = np.flatnonzero(np.diff(asked[here])) + 1
        for mine in np.split(here, edges):
            question = int(asked[mine[0]])
            scores[question, places[mine]] = score(question, vectors, which[mine] - begin)
    return scores
