"""Pooling: the states of a text's tokens become one vector, as sentence-transformers does it.

cls            the state of the first token
last           the state of the last token
mean           the mean
weighted-mean  the mean, in which the i-th token counts i times
max            the largest of each number
mean-sqrt      the sum by the square root of the number of tokens
"""

from __future__ import annotations

import torch
from torch import Tensor


def pooled(pooling: str, states: Tensor, mask: Tensor | None = None) -> Tensor:
    """States (N, L, H) -> vectors (N, H); `mask` (N, L): 0 is padding, which stands behind.

    Without a mask nothing is padding. A text without a token gets zeros.
    """
    if mask is None:
        return _of_whole(pooling, states)
    padding = mask.unsqueeze(-1) == 0
    counts = mask.sum(1, keepdim=True)
    if pooling == "max":
        largest = states.masked_fill(padding, float("-inf")).amax(1)
        return largest.masked_fill(counts == 0, 0)
    states = states.masked_fill(padding, 0)  # it may be no number there
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        places = (counts.long() - 1).clamp(min=0).unsqueeze(-1)  # (N, 1, 1)
        return states.gather(1, places.expand(-1, -1, states.shape[-1])).squeeze(1)
    if pooling == "weighted-mean":
        return _weighted(states, _places(states) * mask)
    counts = counts.clamp(min=1)
    return states.sum(1) / (counts if pooling == "mean" else counts.sqrt()).to(states.dtype)


def _of_whole(pooling: str, states: Tensor) -> Tensor:
    """As `pooled`, where nothing is padding."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[:, -1]
    if pooling == "max":
        return states.amax(1)
    if pooling == "weighted-mean":
        return _weighted(states, _places(states))
    mean = states.mean(1)
    return mean if pooling == "mean" else mean * states.shape[1] ** 0.5


def _places(states: Tensor) -> Tensor:
    """(1, L): 1, 2, ...; in float32, since bfloat16 has no 257."""
    length = states.shape[1]
    return torch.arange(1, length + 1, device=states.device, dtype=torch.float32).unsqueeze(0)


def _weighted(states: Tensor, weights: Tensor) -> Tensor:
    """The mean (N, H) of states (N, L, H) by weights (N, L) or (1, L)."""
    total = weights.sum(1, keepdim=True).clamp(min=1)
    return ((states * weights.unsqueeze(-1)).sum(1) / total).to(states.dtype)
