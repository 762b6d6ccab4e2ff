"""The texts of each forward pass: batches of similar lengths, within a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PASS_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""Tokens of a forward pass: what fits a processor's cache (docs/performance.md), or fills a GPU."""


def chunks(
    lengths: Sequence[int], batch_tokens: int, texts: int | None = None, padded: bool = False
) -> list[list[int]]:
    """Share texts of `lengths` tokens out among forward passes: the indices of each, longest first.

    A pass holds at most `batch_tokens` tokens, or one text that is longer, and at most `texts`
    texts. With `padded`, padding counts: every text is as long as the pass's longest. Equal
    lengths keep their order, so the same lengths always give the same passes.
    """
    parts: list[list[int]] = []
    used = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        cost = lengths[parts[-1][0]] if padded and parts else lengths[i]
        if not parts or used + cost > batch_tokens or len(parts[-1]) == texts:
            parts.append([])
            used, cost = 0, lengths[i]
        parts[-1].append(i)
        used += cost
    return parts


def padded(ids: Sequence[Sequence[int]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) ids of N texts, and the mask of what is no `padding`."""
    rows = np.full((len(ids), max(1, *map(len, ids))), padding)
    mask = np.zeros_like(rows)
    for row, text in enumerate(ids):
        rows[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return rows, mask
