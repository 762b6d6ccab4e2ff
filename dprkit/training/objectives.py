"""The losses: pure functions of vectors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def score_matrix(questions: Tensor, passages: Tensor, temperature: float) -> Tensor:
    """Every question against every passage: (Q, D) and (P, D) -> (Q, P), in float32."""
    return (questions @ passages.T).float() / temperature


def in_batch_nll(scores: Tensor, positives: Tensor) -> Tensor:
    """Negative log-likelihood of each question's positive among all passages of the batch.

        loss = -mean_i  log softmax_j( scores[i, j] )[positives[i]]

    Another question's positive and hard negatives are this one's negatives.

    `scores` (Q, P) in float32; `positives` (Q,) int64, each question's column. Returns () in nats.

    Source: Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering",
    eq. (2) and section 3.2.
    """
    return F.cross_entropy(scores, positives)
