"""Linear layers that use oneDNN where torch is slow on the processor.

On AMD processors with AVX-512, torch's float32 products go through MKL, which keeps to AVX2 there:
about 100 GFLOP/s a thread. oneDNN, which torch carries too, reaches 210 to 240 on the same weights.
Whether it is taken depends on the processor alone, so the same machine gives the same bits.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}
"""Compiled products that oneDNN, and torch's layer over it, keep: read when the first is made.

There is one for each shape, and packed passes are hardly ever of one shape twice: with the 1,024
that both keep otherwise, training took up to 1.3 GB more. A pass has fewer than 16 shapes.
"""


@cache
def pays() -> bool:
    """Whether this processor is one where oneDNN is the faster of the two."""
    cpuinfo = Path("/proc/cpuinfo")
    return (
        hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and cpuinfo.is_file()
        and "AuthenticAMD" in cpuinfo.read_text()
    )


def enable(module: nn.Module) -> None:
    """Let the linear layers of `module` take the faster way, where there is one; weights stay."""
    if pays():
        for name, capacity in _KEPT.items():
            os.environ.setdefault(name, capacity)
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = Linear


class Linear(nn.Linear):
    """nn.Linear, whose float32 products on the CPU are oneDNN's, forward and backward."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        plain = (
            input.dtype != torch.float32
            or self.weight.dtype != torch.float32
            or input.device.type != "cpu"
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()  # exports are compilations too
            or not input.numel()
        )
        if plain:
            return super().forward(input)
        return cast(Tensor, _Product.apply(input, self.weight, self.bias))  # type: ignore[no-untyped-call]


def product(x: Tensor, rows: Tensor) -> Tensor:
    """x rows^T, (T, D) x (R, D) -> (T, R), the faster way where there is one; without gradient."""
    plain = x.dtype != torch.float32 or x.device.type != "cpu" or not (x.numel() and pays())
    return x @ rows.T if plain else _times(x, rows)


class _Product(torch.autograd.Function):
    """x W^T + b, (..., I) -> (..., O), with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        flat = gradient.reshape(-1, gradient.shape[-1])  # (T, O)
        return (
            _times(gradient, weight.T) if for_x else None,
            _times(flat.T, x.reshape(-1, x.shape[-1]).T) if for_weight else None,
            flat.sum(0) if for_bias else None,
        )


def _times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, (..., I) -> (..., O), by oneDNN; `weight` (O, I), `bias` (O,)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
