"""Decoders as encoders of texts: what a vector is made of where tokens attend to earlier ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


@torch.no_grad()
def reads_one_way(backbone: nn.Module) -> bool:
    """Whether the first token of a text knows nothing of those behind it. It is tried out."""
    config: Any = backbone.config
    tokens = [number for number in range(4) if number != config.pad_token_id][:3]
    training, place = backbone.training, next(backbone.parameters()).device
    backbone.eval()
    ids = torch.tensor([tokens[:2], tokens[::2]], device=place)  # of one first token
    states = backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    backbone.train(training)
    return bool(torch.equal(states[0, 0], states[1, 0]))
