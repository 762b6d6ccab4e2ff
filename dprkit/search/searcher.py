"""Searcher: an engine with the texts of its passages. Questions in, rankings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from dprkit.errors import InputError, SettingsError
from dprkit.indexes.indexed_passages import IndexedPassages
from dprkit.records import Hit, Question, Ranking
from dprkit.search.engine import Engine

BATCH = 256


class Searcher:
    """What `open_index` gives: an engine and its passages."""

    def __init__(self, engine: Engine, passages: IndexedPassages) -> None:
        self.engine, self.passages = engine, passages
        self.allowed: np.ndarray | None = None
        """(A,) int64, ascending: the only rows that are looked for; None: all."""

    def only(self, ids: set[str]) -> set[str]:
        """Look for no passages but those with `ids`; returns the ids that no passage has."""
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
            raise SettingsError(f"--topk: {topk} is not valid: expected a number from 1 up")
        waiting = _different(questions)
        while asked := list(islice(waiting, batch)):
            yield from self._ranked(asked, topk)

    def _ranked(self, asked: list[Question], topk: int) -> Iterator[Ranking]:
        rows, scores = self.engine.search([q.question for q in asked], topk, self.allowed)
        filled = rows >= 0
        passages = iter(self.passages.at(rows[filled].tolist()))  # of all questions
        for question, line, places in zip(asked, scores, filled, strict=True):
            hits = [
                Hit(passage.id, score, passage.title, passage.text)
                for score, passage in zip(
                    line[places].tolist(), islice(passages, int(places.sum())), strict=True
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
