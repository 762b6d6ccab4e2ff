"""The losses of scores, and the objective that adds them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dprkit.models.rows import Rows
from dprkit.models.scoring import DOT, Scoring


class Outcome(NamedTuple):
    """The loss () of a batch with its graph, and per question: loss (Q,) in nats, hit (Q,) bool."""

    loss: Tensor
    losses: Tensor
    hits: Tensor


class Targets(NamedTuple):
    """What a loss knows of a batch of Q questions and P passages beside their scores."""

    positives: Tensor
    """(Q,) int64: the column of each question's positive."""
    false_negatives: Tensor
    """(Q, P) bool: passages that are no negatives of a question."""
    teacher: Tensor | None = None
    """(Q, P): the teacher's scores of a question's own passages; not a number where it gave none.

    None where no loss compares with a teacher.
    """


Loss = Callable[[Tensor, Targets], Tensor]
"""Scores (Q, P) in nats and targets -> the loss (Q,) of each question."""


def in_batch_nll(scores: Tensor, targets: Targets) -> Tensor:
    """Negative log-likelihood (Q,) of each question's positive among all passages of the batch.

        loss_i = -log softmax_j( scores[i, j] )[positives[i]]

    Another question's positive and hard negatives are this one's negatives, but for false
    negatives: they leave the softmax.

    Source: Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering",
    eq. (2) and section 3.2.
    """
    scores = scores.masked_fill(targets.false_negatives, -torch.inf)
    return F.cross_entropy(scores, targets.positives, reduction="none")


def reverse_nll(scores: Tensor, targets: Targets) -> Tensor:
    """The loss (Q,) of finding each positive's question among the questions of the batch.

        loss_i = -log softmax_j( scores[j, positives[i]] )[i]

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
    Supervision", section 2.3: CLIP's loss is the mean of both directions, as SYMMETRIC is.
    """
    columns = scores[:, targets.positives].T  # (Q, Q): row i are the questions of positive i
    excluded = targets.false_negatives[:, targets.positives].T
    own = torch.arange(len(columns), device=scores.device)
    return in_batch_nll(columns, Targets(own, excluded))


def teacher_divergence(scores: Tensor, targets: Targets) -> Tensor:
    """How far (Q,) the model's distribution over a question's own passages is from the teacher's.

        loss_i = KL( softmax_j( teacher[i, j] ) || softmax_j( scores[i, j] ) )

    over the passages that the teacher scored; 0 where these are fewer than two.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2, of
    rankings as in Ren et al. 2021, "RocketQAv2", eq. (4). Here both temperatures stand outside.
    """
    assert targets.teacher is not None
    known = targets.teacher.isfinite()  # (Q, P)
    known &= known.sum(1, keepdim=True) > 1
    logs = [
        side.masked_fill(~known, -torch.inf).log_softmax(1).masked_fill(~known, 0)
        for side in (targets.teacher.to(scores.dtype), scores)
    ]
    return (logs[0].exp().masked_fill(~known, 0) * (logs[0] - logs[1])).sum(1)


class Term(NamedTuple):
    """A part of a loss."""

    share: float
    loss: Loss
    temperature: float | None = None
    """What scores are divided by for this part; None: as the objective divides them."""


CONTRASTIVE = (Term(1.0, in_batch_nll),)
SYMMETRIC = (Term(0.5, in_batch_nll), Term(0.5, reverse_nll))


def distilled(terms: Sequence[Term], weight: float, temperature: float | None) -> list[Term]:
    """`terms` with a teacher, whose share is `weight`; `temperature` is the model's against it."""
    rest = [term._replace(share=term.share * (1 - weight)) for term in terms]
    return [*rest, Term(weight, teacher_divergence, temperature)]


class ScoreObjective(nn.Module):
    """A weighted sum of losses of the scores of a batch, with the temperature it may learn.

    loss = mean_i( weight_i * sum_k( share_k * loss_k,i ) ). What is told of a question is its
    first loss, and whether its positive scores highest.
    """

    def __init__(
        self,
        temperature: float,
        learn: bool = False,
        losses: Sequence[Term] = CONTRASTIVE,
        scoring: Scoring = DOT,
    ) -> None:
        super().__init__()
        # Its logarithm is learned: steps are then shares, and it stays above 0.
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log(), requires_grad=learn)
        self.fixed = None if learn else temperature
        self.losses, self.scoring = losses, scoring

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        return self.fixed or float(self.log_temperature.detach().exp())

    def forward(self, questions: Rows, passages: Rows, weights: Tensor, **told: Tensor) -> Outcome:
        """The outcome of a batch; `weights` (Q,): how much each question counts in the loss.

        The others are the Targets by name.
        """
        divisor = self.log_temperature.exp() if self.fixed is None else self.fixed
        plain = self.scoring.matrix(questions, passages)  # (Q, P)
        scores, targets = plain / divisor, Targets(**told)
        parts = [
            term.loss(plain / term.temperature if term.temperature else scores, targets)
            for term in self.losses
        ]
        shares = [term.share for term in self.losses]
        total = torch.stack([s * losses for s, losses in zip(shares, parts, strict=True)]).sum(0)
        masked = scores.detach().masked_fill(targets.false_negatives, -torch.inf)
        hits = masked.argmax(1) == targets.positives
        return Outcome((total * weights).mean(), parts[0].detach(), hits)


def tensors(targets: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """The targets of a batch on a device."""
    arrays = ((name, np.ascontiguousarray(array)) for name, array in targets.items())
    return {name: torch.from_numpy(array).to(device) for name, array in arrays}
