"""The number type of a model's matrix products, where the machine has the say."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=Any)


def settled(settings: S) -> S:
    """A stage's settings, with the type that the precision `auto` stands for on this machine.

    So a manifest records the type, and not `auto`.
    """
    if settings.precision != "auto":
        return settings
    return msgspec.structs.replace(settings, precision="bf16" if _has_bf16() else "fp32")


def _has_bf16() -> bool:
    """Whether the GPU, or else the processor, multiplies numbers of bf16 faster than of fp32."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch has none
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
