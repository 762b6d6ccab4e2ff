"""The optimizer, its schedule, and the precision of the products."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn

from dprkit.errors import SettingsError
from dprkit.models.torch_encoder import cast_of
from dprkit.training.resolved_trainer import ResolvedTrainer

EPSILON = 1e-8


def optimizer_of(
    model: nn.Module, objective: nn.Module, settings: ResolvedTrainer
) -> torch.optim.AdamW:
    """AdamW that does not decay vectors: biases, the weights of norms, the temperature.

    With `layer_decay` d, a weight k layers below the top learns at lr * d**k.
    """
    named = [*model.named_parameters(), *objective.named_parameters()]
    trained = [(name, p) for name, p in named if p.requires_grad]
    depth = _depths(name for name, _ in trained)
    top = max(depth.values(), default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained:
        decay = settings.weight_decay if parameter.dim() > 1 else 0.0
        share = settings.layer_decay ** (top - depth[name])
        groups.setdefault((decay, share), []).append(parameter)
    on_gpu = any(p.is_cuda for _, p in trained)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "share": share}
            for (decay, share), members in groups.items()
        ],
        lr=settings.lr,
        eps=EPSILON,
        fused=on_gpu or None,
    )


def _depths(names: Iterable[str]) -> dict[str, int]:
    """name -> layer: embeddings 0, the first layer 1, what comes after the layers the last."""
    numbers = {
        name: int(layer.group(1)) + 1 if (layer := re.search(r"\.layers?\.(\d+)\.", name)) else None
        for name in names
    }
    above = max((n for n in numbers.values() if n is not None), default=0) + 1
    return {
        name: number if number is not None else 0 if "embeddings" in name else above
        for name, number in numbers.items()
    }


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]


def schedule(kind: str, step: int, steps: int, warmup: float) -> float:
    """The share of the highest learning rate at `step`, counted from 0, of `steps`.

    Linear from near 0 up over `warmup` steps (below 1: that share of all steps), then straight
    down towards 0, down a half cosine, or level. The last step still learns. The warm-up is of
    whole steps and ends before the last one, so that one step has the whole rate.
    """
    rise = min(round(warmup * steps if warmup < 1 else warmup), steps - 1)
    if step < rise:
        return (step + 1) / (rise + 1)
    left = (steps - step) / (steps - rise)
    if kind == "cosine":
        return (1 - math.cos(math.pi * left)) / 2
    return left if kind == "linear" else 1.0


def autocasting(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """What an encoder's forward pass is wrapped in."""
    half = cast_of(precision)
    return partial(torch.autocast, device.type, dtype=half, enabled=half is not None)


def set_products(precision: str, device: torch.device) -> None:
    """Let float32 products run as `precision` says; SettingsError where the device cannot."""
    if precision in ("fp16", "tf32") and device.type != "cuda":
        raise SettingsError(f"--precision {precision} needs a GPU; there is none: use fp32")
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
