"""Attention within each text of a pack, as transformers' attention interface calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from dprkit.models.attention_pattern import Pattern
from dprkit.models.pack import Pack

ATTENTION = "dprkit_packed"
"""The name of `attention` in transformers' registry."""
HALF = (torch.float16, torch.bfloat16)
_LIMITS = ("position_bias", "s_aux")
"""What attention functions are told of models whose attention is none of those here."""
VARLEN = "torch.nn.attention.varlen"
"""Where torch has the kernel that attends within all texts of a pack at once."""
_running: ContextVar[Pack | None] = ContextVar("pack", default=None)
"""The pack that goes through a transformer now."""


def register() -> None:
    """Make it known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, _mask)


@contextmanager
def running(pack: Pack) -> Iterator[None]:
    """Let what a transformer asks for as a mask be a Pattern of this pack's texts."""
    token = _running.set(pack)
    try:
        yield
    finally:
        _running.reset(token)


def _mask(*given: Any, **more: Any) -> Pattern | Tensor | None:
    """What a transformer's layers of one sort are given as their mask."""
    from transformers.masking_utils import sdpa_mask

    # A compiled model has no packs, and a context variable would break its graph here.
    pack = None if torch.compiler.is_compiling() else _running.get()
    if pack is None:
        return sdpa_mask(*given, **more)
    return Pattern(more["mask_function"], pack.lengths[0], pack.bounds.device)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Pattern | Tensor | None,
    *,
    pack: Pack | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a pack: (1, heads, T, d) each -> (1, T, heads, d).

    Without a pack it is transformers' own, or its eager one where scores are capped.
    """
    way = Way(dropout, scaling, more.pop("softcap", None))
    if pack is None:
        return _without_pack(module, query, key, value, attention_mask, way, more)
    pattern = attention_mask if isinstance(attention_mask, Pattern) else None
    _check(more, pattern)
    key, value = (repeated(heads, query.shape[1]) for heads in (key, value))
    if query.is_cuda and _has_kernel(query, pattern, pack, way):
        return _flash(query, key, value, pack, way, pattern), None
    rows = (pack.groups(x[0].transpose(0, 1)) for x in (query, key, value))
    groups = zip(*rows, strict=True)  # (n, L, heads, d) each, of one length L
    texts = ([x.transpose(1, 2) for x in group] for group in groups)  # (n, heads, L, d) each
    parts = [_within(q, k, v, pattern, way) for q, k, v in texts]
    return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in parts]).unsqueeze(0), None


def _check(told: dict[str, Any], pattern: Pattern | None) -> None:
    """Raises TypeError for attention of a sort that is not here."""
    foreign = [name for name in _LIMITS if told.get(name) is not None]
    if pattern is None and told.get("sliding_window") is not None:
        foreign.append("sliding_window")
    if foreign:
        raise TypeError(f"packed attention has no {', '.join(foreign)}")


def _without_pack(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    way: Way,
    more: dict[str, Any],
) -> tuple[Tensor, None]:
    if way.softcap is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, mask, dropout=way.dropout, scaling=way.scale, **more
        )
    key, value = (repeated(heads, query.shape[1]) for heads in (key, value))
    causal = mask is None and bool(getattr(module, "is_causal", True))
    return way(query, key, value, mask, causal).transpose(1, 2), None


def _within(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern | None, way: Way) -> Tensor:
    """Attention of n texts of one length L: (n, heads, L, d) each."""
    length = query.shape[2]
    if pattern is None or length <= pattern.plain:
        return way(query, key, value, None, bool(pattern and pattern.causal))
    parts = [
        way(query[:, :, rows], key[:, :, keys], value[:, :, keys], mask, False)
        for rows, keys, mask in pattern.blocks(length)
    ]
    return torch.cat(parts, dim=2)


def repeated(heads: Tensor, count: int) -> Tensor:
    """(N, heads, T, d) -> (N, count, T, d): keys or values that several queries share."""
    texts, own, length, width = heads.shape
    if own == count:
        return heads
    wide = heads[:, :, None].expand(texts, own, count // own, length, width)
    return wide.reshape(texts, count, length, width)


# --- one call -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """Attention of texts of one length, as a model asks for it."""

    dropout: float
    scale: float | None
    softcap: float | None
    """Scores are kept within it by tanh (Gemma 2)."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """(n, heads, L, d) and twice (n, heads, K, d), and a (..., L, K) mask -> (n, heads, L, d).

        By torch's kernel, but where it cannot cap scores, and where it is slow: with dropout on a
        CPU.
        """
        if query.dtype in HALF and query.device.type == "cpu":
            # Torch's kernel gains nothing by 16 bits there, and takes 4 times as long backward.
            with torch.autocast("cpu", enabled=False):
                single = self(query.float(), key.float(), value.float(), mask, causal)
            return single.to(query.dtype)
        if self.softcap is not None or (self.dropout and query.device.type == "cpu"):
            return self._written_out(query, key, value, mask, causal)
        return scaled_dot_product_attention(
            query, key, value, mask, self.dropout, causal, scale=self.scale
        )

    def _written_out(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = (query * scale) @ key.transpose(2, 3)  # (n, heads, L, K)
        if self.softcap is not None:
            scores = (scores / self.softcap).tanh() * self.softcap
        if causal:
            mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None:
            # Padding attends to nothing, and must not become no number.
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        probabilities = scores.softmax(-1).to(value.dtype)
        if not self.dropout:
            return probabilities @ value
        return _dropped(probabilities, self.dropout) @ (value * _share_kept(self.dropout))


def _dropped(probabilities: Tensor, dropout: float) -> Tensor:
    """Probabilities of which a share is zero; what is left of them is not yet made larger.

    Torch draws a random number of its own for each probability; here each costs 16 bits, an
    eighth of the time. So the share that is dropped is `dropout` to the nearest 1/65536.
    """
    place, count = probabilities.device, -(-probabilities.numel() // 4)
    words = torch.empty(count, dtype=torch.long, device=place).random_(-(2**63), None)
    bits = words.view(torch.int16)[: probabilities.numel()].view(probabilities.shape)
    return probabilities * (bits >= round(dropout * 65536) - 32768)


def _share_kept(dropout: float) -> float:
    return 65536 / (65536 - round(dropout * 65536))


# --- on a GPU -------------------------------------------------------------------------------------


def _has_kernel(query: Tensor, pattern: Pattern | None, pack: Pack, way: Way) -> bool:
    """Whether one call does it for the whole pack."""
    plain = pattern is None or pack.lengths[0] <= pattern.plain
    return plain and query.dtype in HALF and not way.dropout and way.softcap is None


def _flash(
    query: Tensor, key: Tensor, value: Tensor, pack: Pack, way: Way, pattern: Pattern | None
) -> Tensor:
    """Attention of a whole pack in one variable-length flash kernel. Never run on a GPU so far."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))  # (T, heads, d)
    longest, window = pack.lengths[0], (-1, 0 if pattern and pattern.causal else -1)
    out = varlen_attn(
        q, k, v, pack.bounds, pack.bounds, longest, longest, scale=way.scale, window_size=window
    )
    return cast(Tensor, out).unsqueeze(0)
