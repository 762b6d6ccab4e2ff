"""The losses of scores, and the objective that adds them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dprkit.models.rows import Rows
from dprkit.models.scoring import DOT, Scoring
from dprkit.training.distill_settings import DistillLoss


class Outcome(NamedTuple):
    """The loss () of a batch with its graph, and per question: loss (Q,) in nats, hit (Q,) bool.

    `more`: further figures of the batch by name, for metrics.jsonl.
    """

    loss: Tensor
    losses: Tensor
    hits: Tensor
    more: Mapping[str, Tensor] = MappingProxyType({})


class Targets(NamedTuple):
    """What a loss knows of a batch of Q questions and P passages beside their scores."""

    positives: Tensor
    """(Q,) int64: the column of each question's positive."""
    false_negatives: Tensor
    """(Q, P) bool: passages that are no negatives of a question."""
    teacher: Tensor | None = None
    """(Q, P): the teacher's scores of the passages in a question's list, in nats; elsewhere, and
    where it gave none, not a number.

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
    """How far (Q,) the model's distribution over a question's list is from the teacher's.

        loss_i = KL( softmax_j( teacher[i, j] ) || softmax_j( scores[i, j] ) )

    over the passages that the teacher scored; 0 where these are fewer than two. The model is to
    give weight wherever the teacher does.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2, of
    rankings as in Ren et al. 2021, "RocketQAv2", eq. (4). Here both temperatures stand outside.
    """
    teacher, known = _taught(scores, targets)
    return _divergence(teacher, scores, known)


def reverse_divergence(scores: Tensor, targets: Targets) -> Tensor:
    """The divergence (Q,) in the other direction.

        loss_i = KL( softmax_j( scores[i, j] ) || softmax_j( teacher[i, j] ) )

    The model is to give no weight where the teacher gives none, and may leave out some of what the
    teacher likes.

    Source: Shi et al. 2023, "REPLUG: Retrieval-Augmented Black-Box Language Models", section 4.
    """
    teacher, known = _taught(scores, targets)
    return _divergence(scores, teacher, known)


def margin_mse(scores: Tensor, targets: Targets) -> Tensor:
    """How far (Q,) the model's margins to the positive are from the teacher's, squared.

        loss_i = mean_j( (scores[i, p] - scores[i, j] - (teacher[i, p] - teacher[i, j]))**2 )

    over the other passages j that the teacher scored, p = positives[i]; 0 where it did not score
    the positive. Both sides are in nats: the temperatures are the scale on which they meet.

    Source: Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with
    Cross-Architecture Knowledge Distillation", section 3.
    """
    teacher, known = _taught(scores, targets)
    own = targets.positives.unsqueeze(1)  # (Q, 1)
    others = (known & known.gather(1, own)).scatter(1, own, False)
    wanted, margins = (
        (side.gather(1, own) - side).masked_fill(~others, 0)
        for side in (teacher.masked_fill(~known, 0), scores)
    )
    return (margins - wanted).square().sum(1) / others.sum(1).clamp(min=1)


def list_nll(scores: Tensor, targets: Targets) -> Tensor:
    """Negative log-likelihood (Q,) of the teacher's order of a list, a choice.

        loss_i = mean_j( -log( exp scores[i, j] / sum_k( exp scores[i, k] ) ) )

    with k over j and what the teacher scores below j, and j over the passages that have such: the
    first is chosen among all, the next among the rest, and so on. How far the teacher's scores lie
    apart makes no difference, and passages that it scores alike have no order.

    Source: Xia et al. 2008, "Listwise Approach to Learning to Rank: Theory and Algorithm"
    (ListMLE); there it is the sum of the choices, here lists of any length count alike.
    """
    teacher, known = _taught(scores, targets)
    width = max(1, int(known.sum(1).max()))
    columns = known.byte().argsort(stable=True, dim=1, descending=True)[
        :, :width
    ]  # the lists alone
    teacher = teacher.masked_fill(~known, torch.nan).gather(1, columns)  # (Q, L)
    model = scores.gather(1, columns)
    below = teacher.unsqueeze(1) < teacher.unsqueeze(2)  # (Q, L, L): [i, j, k], k is below j
    rest = model.unsqueeze(1).expand_as(below).masked_fill(~below, -torch.inf)
    among = torch.cat([model.unsqueeze(2), rest], 2).logsumexp(2)  # (Q, L)
    chosen = below.any(2)
    return (among - model).masked_fill(~chosen, 0).sum(1) / chosen.sum(1).clamp(min=1)


def _taught(scores: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """The teacher's scores (Q, P), and which of them count: of lists with two at least."""
    assert targets.teacher is not None
    known = targets.teacher.isfinite()
    known &= known.sum(1, keepdim=True) > 1
    return targets.teacher.to(scores.dtype), known


def _divergence(one: Tensor, other: Tensor, known: Tensor) -> Tensor:
    """KL( softmax(one) || softmax(other) ) (Q,), over what is `known` (Q, P)."""
    logs = [
        side.masked_fill(~known, -torch.inf).log_softmax(1).masked_fill(~known, 0)
        for side in (one, other)
    ]
    return (logs[0].exp().masked_fill(~known, 0) * (logs[0] - logs[1])).sum(1)


