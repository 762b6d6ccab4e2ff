"""MaxSim as the indexes of token vectors take it: quickly for many passages, surely for the best.

The score that counts is that of a pair (`pair_scores`): float32, computed for the pair alone. So it
depends on no other passage, question, block or thread, and every index gives a passage the same.

What scores many passages at once (`FirstPass`) is a little off, and says how far off at most. For a
token vector q of the question and p of the passage, and q' and p' that stand for them in 8 bits,

    |q.p - q'.p'| <= |q - q'| |p| + |q'| |p - p'|

and so much is the largest of such products off at most, and the score, which adds them up, the sum.
Hence every passage that may be among the best is known, and scored as a pair: the ranking is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dprkit.embeddings.token_shards import AnyTokens
from dprkit.models.maxsim import has_fast_int8, maxsim, maxsim_int8, off_by_int8
from dprkit.models.token_vectors import Int8Tokens, TokenVectors, quantized

WORTH_8_BITS = 8
"""Questions at a time from which on it pays to turn a passage's token vectors into 8 bits."""


@dataclass(frozen=True, eq=False)
class LateQuestions:
    """Q questions for an index of token vectors: their texts, and the vectors of their tokens."""

    texts: Sequence[str]
    vectors: TokenVectors

    def __len__(self) -> int:
        """Q."""
        return len(self.vectors)

    def span(self, begin: int, end: int) -> LateQuestions:
        """Questions `begin` to `end`."""
        return LateQuestions(self.texts[begin:end], self.vectors.span(begin, end))


def pair_scores(
    question: np.ndarray, passages: AnyTokens, which: Sequence[int] | np.ndarray
) -> np.ndarray:
    """The scores (M,), float32, of a question's vectors (L, D) with passages `which`, (M,).

    A passage without a token vector scores -inf.
    """
    scores = np.full(len(which), -np.inf, np.float32)
    begins, ends = passages.bounds[:-1][which].tolist(), passages.bounds[1:][which].tolist()
    for at, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin < end:
            products = question @ passages.values[begin:end].astype(np.float32, copy=False).T
            if isinstance(passages, Int8Tokens):
                products *= passages.scales[begin:end]
            scores[at] = products.max(axis=1).sum()
    return scores


class FirstPass:
    """Q questions that are compared with many passages at once."""

    def __init__(self, questions: TokenVectors) -> None:
        self.questions = questions
        lengths = np.linalg.norm(questions.values, axis=1)
        self.norms = np.bincount(_askers(questions), lengths, len(questions))
        """(Q,): the norms of a question's token vectors, added up."""
        terms = questions.dim + int(questions.counts.max(initial=0)) + 16
        # D terms of a product are off by D roundings at most (Higham 2002, section 3.1), L terms of
        # a sum by L; both scores that are compared are.
        self.rounding = 2 * terms * 2.0**-24 * self.norms * largest_norm(questions.dim)

    def scores(
        self, passages: AnyTokens, threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (Q, P), and how far off those of each question are at most, (Q,)."""
        many = len(self.questions) >= WORTH_8_BITS
        if not has_fast_int8() or not (many or isinstance(passages, Int8Tokens)):
            return maxsim(self.questions, passages, threads), self.rounding
        largest, off = largest_norm(self.questions.dim), self.rounding
        if not isinstance(passages, Int8Tokens):
            passages = quantized(passages)
            # A number in 8 bits is off by half a step of the scale.
            half = 0.5 * float(passages.scales.max(initial=0)) * math.sqrt(self.questions.dim)
            off = off + 1.01 * half * self.norms
        off = off + largest * off_by_int8(self.questions, passages)
        return maxsim_int8(self.questions, passages, threads), off


def largest_norm(dim: int) -> float:
    """The largest norm of a token vector: they have norm 1 before they are rounded for the disk."""
    return 1.001 + math.sqrt(dim) / 254


def _askers(questions: TokenVectors) -> np.ndarray:
    """(T,): whose question each token vector is."""
    return np.repeat(np.arange(len(questions)), questions.counts)
