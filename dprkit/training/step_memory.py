"""Memory: how much a step takes, how much there is, and what fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dprkit.memory import peak_bytes
from dprkit.models.bi_encoder import PASS_TOKENS
from dprkit.models.tokens import Ids
from dprkit.training.gradients import Engine

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
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    limit, used = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
    if limit.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


def chunk_that_fits(engine: Engine, batch: tuple[Ids, Ids], free: int) -> int | None:
    """Texts in a chunk of gradient caching, or None where the whole batch fits in one graph.

    `batch`: token ids of questions and passages. `free`: bytes. What a token takes is measured:
    the tensors that one pass over the longest texts keeps for its backward pass.
    """
    longest = sorted(batch[1], key=len, reverse=True)[:4]
    kept = _kept_bytes(engine, longest) / sum(map(len, longest))
    whole = kept * sum(len(one) for side in batch for one in side)
    if whole <= SHARE * free:
        return None
    texts = int(SHARE * free / (kept * len(longest[0])))
    room = PASS_TOKENS[next(engine.model.parameters()).device.type] // len(longest[0])
    return max(1, min(texts, room, len(batch[1])))


def _kept_bytes(engine: Engine, texts: Ids) -> int:
    """Bytes that a forward pass over passages keeps for the backward pass."""
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> Any:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in engine.model.parameters()}
    chunk = engine.cut(([], texts))[0]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        vectors = engine.vectors(chunk, seed=0)
    del vectors
    return sum(size for pointer, size in seen.items() if pointer not in weights)
