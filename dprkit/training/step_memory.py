"""The memory of a training step: how much it takes, and the chunk that fits (--chunk-size auto)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dprkit.memory import available_bytes, peak_bytes
from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.tokens import Ids
from dprkit.training.gradients import Chunk, GradientEngine

SHARE = 0.5
"""Of the free memory that a step may take: moments, gradients and others need the rest."""


def peak_gb(device: torch.device) -> float:
    """Peak memory of this process in GB (1e9 bytes): the GPU's where it trains on one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return peak_bytes() / 1e9


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken: the GPU's, or the machine's within its control group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


def chunk_that_fits(engine: GradientEngine, sides: Sequence[Ids], free: int) -> int | None:
    """Texts in a chunk of gradient caching, or None where the whole batch fits in one graph.

    `sides`: the token ids of a batch. `free`: bytes. What a token takes is measured: the tensors
    that one pass over the longest texts of the last side keeps for its backward pass.
    """
    longest = max(map(len, sides[-1]))
    kept = bytes_a_token(engine, sides)
    whole = kept * sum(len(text) for side in sides for text in side)
    if whole <= SHARE * free:
        return None
    texts = int(SHARE * free / (kept * longest))
    room = PASS_TOKENS[engine.device.type] // longest
    return max(1, min(texts, room, len(sides[-1])))


def bytes_a_token(engine: GradientEngine, sides: Sequence[Ids]) -> float:
    """Bytes that a step keeps for its backward pass, a token: those of the longest texts."""
    longest = sorted(sides[-1], key=len, reverse=True)[:4]
    chunk = Chunk(0, len(sides) - 1, [], longest)
    return _kept_bytes(engine, chunk) / sum(map(len, longest))


def _kept_bytes(engine: GradientEngine, chunk: Chunk) -> int:
    """Bytes that a chunk's forward pass keeps for the backward pass."""
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> Any:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in engine.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        rows = engine.run(chunk, seed=0)
    del rows
    return sum(size for pointer, size in seen.items() if pointer not in weights)
