"""MaxSim, the scoring of late interaction, with its gradient, in memory that a block takes.

    score(q, p) = sum over the rows i of q of max over the rows j of p of q_i . p_j

Khattab and Zaharia 2020, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT", eq. (3). Every product of a block of question rows with a few passages is
reduced to its maxima at once. What is kept for the gradient is the row that won, an int32 for each
question row and passage; the gradient is then two weighted sums of rows, since a maximum passes
it on to its winner alone. All sums have one order, so the same input gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from dprkit.models.forward_batches import chunks
from dprkit.models.linear import product
from dprkit.models.rows import Rows

QUESTION_ROWS = {"cpu": 1024, "cuda": 8192}
"""Question rows of a product."""
PASSAGE_ROWS = {"cpu": 256, "cuda": 8192}
"""Passage rows of a product, or those of one passage: on a CPU it stays in a core's cache."""
GRADIENT_PAIRS = 1 << 22
"""Pairs of a question row and a passage whose gradient is computed at once: 100 MB."""


class MaxSim:
    """The sum, over a question's rows, of the largest product with a row of the passage.

    A passage without a row scores 0. Rows of 16 bits are multiplied and summed in 32.
    """

    def matrix(self, questions: Rows, passages: Rows) -> Tensor:
        """(Q, P)."""
        q, p = _wide(questions.values), _wide(passages.values)
        if torch.is_grad_enabled() and (q.requires_grad or p.requires_grad):
            scores: Tensor = _MaxSim.apply(q, p, questions.bounds, passages.bounds)  # type: ignore[no-untyped-call]
            return scores
        return _scores(q, p, questions.bounds, passages.bounds)

    def pairs(self, questions: Rows, passages: Rows) -> Tensor:
        """(N,)."""
        own = (slice(i, i + 1) for i in range(len(questions)))
        scores = [self.matrix(questions[i], passages[i]).view(1) for i in own]
        return torch.cat(scores) if scores else _wide(questions.values).new_zeros(0)


MAXSIM = MaxSim()


def _wide(values: Tensor) -> Tensor:
    """Products and sums in 16 bits would tie scores that differ."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class _MaxSim(torch.autograd.Function):
    """The scores (Q, P) of the rows (T, D) of questions and (R, D) of passages."""

    @staticmethod
    def forward(ctx: Any, questions: Tensor, passages: Tensor, *bounds: Tensor) -> Tensor:
        shape = len(questions), len(bounds[1]) - 1
        winners = torch.zeros(shape, dtype=torch.int32, device=questions.device)
        ctx.save_for_backward(questions, passages, winners)
        ctx.bounds = bounds
        return _scores(questions, passages, bounds[0], bounds[1], winners)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        questions, passages, winners = ctx.saved_tensors
        question_bounds, passage_bounds = ctx.bounds
        empty = (passage_bounds.diff() == 0).to(gradient.device)
        gradient = gradient.masked_fill(empty, 0).to(questions.dtype)
        counts = question_bounds.diff().to(gradient.device)
        for_questions, for_passages = torch.zeros_like(questions), torch.empty_like(passages)
        size = max(1, GRADIENT_PAIRS // max(1, len(questions)))
        for begin in range(0, winners.shape[1], size):
            part = slice(begin, begin + size)
            rows = passage_bounds[begin : begin + size + 1]
            block = slice(int(rows[0]), int(rows[-1]))
            count = block.stop - block.start
            if not (count and len(questions)):
                for_passages[block] = 0
                continue
            weights = gradient[:, part].repeat_interleave(counts, 0)  # (T, n)
            won = (winners[:, part] - block.start).clamp(0, count - 1)  # without a row: weight 0
            for_questions += embedding_bag(
                won, passages[block], mode="sum", per_sample_weights=weights
            )
            for_passages[block] = _sums_by_winner(questions, won, weights, count)
        return for_questions, for_passages, None, None


def _sums_by_winner(questions: Tensor, won: Tensor, weights: Tensor, count: int) -> Tensor:
    """(R, D): for each of `count` passage rows, the weighted sum of the question rows it won.

    `questions` (T, D); `won`, `weights` (T, P).
    """
    ordered, order = won.flatten().sort(stable=True)
    begins = torch.searchsorted(ordered, torch.arange(count, device=won.device, dtype=won.dtype))
    weights = weights.flatten()[order]
    rows = order // won.shape[1]
    return embedding_bag(rows, questions, begins, mode="sum", per_sample_weights=weights)


class _Group(NamedTuple):
    """n passages of similar lengths, at most L rows."""

    numbers: Tensor
    """(n,)."""
    places: Tensor
    """(n, L): their rows. A shorter one has its last row several times: no maximum changes."""


def _groups(bounds: Tensor, rows: int, device: torch.device) -> Iterator[_Group]:
    """The passages that have rows, in groups of at most so many `rows`, padding included."""
    counts = bounds.diff()
    for numbers in chunks(counts.tolist(), rows, padded=True):
        some = torch.tensor([number for number in numbers if counts[number]])
        if len(some):
            steps = torch.arange(int(counts[some].max()))
            places = bounds[some, None] + steps.minimum(counts[some, None] - 1)
            yield _Group(some.to(device), places.to(device))


def _scores(
    questions: Tensor,
    passages: Tensor,
    question_bounds: Tensor,
    passage_bounds: Tensor,
    winners: Tensor | None = None,
) -> Tensor:
    """(Q, P); fills in `winners` (T, P), the row of the passage that each question row chose."""
    device = questions.device
    scores = questions.new_zeros(len(question_bounds) - 1, len(passage_bounds) - 1)
    blocks = list(_blocks(question_bounds, QUESTION_ROWS[device.type]))
    for group in _groups(passage_bounds, PASSAGE_ROWS[device.type], device):
        candidates = passages[group.places.flatten()]  # (n L, D)
        for texts, rows in blocks:
            products = product(questions[rows], candidates).view(-1, *group.places.shape)
            if winners is None:
                maxima = products.amax(2)  # of (t, n, L)
            else:
                maxima, chosen = products.max(2)
                won = group.places.T.gather(0, chosen)  # (t, n)
                winners[rows, group.numbers] = won.int()
            counts = question_bounds[texts.start : texts.stop + 1].diff().to(device)
            sums = torch.segment_reduce(maxima, "sum", lengths=counts, axis=0, initial=0)
            scores[texts, group.numbers] = sums
    return scores


def _blocks(bounds: Tensor, rows: int) -> Iterator[tuple[slice, slice]]:
    """Consecutive texts with about so many `rows`, and those rows."""
    begin, last = 0, len(bounds) - 1
    while begin < last:
        end = int(torch.searchsorted(bounds, bounds[begin] + rows, right=True)) - 1
        end = min(max(end, begin + 1), last)
        yield slice(begin, end), slice(int(bounds[begin]), int(bounds[end]))
        begin = end