DISTILL_LOSSES: dict[DistillLoss, Loss] = {
    "kl": teacher_divergence,
    "kl-reverse": reverse_divergence,
    "margin-mse": margin_mse,
    "listwise": list_nll,
}


class Term(NamedTuple):
    """A part of a loss."""

    share: float
    loss: Loss
    temperature: float | None = None
    """What scores are divided by for this part; None: as the objective divides them."""


CONTRASTIVE = (Term(1.0, in_batch_nll),)
SYMMETRIC = (Term(0.5, in_batch_nll), Term(0.5, reverse_nll))


def distilled(
    terms: Sequence[Term],
    weight: float,
    temperature: float | None,
    loss: Loss = teacher_divergence,
) -> list[Term]:
    """`terms` with a teacher, whose share is `weight`; `temperature` is the model's against it."""
    rest = [term._replace(share=term.share * (1 - weight)) for term in terms]
    return [*rest, Term(weight, loss, temperature)]


class ScoreObjective(nn.Module):
    """A weighted sum of losses of the scores of a batch, with the temperature it may learn.

    loss = mean_i( weight_i * sum_k( share_k * loss_k,i ) ). What is told of a question is its
    first loss (of one with a teacher: the sum), and whether its positive scores highest.

    `teacher_temperature`: what a teacher's scores are divided by; None: there is no teacher.
    `mask_margin`: in training, passages that score above the positive by more than this, before
    they are divided by the temperature, are false negatives, with no gradient through that (Zhang
    et al. 2025, "Qwen3 Embedding", section 3; there 0.1 for cosines).
    """

    def __init__(
        self,
        temperature: float,
        learn: bool = False,
        losses: Sequence[Term] = CONTRASTIVE,
        scoring: Scoring = DOT,
        teacher_temperature: float | None = None,
        mask_margin: float | None = None,
    ) -> None:
        super().__init__()
        # Its logarithm is learned: steps are then shares, and it stays above 0.
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log(), requires_grad=learn)
        self.fixed = None if learn else temperature
        self.losses, self.scoring, self.mask_margin = losses, scoring, mask_margin
        # A buffer, so that a checkpoint has it: a training goes on with the same bits.
        self.teacher_temperature: Tensor | None
        taught = teacher_temperature is not None
        value = torch.tensor(teacher_temperature, dtype=torch.float64) if taught else None
        self.register_buffer("teacher_temperature", value)

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        return self.fixed or float(self.log_temperature.detach().exp())

    @property
    def teacher_divisor(self) -> float:
        """What a teacher's scores are divided by."""
        return 1.0 if self.teacher_temperature is None else float(self.teacher_temperature)

    def forward(self, questions: Rows, passages: Rows, weights: Tensor, **told: Tensor) -> Outcome:
        """The outcome of a batch; `weights` (Q,): how much each question counts in the loss.

        The others are the Targets by name.
        """
        divisor = self.log_temperature.exp() if self.fixed is None else self.fixed
        plain = self.scoring.matrix(questions, passages)  # (Q, P)
        scores, targets, more = plain / divisor, self._targets(told), {}
        hits = hits_of(scores, targets)
        if self.mask_margin is not None and self.training:
            targets, more["masked"] = without_better(plain.detach(), targets, self.mask_margin)
        parts = [
            term.loss(plain / term.temperature if term.temperature else scores, targets)
            for term in self.losses
        ]
        shares = [term.share for term in self.losses]
        total = torch.stack([s * losses for s, losses in zip(shares, parts, strict=True)]).sum(0)
        losses = parts[0].detach()
        if self.teacher_temperature is not None:
            more |= {"contrastive": losses.mean(), "distill": parts[-1].detach().mean()}
            losses = total.detach()
        return Outcome((total * weights).mean(), losses, hits, more)

    def _targets(self, told: Mapping[str, Tensor]) -> Targets:
        targets = Targets(**told)
        if self.teacher_temperature is None or targets.teacher is None:
            return targets
        return targets._replace(teacher=targets.teacher / self.teacher_divisor)


def without_better(scores: Tensor, targets: Targets, margin: float) -> tuple[Targets, Tensor]:
    """The targets without the negatives that score above the positive by more than a margin.

    `scores`: (Q, P). And () how many those are.
    """
    above = scores > scores.gather(1, targets.positives.unsqueeze(1)) + margin
    above &= ~targets.false_negatives
    masked = targets.false_negatives | above
    return targets._replace(false_negatives=masked), above.sum()


def hits_of(scores: Tensor, targets: Targets) -> Tensor:
    """(Q,) bool: whether each positive scores highest among what is not a false negative."""
    negatives = scores.detach().masked_fill(targets.false_negatives, -torch.inf)
    return negatives.argmax(1) == targets.positives


def tensors(targets: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """The targets of a batch on a device."""
    arrays = ((name, np.ascontiguousarray(array)) for name, array in targets.items())
    return {name: torch.from_numpy(array).to(device) for name, array in arrays}
