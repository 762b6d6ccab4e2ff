"""Heads: the layers between pooling and the vector, in the order in which a text goes through.

They are the modules that sentence-transformers puts there, with its names of activations. One
linear layer alone is no head but a `projection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

Activation = Literal[
    "Identity",
    "Tanh",
    "GELU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Mish",
    "ELU",
    "SELU",
    "LeakyReLU",
    "Softplus",
    "Softsign",
]
"""The names of torch.nn's classes, which are used as they come without arguments."""


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="layer"):
    """A line of `heads` in retriever.yaml; `layer` in it is the tag of a class below."""


class Dense(Layer, frozen=True, tag="dense"):
    """activation(W x + b), `size` numbers wide.

    `residual`: the input is added to that, through a matrix of its own where it is not as wide.
    """

    size: Annotated[int, msgspec.Meta(ge=1)]
    bias: bool = True
    activation: Activation = "Identity"
    residual: bool = False


class LayerNorm(Layer, frozen=True, tag="layer-norm"):
    """A layer norm with a weight and a bias."""


class Normalize(Layer, frozen=True, tag="normalize"):
    """Vectors are brought to length 1."""


Heads = tuple[Dense | LayerNorm | Normalize, ...]


def width_behind(heads: Sequence[Layer], width: int) -> int:
    """The numbers of a vector behind `heads` that is `width` numbers wide before them."""
    sizes = [layer.size for layer in heads if isinstance(layer, Dense)]
    return sizes[-1] if sizes else width
