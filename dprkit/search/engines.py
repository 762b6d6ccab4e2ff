"""An opened index of any type: questions in, rankings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.corpus import Corpus
from dprkit.records import Hit, Question, Ranking
from dprkit.store.integrity import Verifier

if TYPE_CHECKING:
    import numpy as np

    from dprkit.indexes.hits import DenseIndex, Hits
    from dprkit.models.retriever import Retriever
    from dprkit.search.fusion import Fusion

BATCH = 256
DEPTH = 100
"""Passages that are asked of each index whose findings are put together, at least."""


class Engine(Protocol):
    """What finds passages for questions."""

    count: int
    """Passages in it."""

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows for each question, of all or of those `allowed` (A,), ascending."""
        ...


class Dense:
    """An index of vectors with the retriever that makes a question one."""

    def __init__(self, index: DenseIndex, retriever: Path, check: Verifier | None = None) -> None:
        """`check`: reads what a search may read to see that the ONNX copy was not changed."""
        self.index, self.count = index, index.count
        self.retriever_path, self.check = retriever, check or Verifier()

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever, loaded when the first question comes."""
        from dprkit.models.retriever import load_for_questions

        retriever = load_for_questions(self.retriever_path, self.check)
        self.check.tell()
        return retriever

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        import numpy as np

        vectors = self.retriever.encode_questions(questions)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            question = questions[bad[0]]
            raise InputError(
                f"{self.retriever_path}: the vector of {question!r} is no number (NaN)"
            )
        if vectors.shape[1] != self.index.dim:
            raise MismatchError(
                f"{self.retriever_path}: gives vectors of {vectors.shape[1]} dimensions, and the "
                f"index is of {self.index.dim}; name the retriever that made it with --retriever"
            )
        return self.index.search(vectors, topk, allowed)


class Hybrid:
    """Several indexes of one corpus, whose findings are put together."""

    def __init__(self, engines: Sequence[Engine], fusion: Fusion) -> None:
        self.engines, self.fusion = engines, fusion
        self.count = max(engine.count for engine in engines)

    def each(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> list[Hits]:
        """What each index finds by itself, deep enough to be fused to `topk`."""
        return [one.search(questions, max(topk, DEPTH), allowed) for one in self.engines]

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        return self.fusion.of(self.each(questions, topk, allowed), topk)


# --- searching ------------------------------------------------------------------------------------


class Searcher:
    """An opened index with the texts of its passages."""

    def __init__(self, engine: Engine, passages: Corpus) -> None:
        self.engine, self.passages = engine, passages
        self.allowed: np.ndarray | None = None
        """(A,) int64, ascending: the only rows that are looked for; None: all."""

    def only(self, ids: set[str]) -> set[str]:
        """Look for no passages but those with `ids`; returns the ids that no passage has."""
        import numpy as np

        rows = self.passages.rows_of(ids)
        self.allowed = np.sort(np.fromiter(rows.values(), np.int64, len(rows)))
        return ids - rows.keys()

    def search(self, questions: Iterable[str], topk: int = 100) -> list[Ranking]:
        """The best `topk` passages for each question (fewer where the corpus is smaller)."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        asked = [Question(str(number), text) for number, text in enumerate(questions)]
        return list(self.rankings(asked, topk))

    def rankings(
        self, questions: Iterable[Question], topk: int, batch: int = BATCH
    ) -> Iterator[Ranking]:
        """The rankings of `questions`, in their order, which are read and searched by `batch`.

        Memory: the texts of a batch's rankings, and the ids of all questions.
        """
        if topk < 1:
            raise SettingsError(f"--topk: {topk} will not do: expected a number from 1 up")
        waiting = _different(questions)
        while asked := list(islice(waiting, batch)):
            yield from self._ranked(asked, topk)

    def _ranked(self, asked: list[Question], topk: int) -> Iterator[Ranking]:
        found = self.engine.search([q.question for q in asked], topk, self.allowed)
        there = found.rows >= 0
        passages = iter(self.passages.at(found.rows[there].tolist()))  # of all questions
        for question, scores, filled in zip(asked, found.scores, there, strict=True):
            hits = [
                Hit(passage.id, score, passage.title, passage.text)
                for score, passage in zip(
                    scores[filled].tolist(), islice(passages, int(filled.sum())), strict=True
                )
            ]
            yield Ranking(question, tuple(hits))

    def absent(self, ids: set[str]) -> set[str]:
        """Those of `ids` that no passage of the corpus has."""
        return ids - self.passages.rows_of(ids).keys()


def _different(questions: Iterable[Question]) -> Iterator[Question]:
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise InputError(f"two questions have the id {question.id!r}; ids must differ")
        seen.add(question.id)
        yield question
