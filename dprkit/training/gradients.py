"""The gradient of a batch's loss, on one process or many, with or without gradient caching.

A batch is cut into chunks, each one forward pass. The chunks are dealt to the processes, every
process gathers all vectors, computes the whole loss, and sends the gradient of the vectors back
through its own chunks; the gradients of the weights are then summed over the processes. So N
processes compute what one computes, and it makes no difference who ran a chunk: its dropout is
seeded by the step and the chunk's number.

With gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup") a chunk runs twice, first without a graph and again when its gradient is known, so
that memory is that of one chunk. The batch is never approximated.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from dprkit.models.bi_encoder import PASS_TOKENS, BiEncoder, Encoder
from dprkit.models.forward_batches import chunks
from dprkit.models.tokens import Ids
from dprkit.training.objectives import Objective, Outcome, Targets
from dprkit.training.processes import ALONE, Group


class Chunk(NamedTuple):
    """One forward pass: texts of one side of the batch."""

    number: int
    side: int
    """0: questions, 1: passages."""
    rows: list[int]
    """Where its vectors stand among all the batch's, questions first."""
    ids: Ids


def cut(
    sides: tuple[Ids, Ids], tokens: int, texts: int | None = None, padded: bool = False
) -> list[Chunk]:
    """The chunks of (questions, passages): at most about `tokens` tokens, and `texts` passages.

    With `texts`, a chunk of questions has as many tokens as one of passages may have, since they
    take as much memory. Chunks depend on the batch alone, not on the number of processes.
    `padded`: padding counts.
    """
    lengths = [[len(one) for one in ids] for ids in sides]
    passages = chunks(lengths[1], tokens, texts, padded)
    if texts and passages:
        tokens = max(sum(lengths[1][row] for row in rows) for rows in passages)
    questions = chunks(lengths[0], tokens, None, padded)
    found: list[Chunk] = []
    for side, parts in enumerate((questions, passages)):
        for rows in parts:
            placed = [side * len(sides[0]) + row for row in rows]
            found.append(Chunk(len(found), side, placed, [sides[side][row] for row in rows]))
    return found


class Engine:
    """Runs a bi-encoder's chunks on this process's share of a group."""

    def __init__(
        self,
        model: BiEncoder,
        group: Group = ALONE,
        autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.model, self.group, self.autocast = model, group, autocast

    def cut(self, sides: tuple[Ids, Ids], texts: int | None = None) -> list[Chunk]:
        """The chunks of (questions, passages) for this model on this device."""
        encoder = self.model.passage_encoder
        tokens = PASS_TOKENS[next(encoder.parameters()).device.type]
        return cut(sides, tokens, texts, padded=not encoder.packed)

    def vectors(self, chunk: Chunk, seed: int | None = None) -> Tensor:
        """The vectors (N, D) of a chunk; `seed` is that of its dropout."""
        if seed is not None:
            torch.manual_seed(seed * 100_003 + chunk.number)
        with self.autocast():
            encoded: Tensor = self._encoder(chunk.side).vectors(chunk.ids)
        return encoded if encoded.dtype == torch.float64 else encoded.float()

    def _encoder(self, side: int) -> Encoder:
        return self.model.passage_encoder if side else self.model.question_encoder

    def mine(self, work: list[Chunk]) -> list[Chunk]:
        """This process's chunks, such that all have about as many tokens to do."""
        loads = [0] * self.group.size
        own = []
        for chunk in sorted(work, key=lambda c: (-sum(map(len, c.ids)), c.number)):
            least = loads.index(min(loads))
            loads[least] += sum(map(len, chunk.ids))
            if least == self.group.rank:
                own.append(chunk)
        return own

    def gather(self, work: list[Chunk], parts: dict[int, Tensor]) -> Tensor:
        """All vectors (Q + P, D) of a batch, on every process, from each one's `parts`."""
        texts = sum(len(chunk.rows) for chunk in work)
        like = next(self.model.parameters())
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        whole = torch.zeros(texts, self.model.passage_encoder.dim, dtype=dtype, device=like.device)
        for chunk in work:
            if chunk.number in parts:
                whole[chunk.rows] = parts[chunk.number].detach().to(dtype)
        return self.group.sum(whole)  # every row has one owner; the others add 0

    def encode(self, questions: Ids, passages: Ids) -> list[Tensor]:
        """The vectors (Q, D) and (P, D) of texts, without gradient, encoded by all processes."""
        work = self.cut((questions, passages))
        parts = {chunk.number: self.vectors(chunk) for chunk in self.mine(work)}
        whole = self.gather(work, parts)
        return [whole[: len(questions)], whole[len(questions) :]]

    def backward(
        self,
        objective: Objective,
        batch: tuple[Ids, Ids],
        targets: Targets,
        seed: int,
        chunk_texts: int | None = None,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    ) -> Outcome:
        """Add the gradient of the batch's loss to every parameter's `.grad`, on every process.

        `batch`: token ids of Q questions and P passages. `seed`: of this step's dropout.
        `chunk_texts`: cache the gradient in chunks of so many passages. `scale`: a scaler's, for
        float16. Returns the outcome over the whole batch, the same on every process.
        """
        work = self.cut(batch, chunk_texts)
        own = self.mine(work)
        cached = chunk_texts is not None
        with torch.set_grad_enabled(not cached):
            parts = {chunk.number: self.vectors(chunk, seed) for chunk in own}
        vectors = self.gather(work, parts).requires_grad_()
        questions = len(batch[0])
        outcome = objective(vectors[:questions], vectors[questions:], targets)
        torch.autograd.backward(scale(outcome.loss))
        gradient = vectors.grad
        assert gradient is not None
        for chunk in own:
            part = self.vectors(chunk, seed) if cached else parts.pop(chunk.number)
            torch.autograd.backward(part, gradient[chunk.rows].to(part.dtype))
        self.group.sum_gradients([p for p in self.model.parameters() if p.requires_grad])
        return Outcome(outcome.loss.detach(), outcome.losses, outcome.hits)
