"""The encoders of a retriever as their users hold them, whatever runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from dprkit.models.tokens import Ids, Tokens
from dprkit.records import Passage

Side = Literal["question", "passage"]


class Encoders(ABC):
    """A question encoder and a passage encoder with one similarity: texts in, arrays out."""

    batch_tokens = 2048
    """Tokens of a forward pass where nothing else is said."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    @property
    @abstractmethod
    def dim(self) -> int:
        """The width D of the vectors."""

    @abstractmethod
    def vectors(self, side: Side, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts given as token ids, in their order."""

    def encode_questions(
        self, questions: Sequence[str], batch_tokens: int | None = None
    ) -> np.ndarray:
        """The vectors (N, D), float32, of N questions."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        return self.vectors("question", self.tokens.questions(questions), batch_tokens)

    def encode_passages(
        self, passages: Sequence[Passage | tuple[str, str]], batch_tokens: int | None = None
    ) -> np.ndarray:
        """The vectors (N, D), float32, of N passages: records or (title, text) pairs."""
        records = [p if isinstance(p, Passage) else Passage("", p[1], p[0]) for p in passages]
        return self.vectors("passage", self.tokens.passages(records), batch_tokens)

    def scores(
        self, questions: Sequence[str], passages: Sequence[Passage | tuple[str, str]]
    ) -> np.ndarray:
        """The similarities (N,) of N questions and their N passages, pair by pair."""
        if len(questions) != len(passages):
            raise ValueError(
                f"{len(questions)} questions and {len(passages)} passages make no pairs"
            )
        product = self.encode_questions(questions) * self.encode_passages(passages)
        return np.asarray(product.sum(axis=1))
