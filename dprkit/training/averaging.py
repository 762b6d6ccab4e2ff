"""The mean of a model's weights before and after training.

What a model knew before training is lost less when its weights go only part of the way: the mean
keeps most of what was learned, and more of how the model did on other data.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def weights_of(model: nn.Module) -> Weights:
    """A copy of a model's weights; a weight that has several names is there once."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@torch.no_grad()
def average(model: nn.Module, start: Weights, share: float) -> None:
    """Give a trained model the weights share x trained + (1 - share) x `start`."""
    for name, weight in model.named_parameters():
        before = start[name].to(weight.device)
        weight.copy_(before.lerp(weight, share))
