"""The layers of dprkit.models.heads as modules of torch, with sentence-transformers' names.

A chain keeps its weights as `0.linear.weight`, `1.norm.bias`: the number of the layer, and what
sentence-transformers calls the weight in the layer's own file.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dprkit.models.heads import Dense, Heads, Normalize, width_behind


def chain(heads: Heads, width: int) -> nn.Sequential:
    """Layers that take vectors (N, `width`), one behind the other."""
    widths = [width_behind(heads[:place], width) for place in range(len(heads))]
    return nn.Sequential(*(_module(*pair) for pair in zip(heads, widths, strict=True)))


def _module(layer: object, width: int) -> nn.Module:
    if isinstance(layer, Dense):
        return DenseModule(layer, width)
    return UnitLength() if isinstance(layer, Normalize) else Norm(width)


class DenseModule(nn.Module):
    """(N, H) -> (N, D) as a Dense says."""

    def __init__(self, layer: Dense, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, layer.size, bias=layer.bias)
        self.activation: nn.Module = getattr(nn, layer.activation)()
        self.residual: nn.Module | None = None
        if layer.residual:
            same = width == layer.size
            self.residual = nn.Identity() if same else nn.Linear(width, layer.size, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, H) -> (N, D)."""
        made: Tensor = self.activation(self.linear(vectors))
        return made if self.residual is None else made + self.residual(vectors)


class Norm(nn.Module):
    """(N, H) -> (N, H), by a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, H) -> (N, H)."""
        return cast(Tensor, self.norm(vectors))


class UnitLength(nn.Module):
    """(N, H) -> (N, H), of length 1."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, H) -> (N, H)."""
        return torch.nn.functional.normalize(vectors, dim=-1)
