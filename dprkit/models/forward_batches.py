"""The texts of each forward pass: batches of similar lengths, within a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence

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
