"""Reranking by answers: passages that hold what a reader takes for the answer come first.

Rider (Mao et al. 2021, "Reader-Guided Passage Reranking for Open-Domain Question Answering"): a
reader reads the first passages, and those among all that were found whose title or text holds one
of its best answers move to the front. Otherwise their order stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dprkit.data.answer_matching import answer_flags, has_token
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.records import Passage
from dprkit.search.answer_choice import Reads, choose, distinct, readings
from dprkit.search.engine import Engine

if TYPE_CHECKING:
    from dprkit.indexes.indexed_passages import IndexedPassages

READ = 20
"""Passages that are read for each question, where nothing else is asked for."""
LONGEST = 10
"""Tokens of an answer at most."""
PAIRS = 2048
"""Questions with a passage that are read together, at least a question's."""


class AnswersFirst:
    """An engine whose passages with an answer of the reader come first.

    Scores tell the new order alone: 1 / rank.
    """

    def __init__(
        self,
        first: Engine,
        reader: Reads,
        passages: IndexedPassages,
        depth: int | None = None,
        answers: int = 5,
    ) -> None:
        """`depth`: passages to read for each question. `answers`: how many of its answers count."""
        self.first, self.reader, self.passages = first, reader, passages
        self.depth, self.answers = depth or READ, answers
        self.count = first.count

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows (Q, K) for each of Q questions, and of row -1 the score -inf."""
        rows = self.first.search(questions, max(topk, self.depth), allowed).rows
        block = max(1, PAIRS // self.depth)
        held = [
            flags
            for begin in range(0, len(questions), block)
            for flags in self._held(questions[begin : begin + block], rows[begin : begin + block])
        ]
        order = np.argsort(~np.stack(held), axis=1, kind="stable")[:, :topk] if held else rows
        rows = np.take_along_axis(rows, order, 1)
        ranks = np.arange(1, rows.shape[1] + 1, dtype=np.float32)
        return Hits(rows, np.where(rows >= 0, 1 / ranks, np.float32(-np.inf)))

    def _held(self, questions: Sequence[str], rows: np.ndarray) -> list[np.ndarray]:
        """(C,) for each question, whether its passages hold one of its answers; row -1: not."""
        found = [self.passages.at(line[line >= 0].tolist()) for line in rows]
        read = [passages[: self.depth] for passages in found]
        answers = self._answers(questions, read)
        flags = np.zeros(rows.shape, bool)
        for line, (passages, own) in enumerate(zip(found, answers, strict=True)):
            texts = [f"{passage.title} {passage.text}" for passage in passages]
            flags[line, : len(passages)] = answer_flags(own, texts)
        return list(flags)

    def _answers(
        self, questions: Sequence[str], read: Sequence[Sequence[Passage]]
    ) -> list[list[str]]:
        """The reader's best answers to each question from its passages."""
        asked = [
            question for question, passages in zip(questions, read, strict=True) for _ in passages
        ]
        said = iter(readings(self.reader, asked, [p for own in read for p in own], LONGEST))
        answers = []
        for passages in read:
            chosen = choose([next(said) for _ in passages])
            best = distinct([passage.text for passage in passages], chosen, self.answers)
            answers.append([answer.text for answer in best if has_token(answer.text)])
        return answers
