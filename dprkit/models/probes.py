"""The probe texts through a retriever and through what was exported of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dprkit.errors import GateError
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.checkpoints import PROBE_PASSAGES, PROBE_QUESTIONS
from dprkit.models.tokens import Ids, Tokens

Forward = Callable[[Tensor, Tensor], Tensor]
"""ids (N, L) and mask (N, L) -> vectors (N, D)."""


class Side(NamedTuple):
    """One encoder of a retriever, its tokenizer's role, and its probe texts as ids."""

    name: str
    encoder: Encoder
    ids: Ids


def sides_of(model: BiEncoder, tokens: Tokens) -> tuple[Side, Side]:
    """The question's side and the passage's."""
    return (
        Side("question", model.question_encoder, tokens.questions(PROBE_QUESTIONS)),
        Side("passage", model.passage_encoder, tokens.passages(PROBE_PASSAGES)),
    )


def check(side: Side, exported: Forward, allowed: float) -> float:
    """The largest difference of a number between the encoder's vectors and the exported one's.

    All ids go through in one padded batch. Raises GateError above `allowed`.
    """
    config: Any = side.encoder.backbone.config
    rows = [torch.tensor(one) for one in side.ids]
    ids = pad_sequence(rows, batch_first=True, padding_value=config.pad_token_id or 0)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    with torch.no_grad():
        difference = float((side.encoder(ids, mask) - exported(ids, mask)).abs().max())
    if not difference <= allowed:
        raise GateError(
            f"the exported {side.name} encoder differs by {difference:.3g} on the probes "
            f"({allowed:g} is allowed); nothing was written"
        )
    return difference
