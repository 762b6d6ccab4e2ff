"""Packed passes beside padded ones, for decoders, ModernBERT and others, on texts of mixed lengths.

    python benchmarks/packing.py [--families qwen3 modernbert] [--texts 64] [--runs 3]

Random weights in the shape of a small model of the family (hidden size 512, four layers). The
lengths are those of psgs-like passages and of questions together, and some long texts. Three
layouts, in turns, in processor time: packed, passes of 2,048 tokens; padded, sorted by length,
passes of at most 2,048 tokens with padding; padded as they come, 8 texts a pass. Shown are the
medians in tokens a second, without gradient and with, and the largest difference of a number.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from dprkit.models import linear, packing
from dprkit.models.forward_batches import chunks, padded
from dprkit.models.pack import Pack
from dprkit.models.tokens import Ids

WIDE = {"vocab_size": 1000, "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8}
SIZE = {**WIDE, "intermediate_size": 1024, "max_position_embeddings": 8192, "pad_token_id": 0}
SHARED = {**SIZE, "num_key_value_heads": 4, "head_dim": 64, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES = {
    "bert": ("bert", SIZE),
    "qwen3": ("qwen3", SHARED),
    "llama": ("llama", SHARED),
    "gemma2": ("gemma2", {**SHARED, "sliding_window": 128}),
    "embedding-gemma": (
        "gemma3_text",
        {**SHARED, "sliding_window": 256, "use_bidirectional_attention": True},
    ),
    "modernbert": (
        "modernbert",
        {**SIZE, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "nomic": ("nomic_bert", SIZE),
}
PASS = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    ids = texts(given.texts)
    tokens = sum(map(len, ids))
    longest = max(map(len, ids))
    print(f"{len(ids)} texts, {tokens} tokens, the longest {longest}; tokens a second")
    for family in given.families:
        measure(family, ids, given.runs)


def texts(count: int) -> Ids:
    """Questions of some 12 tokens, passages of some 150, and one in sixteen of up to 1,024."""
    draw = np.random.default_rng(0)
    lengths = [
        int(draw.integers(400, 1024))
        if i % 16 == 0
        else int(draw.normal(12, 4) if i % 3 == 0 else draw.normal(150, 40))
        for i in range(count)
    ]
    return [draw.integers(5, 1000, max(3, length)).tolist() for length in lengths]


def measure(family: str, ids: Ids, runs: int) -> None:
    kind, size = FAMILIES[family]
    torch.manual_seed(0)
    model: nn.Module = AutoModel.from_config(AutoConfig.for_model(kind, **size)).eval()
    linear.enable(model)
    assert packing.enable(model), family
    ways: dict[str, Callable[[], Tensor]] = {
        "packed": lambda: packed_states(model, ids),
        "padded, sorted": lambda: padded_states(model, ids, in_order=False),
        "padded, as they come": lambda: padded_states(model, ids, in_order=True),
    }
    with torch.no_grad():
        states = {name: way() for name, way in ways.items()}
    apart = max(float((states["packed"] - other).abs().max()) for other in states.values())
    seconds: dict[tuple[str, bool], list[float]] = {}
    for _ in range(runs):
        for name, way in ways.items():
            for gradient in (False, True):
                seconds.setdefault((name, gradient), []).append(timed(way, gradient))
    count = sum(map(len, ids))
    for name in ways:
        forward, both = (count / statistics.median(seconds[name, g]) for g in (False, True))
        print(f"{family:16} {name:22} {forward:9,.0f} {both:9,.0f}")
    print(f"{family:16} largest difference     {apart:.1e}")


def timed(way: Callable[[], Tensor], gradient: bool) -> float:
    begin = time.process_time()
    with torch.set_grad_enabled(gradient):
        states = way()
        if gradient:
            states.sum().backward()
    return time.process_time() - begin


def packed_states(model: nn.Module, ids: Ids) -> Tensor:
    """The mean state of each text, packed."""
    passes = chunks([len(text) for text in ids], PASS)
    rows = []
    for part in passes:
        pack = Pack([ids[i] for i in part], packing.first_position(model), torch.device("cpu"))
        rows.append(pack.as_given([group.mean(1) for group in packing.states(model, pack)]))
    return given_order(rows, passes)


def padded_states(model: nn.Module, ids: Ids, in_order: bool) -> Tensor:
    """The mean state of each text, padded."""
    passes = [list(range(i, min(i + 8, len(ids)))) for i in range(0, len(ids), 8)]
    if not in_order:
        passes = chunks([len(text) for text in ids], PASS, padded=True)
    rows = []
    for part in passes:
        arrays = padded([ids[i] for i in part], 0)
        given, mask = (torch.from_numpy(array) for array in arrays)
        states = model(input_ids=given, attention_mask=mask).last_hidden_state
        sums = states.masked_fill(mask.unsqueeze(-1) == 0, 0).sum(1)
        rows.append(sums / mask.sum(1, keepdim=True))
    return given_order(rows, passes)


def given_order(rows: list[Tensor], passes: list[list[int]]) -> Tensor:
    order = torch.tensor([i for part in passes for i in part])
    return torch.cat(rows)[order.argsort()]


if __name__ == "__main__":
    main()
