"""LateEngine: an index of token vectors, with the ColBERT model that makes them of questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.progress import Note, silent
from dprkit.search.engine import refuse_vectors

if TYPE_CHECKING:
    from dprkit.indexes.hits_and_tie_order import TokenIndex
    from dprkit.models.late_retriever import LateRetriever


class LateEngine:
    """An Engine by MaxSim."""

    def __init__(
        self,
        index: TokenIndex,
        retriever: Path,
        note: Note = silent,
        prompt: str | None = None,
    ) -> None:
        """`note` is told of the first question that is longer than what the model reads.

        `prompt`: the name of the retriever's prompt that questions begin with.
        """
        self.index, self.count, self.retriever_path = index, index.count, retriever
        self.prompt = prompt
        self._note: Note | None = note

    @cached_property
    def retriever(self) -> LateRetriever:
        """The retriever, loaded when the first question comes."""
        from dprkit.models.retriever import load_late_retriever

        retriever = load_late_retriever(self.retriever_path)
        if self.prompt is not None:
            retriever.tokens.ask_with(self.prompt, self.retriever_path)
        return retriever

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows (Q, K) for each of Q questions, by the vectors of their tokens."""
        from dprkit.indexes.late_scores import LateQuestions

        ids, cuts = self.retriever.tokens.questions_and_cuts(questions)
        if self._note and any(cuts):
            self._note(
                f"questions are cut at {self.retriever.config.question_max_length} tokens, such as "
                f"{questions[cuts.index(True)][:60]!r}"
            )
            self._note = None  # told once
        vectors = self.retriever.encode_ids("question", ids)
        asker = np.repeat(np.arange(len(questions)), vectors.counts)
        refuse_vectors(vectors.values, asker, questions, self.retriever_path, self.index.dim)
        return self.index.search(LateQuestions(questions, vectors), topk, allowed)
