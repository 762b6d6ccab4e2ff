"""Huffman's codes, in their canonical form: lengths alone tell the codes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Bits of each symbol's code, for how often each comes up. A single symbol needs none."""
    leaves = len(counts)
    parents = [0] * (2 * leaves - 1)
    heap = [(count, leaf) for leaf, count in enumerate(counts)]
    heapq.heapify(heap)
    for node in range(leaves, 2 * leaves - 1):
        least, first = heapq.heappop(heap)
        more, second = heap[0]
        heapq.heapreplace(heap, (least + more, node))
        parents[first] = parents[second] = node
    depths = [0] * (2 * leaves - 1)
    for node in reversed(range(2 * leaves - 2)):
        depths[node] = depths[parents[node]] + 1
    return depths[:leaves]


def codes(lengths: np.ndarray) -> np.ndarray:
    """(N,) codes of (N,) lengths: shorter ones first, and those of one length in their order."""
    import numpy as np

    order = np.argsort(lengths, kind="stable")
    sizes = lengths[order].astype(np.int64)
    before = np.cumsum(0.5**sizes) - 0.5**sizes  # exact: whole multiples of 2^-52 at the least
    found = np.empty(len(lengths), np.int64)
    found[order] = np.ldexp(before, sizes).astype(np.int64)
    return found


def pack_bits(codes: np.ndarray, lengths: np.ndarray) -> bytes:
    """(N,) codes of (N,) lengths, one behind the other, and zeros up to a whole byte."""
    import numpy as np

    ends = np.cumsum(lengths, dtype=np.int32)
    left = np.repeat(ends, lengths) - np.arange(1, ends[-1] + 1, dtype=np.int32)
    return np.packbits((np.repeat(codes, lengths) >> left & 1).astype(np.uint8)).tobytes()
