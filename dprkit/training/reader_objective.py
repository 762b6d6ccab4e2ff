"""The loss of a reader: which passage answers, and where the answer begins and ends in it.

    relevance = -log softmax_m( relevance_m )[positive]        over the question's passages
    span      = -log sum_s P(begins at s's first token) P(ends at s's last token)
    loss      = mean over the questions of span_weight * span + relevance_weight * relevance

s runs over the answer's places in the positive, P over the tokens of its text. Where DPR's reader
(Karpukhin et al. 2020, eq. (7)) sums over the questions and lets P run over the whole input, with
the question and the padding, here it is the mean, and P is over what an answer may be.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dprkit.models.reader import END, RELEVANCE, START
from dprkit.models.rows import Rows
from dprkit.training.objectives import Outcome


class ReaderObjective(nn.Module):
    """Marginal likelihood of the answer's places, and cross-entropy of the passages' relevance."""

    def __init__(self, span_weight: float = 1.0, relevance_weight: float = 1.0) -> None:
        super().__init__()
        self.span_weight, self.relevance_weight = span_weight, relevance_weight

    def forward(self, rows: Rows, passages: Tensor, begins: Tensor, spans: Tensor) -> Outcome:
        """The outcome of a batch of Q questions with N passages, whose logits are the rows (T, 3).

        `passages` (Q + 1,): which of the N are a question's; its positive is the first. `begins`
        (N,): where the text begins in each input. `spans` (S, 3): a question, and the first and
        the last token of a place of its answer, counted in the input; every question has one.
        """
        logits = rows.values.to(torch.promote_types(rows.values.dtype, torch.float32))
        relevance = relevance_nll(logits[rows.bounds[:-1], RELEVANCE], passages)
        positives = passages[:-1].cpu()
        first, end = rows.bounds[positives], rows.bounds[positives + 1]
        begin = first + begins.cpu()[positives]
        texts = [logits[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
        # Counted in the text of their question's positive, where its input has `begins` before.
        spans = spans - begins[passages[:-1]][spans[:, 0]].unsqueeze(1) * spans.new_tensor(
            [0, 1, 1]
        )
        span = span_nll(texts, spans)
        losses = self.span_weight * span + self.relevance_weight * relevance.losses
        return Outcome(losses.mean(), losses.detach(), relevance.hits)


def relevance_nll(relevance: Tensor, passages: Tensor) -> Outcome:
    """The loss (Q,) of each question's first passage among its own, and whether it scores highest.

    `relevance` (N,), of which question i has passages[i] : passages[i + 1].
    """
    own = _padded(torch.split(relevance, passages.diff().tolist()))  # (Q, M)
    losses = -own.log_softmax(1)[:, 0]
    return Outcome(losses.mean(), losses, own.detach().argmax(1) == 0)


def span_nll(texts: Sequence[Tensor], spans: Tensor) -> Tensor:
    """The loss (Q,) of the answers' places, each of which has a token to begin and one to end.

    `texts`: the logits (L, 3) of each question's positive. `spans` (S, 3): a question, and the
    first and the last token of a place.
    """
    log_p = _padded(texts).log_softmax(1)  # (Q, L, 3)
    question, begin, end = spans.T
    places = log_p[question, begin, START] + log_p[question, end, END]  # (S,)
    counts = torch.bincount(question, minlength=len(texts)).tolist()
    own = torch.split(places[question.argsort(stable=True)], counts)
    return -_padded(own).logsumexp(1)


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Parts (L, ...) of several lengths in one tensor (N, L, ...); what is not there is -inf."""
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(list(parts), batch_first=True, padding_value=-torch.inf)
