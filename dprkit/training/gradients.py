"""The gradient of a batch's loss, on one process or many, with or without gradient caching.

A batch is cut into chunks, each one forward pass. The chunks are dealt to the processes, every
process gathers all rows, computes the whole loss, and sends the gradient of the rows back through
its own chunks; the gradients of the weights are then summed over the processes. So N processes
compute what one computes.

With gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup") a chunk runs twice, first without a graph and again when its gradient is known, so
that memory is that of one chunk. The batch is never approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dprkit.models.forward_batches import PASS_TOKENS, chunks
from dprkit.models.rows import RowModel, Rows, bounds_of, places
from dprkit.models.tokens import Ids
from dprkit.training.objectives import Outcome
from dprkit.training.processes import ALONE, Group

GPU_PIECES = 8
"""Chunks that a batch's last side is cut into at least on a GPU, so that as many share it."""
GPU_LEAST = 512
"""Tokens below which a chunk is not made smaller for that."""


class Chunk(NamedTuple):
    """One forward pass: texts of one side of the batch."""

    number: int
    side: int
    texts: list[int]
    """Where its texts stand among all the batch's, side after side."""
    ids: Ids


def cut(
    sides: Sequence[Ids], tokens: int, texts: int | None = None, padded: bool = False
) -> list[Chunk]:
    """The chunks of a batch: at most about `tokens` tokens, and `texts` texts of the last side.

    The last side has the long texts, such as passages. With `texts`, a chunk of another side has
    as many tokens as one of the last side may have, since they take as much memory. `padded`:
    padding counts.
    """
    # Chunks depend on the batch alone, not on the number of processes: their dropout does too.
    lengths = [list(map(len, ids)) for ids in sides]
    last = chunks(lengths[-1], tokens, texts, padded)
    if texts and last:
        tokens = max(sum(lengths[-1][text] for text in part) for part in last)
    parts = [*(chunks(side, tokens, None, padded) for side in lengths[:-1]), last]
    begins = accumulate(map(len, sides), initial=0)
    work: list[Chunk] = []
    for side, (ids, begin) in enumerate(zip(sides, begins, strict=False)):
        for part in parts[side]:
            work.append(Chunk(len(work), side, [begin + t for t in part], [ids[t] for t in part]))
    return work


def tokens_of_pass(device: str, tokens: int) -> int:
    """Tokens of a chunk, where a batch's last side has `tokens`.

    What fills a GPU is often a whole batch, and all processes but one would wait for it.
    """
    most = PASS_TOKENS[device]
    return most if device == "cpu" else min(most, max(GPU_LEAST, -(-tokens // GPU_PIECES)))


class GradientEngine:
    """Runs a model's chunks on this process's share of a group."""

    def __init__(
        self,
        model: RowModel,
        group: Group = ALONE,
        autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.model, self.group, self.autocast = model, group, autocast
        first = next(model.parameters())
        self.device = first.device
        self.dtype = torch.promote_types(first.dtype, torch.float32)  # of the rows

    def cut(self, sides: Sequence[Ids], texts: int | None = None) -> list[Chunk]:
        """The chunks of a batch for this model on this device."""
        most = tokens_of_pass(self.device.type, sum(map(len, sides[-1])))
        return cut(sides, most, texts, self.model.padded)

    def run(self, chunk: Chunk, seed: int | None = None) -> Rows:
        """The rows of a chunk's N texts, values (T, D); `seed` is that of its dropout."""
        if seed is not None:
            # By the chunk's number: it makes no difference which process runs it, or how often.
            torch.manual_seed(seed * 100_003 + chunk.number)
        with self.autocast():
            rows = self.model.rows(chunk.side, chunk.ids)
        return Rows(rows.values.to(self.dtype), rows.bounds)

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

    def gather(self, work: list[Chunk], parts: Mapping[int, Rows]) -> Rows:
        """The rows (T, D) of all texts of a batch, on every process, from each one's `parts`.

        `parts`: the rows of this process's chunks, by their numbers.
        """
        # One process has the rows of a text and the others add 0, so a sum over processes gathers
        # them, whatever their sizes. The numbers of rows are gathered first, in the same way.
        own = [(torch.tensor(c.texts), parts[c.number]) for c in work if c.number in parts]
        counts = torch.zeros(sum(len(chunk.texts) for chunk in work), dtype=torch.long)
        for texts, rows in own:
            counts[texts] = rows.counts
        if self.group.size > 1:
            counts = self.group.sum(counts.to(self.device)).cpu()
        bounds = bounds_of(counts)
        shape = (int(bounds[-1]), self.model.dim)
        values = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for texts, rows in own:
            values[places(bounds, texts)] = rows.values.detach()
        return Rows(self.group.sum(values), bounds)

    def encode(self, *sides: Ids) -> list[Rows]:
        """The rows (T, D) of the texts of each side, without gradient, encoded by all processes."""
        work = self.cut(sides)
        parts = {chunk.number: self.run(chunk) for chunk in self.mine(work)}
        return split(self.gather(work, parts), sides)

    def _learning(self, sides: list[Rows]) -> list[Rows]:
        """The rows of each side, without gradient where the model does not learn it."""
        return [
            rows if self.model.learns(side) else Rows(rows.values.detach(), rows.bounds)
            for side, rows in enumerate(sides)
        ]

    def backward(
        self,
        objective: nn.Module,
        sides: Sequence[Ids],
        targets: Mapping[str, Tensor],
        seed: int,
        chunk_texts: int | None = None,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    ) -> Outcome:
        """Add the gradient of the batch's loss to every parameter's `.grad`, on every process.

        `objective`: the rows of each side and the `targets` by name -> Outcome. `sides`: token
        ids. `seed`: of this step's dropout. `chunk_texts`: cache the gradient in chunks of so
        many texts of the last side. `scale`: a scaler's, for float16. Returns the outcome over
        the whole batch, the same on every process.
        """
        work = self.cut(sides, chunk_texts)
        own = self.mine(work)
        cached = chunk_texts is not None
        learning = [chunk for chunk in own if self.model.learns(chunk.side)]
        parts = {}
        for chunk in own:
            with torch.set_grad_enabled(not cached and self.model.learns(chunk.side)):
                parts[chunk.number] = self.run(chunk, seed)
        rows = self.gather(work, parts)
        rows.values.requires_grad_()
        outcome: Outcome = objective(*self._learning(split(rows, sides)), **targets)
        torch.autograd.backward(scale(outcome.loss))
        gradient = rows.values.grad
        assert gradient is not None
        for chunk in learning:
            part = self.run(chunk, seed) if cached else parts.pop(chunk.number)
            here = gradient[places(rows.bounds, torch.tensor(chunk.texts))]
            torch.autograd.backward(part.values, here)
        self.group.sum_gradients([p for p in self.model.parameters() if p.requires_grad])
        return outcome._replace(loss=outcome.loss.detach())


def split(rows: Rows, sides: Sequence[Ids]) -> list[Rows]:
    """The rows of a whole batch, side by side."""
    bounds = list(accumulate(map(len, sides), initial=0))
    return [rows[begin:end] for begin, end in pairwise(bounds)]
