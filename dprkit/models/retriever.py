"""The retriever as a library user holds it: texts in, numpy arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.checkpoints import load_bi_encoder
from dprkit.models.tokens import Ids, Tokens
from dprkit.records import Passage

BATCH_TOKENS = 2048


class Retriever:
    """A question encoder and a passage encoder with one similarity."""

    def __init__(self, model: BiEncoder, tokens: Tokens) -> None:
        self.model, self.tokens = model, tokens

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        return self.model.passage_encoder.dim

    def encode_questions(
        self, questions: Sequence[str], batch_tokens: int = BATCH_TOKENS
    ) -> np.ndarray:
        """The vectors (N, D), float32, of N questions."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        return self._encode(True, self.tokens.questions(questions), batch_tokens)

    def encode_passages(
        self, passages: Sequence[Passage | tuple[str, str]], batch_tokens: int = BATCH_TOKENS
    ) -> np.ndarray:
        """The vectors (N, D), float32, of N passages: records or (title, text) pairs."""
        records = [p if isinstance(p, Passage) else Passage("", p[1], p[0]) for p in passages]
        return self._encode(False, self.tokens.passages(records), batch_tokens)

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

    def _encode(self, question: bool, ids: Ids, batch_tokens: int) -> np.ndarray:
        encoder = self.model.question_encoder if question else self.model.passage_encoder
        with torch.inference_mode():
            return encoder.encode(ids, batch_tokens).float().cpu().numpy()


def load_retriever(path: Path | str) -> Retriever:
    """The retriever in a folder that `dprkit train` made."""
    return Retriever(*load_bi_encoder(path))
