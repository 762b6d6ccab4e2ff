"""A ColBERT model as its users hold it: texts in, token vectors and MaxSim scores out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from dprkit.errors import MismatchError
from dprkit.models.config import ColbertConfig, Side
from dprkit.models.explanation import Explanation, Match, tokens_in_text
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens
from dprkit.models.maxsim import maxsim
from dprkit.models.token_vectors import TokenVectors
from dprkit.models.tokens import Ids
from dprkit.models.torch_encoder import token_vectors
from dprkit.records import Passage, as_passages

Text = str | Passage | tuple[str, str]
"""A passage may be its text, a record, or (title, text)."""


class LateRetriever:
    """A model that compares the tokens of questions with those of passages."""

    def __init__(self, model: Colbert, tokens: LateTokens, precision: str = "fp32") -> None:
        """`precision`: fp32, bf16 or fp16, the numbers of the encoder's products."""
        self.model, self.tokens, self.precision = model, tokens, precision

    @property
    def config(self) -> ColbertConfig:
        """What retriever.yaml says."""
        return self.model.config

    @property
    def dim(self) -> int:
        """The width D of a token's vector."""
        return self.model.dim

    def encode_ids(self, side: Side, ids: Ids, batch_tokens: int | None = None) -> TokenVectors:
        """The vectors of the tokens that count, of N texts given as token ids."""
        return token_vectors(self.model, side, ids, batch_tokens, self.precision)

    def question_vectors(self, questions: Sequence[str]) -> TokenVectors:
        """The token vectors of N questions, those of [MASK] behind them included."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        return self.encode_ids("question", self.tokens.questions(questions))

    def passage_vectors(self, passages: Sequence[Text]) -> TokenVectors:
        """The token vectors of N passages, without the tokens that are skipped."""
        return self.encode_ids("passage", self.tokens.passages(as_passages(passages)))

    def encode(self, texts: Sequence[Text], *, question: bool) -> tuple[np.ndarray, np.ndarray]:
        """Token vectors (N, L, D) float32 of N texts, and the (N, L) bool mask of those that count.

        `question`: whether the texts are questions, which are strings, or passages.
        """
        _refuse_one(texts)
        if question:
            return self.question_vectors([str(text) for text in texts]).padded()
        return self.passage_vectors(texts).padded()

    def scores(self, questions: Sequence[str], passages: Sequence[Text]) -> np.ndarray:
        """The MaxSim scores (N,) of N questions and their N passages, pair by pair."""
        _refuse_one(questions, passages)
        if len(questions) != len(passages):
            raise ValueError(
                f"{len(questions)} questions and {len(passages)} passages make no pairs"
            )
        asked, read = self.question_vectors(questions), self.passage_vectors(passages)
        pairs = [float((asked[i] @ read[i].T).max(axis=1).sum()) for i in range(len(asked))]
        return np.array(pairs, np.float32)

    def score_matrix(self, questions: Sequence[str], passages: Sequence[Text]) -> np.ndarray:
        """The MaxSim scores (Q, P) of every question with every passage."""
        _refuse_one(questions, passages)
        return maxsim(self.question_vectors(questions), self.passage_vectors(passages))

    def explain(self, question: str, passage: Text) -> list[Match]:
        """For each token of the question the most similar one of the passage, and how similar.

        The similarities add up to the score.
        """
        return self.explanation(question, passage).matches

    def explanation(self, question: str, passage: Text) -> Explanation:
        """How the score of a question and a passage comes about."""
        (record,) = as_passages([passage])
        (asked,), (read,) = self.tokens.questions([question]), self.tokens.passages([record])
        products = (
            self.encode_ids("question", [asked]).values
            @ self.encode_ids("passage", [read]).values.T
        )
        return Explanation(
            tokens_in_text(self.tokens, "question", self.tokens.question_text(question), asked),
            tokens_in_text(self.tokens, "passage", self.tokens.passage_text(record), read),
            self.tokens.counted("passage", read),
            products,
        )

    def encode_questions(self, questions: Sequence[str]) -> NoReturn:
        """Raises MismatchError: a question has no single vector here."""
        raise MismatchError(_NO_SINGLE.format("question=True"))

    def encode_passages(self, passages: Sequence[Text]) -> NoReturn:
        """Raises MismatchError: a passage has no single vector here."""
        raise MismatchError(_NO_SINGLE.format("question=False"))


def _refuse_one(*given: Sequence[Text]) -> None:
    """Raise TypeError for one text, whose letters would be taken for texts."""
    if any(isinstance(texts, str) for texts in given):
        raise TypeError("texts must be a list of texts, not one string")


_NO_SINGLE = (
    "a ColBERT model gives a vector for each token and none for the whole text; "
    "use encode(texts, {})"
)
