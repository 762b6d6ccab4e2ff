"""The losses: pure functions of vectors, and the objective that puts them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def score_matrix(questions: Tensor, passages: Tensor, temperature: float | Tensor) -> Tensor:
    """Every question against every passage: (Q, D) and (P, D) -> (Q, P), at least float32."""
    if questions.dtype in (torch.float16, torch.bfloat16):
        questions, passages = questions.float(), passages.float()
    return questions @ passages.T / temperature


def in_batch_nll(
    scores: Tensor, positives: Tensor, false_negatives: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood (Q,) of each question's positive among all passages of the batch.

        loss_i = -log softmax_j( scores[i, j] )[positives[i]]

    Another question's positive and hard negatives are this one's negatives, but for those that
    `false_negatives` (Q, P) marks: they leave the softmax.

    `scores` (Q, P) in nats; `positives` (Q,) int64, each question's column.

    Source: Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering",
    eq. (2) and section 3.2.
    """
    if false_negatives is not None:
        scores = scores.masked_fill(false_negatives, -torch.inf)
    return F.cross_entropy(scores, positives, reduction="none")


class Targets(NamedTuple):
    """What the objective knows of a batch of Q questions and P passages beside their vectors."""

    positives: Tensor
    """(Q,) int64: the column of each question's positive."""
    false_negatives: Tensor
    """(Q, P) bool: passages that are no negatives of a question."""
    weights: Tensor
    """(Q,) float32: how much a question counts in the loss."""

    @classmethod
    def of(
        cls,
        positives: np.ndarray,
        false_negatives: np.ndarray,
        weights: np.ndarray,
        device: torch.device,
    ) -> Targets:
        arrays = (positives, false_negatives, weights.astype(np.float32))
        return cls(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays))


class Outcome(NamedTuple):
    """The loss () of a batch with its graph, and per question: loss (Q,) in nats, hit (Q,) bool."""

    loss: Tensor
    losses: Tensor
    hits: Tensor


class Objective(nn.Module):
    """The contrastive loss over the whole batch, with the temperature it may learn.

    loss = mean_i( weight_i * nll_i ); with `symmetric` the mean of that and of the same loss with
    the roles of questions and positives exchanged.
    """

    def __init__(self, temperature: float, learn: bool = False, symmetric: bool = False) -> None:
        super().__init__()
        # Its logarithm is learned: steps are then shares, and it stays above 0.
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log(), requires_grad=learn)
        self.fixed = None if learn else temperature
        self.symmetric = symmetric

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        return self.fixed or float(self.log_temperature.detach().exp())

    def forward(self, questions: Tensor, passages: Tensor, targets: Targets) -> Outcome:
        """The outcome of vectors (Q, D) and (P, D)."""
        divisor = self.log_temperature.exp() if self.fixed is None else self.fixed
        scores = score_matrix(questions, passages, divisor)  # (Q, P)
        losses = in_batch_nll(scores, targets.positives, targets.false_negatives)
        weighted = losses
        if self.symmetric:
            weighted = (losses + _reverse(scores, targets)) / 2
        masked = scores.detach().masked_fill(targets.false_negatives, -torch.inf)
        hits = masked.argmax(1) == targets.positives
        return Outcome((weighted * targets.weights).mean(), losses.detach(), hits)


def _reverse(scores: Tensor, targets: Targets) -> Tensor:
    """The loss (Q,) of finding each positive's question among the questions of the batch."""
    columns = scores[:, targets.positives].T  # (Q, Q): row i are the questions of positive i
    excluded = targets.false_negatives[:, targets.positives].T
    own = torch.arange(len(columns), device=scores.device)
    return in_batch_nll(columns, own, excluded)


def weights_of(files: np.ndarray, loss_weights: Sequence[float]) -> np.ndarray:
    """The weight (Q,) of questions that come from training files number `files` (Q,)."""
    if not loss_weights:
        return np.ones(len(files))
    weights: np.ndarray = np.asarray(loss_weights, dtype=np.float64)[files]
    return weights
