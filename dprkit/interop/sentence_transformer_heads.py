"""What follows the Pooling of a sentence-transformers folder: Dense, LayerNorm, Normalize, Dropout.

one linear Dense                a projection
a Normalize at the end          cosine similarity
a Dropout                       nothing: it is for training
others, in the order they have  the layers of dprkit.models.heads
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from torch import Tensor

from dprkit.errors import InputError
from dprkit.interop.folder import read_weights
from dprkit.interop.sentence_transformer_files import (
    DenseFile,
    Module,
    check_normalize,
    read_dense,
    read_layer_norm,
)
from dprkit.models.bi_encoder import Encoder
from dprkit.models.heads import Activation, Dense, Heads, LayerNorm, Normalize

IDENTITY = "torch.nn.modules.linear.Identity"
ACTIVATIONS: tuple[str, ...] = get_args(Activation)


class Head(NamedTuple):
    """What makes a vector of what Pooling gives."""

    layers: Heads
    """() where it is one linear layer, or none."""
    weights: dict[str, Tensor] | None
    """As the module of the head names them; None: there is no head."""
    unit_length: bool
    """Whether vectors have the length 1 at the end."""


# --- reading --------------------------------------------------------------------------------------


def read_head(modules: Sequence[Module]) -> Head:
    """The modules behind a Pooling. Raises InputError for what dprkit has no counterpart for."""
    for module in modules:
        if module.kind == "Normalize":
            check_normalize(module.folder)
    used = [module for module in modules if module.kind != "Dropout"]
    unit_length = bool(used) and used[-1].kind == "Normalize"
    while used and used[-1].kind == "Normalize":
        used.pop()
    read = [_layer(module) for module in used]
    layers = tuple(layer for layer, _ in read)
    if len(layers) == 1 and _is_linear(layers[0]):
        return Head((), _of_projection(read[0][1]), unit_length)
    weights = {f"{i}.{k}": v for i, (_, own) in enumerate(read) for k, v in own.items()}
    return Head(layers, weights or None, unit_length)


Layers = Dense | LayerNorm | Normalize


def _layer(module: Module) -> tuple[Layers, dict[str, Tensor]]:
    """A module as a layer, with its weights."""
    if module.kind == "Normalize":
        return Normalize(), {}
    if module.kind == "LayerNorm":
        read_layer_norm(module.folder)
        return LayerNorm(), _weights(module, {"norm.weight", "norm.bias"})
    said = read_dense(module.folder)
    own = _weights(module, _of_dense(said))
    width, dim = own["linear.weight"].shape
    if said.in_features not in (None, dim) or said.out_features not in (None, width):
        raise InputError(
            f"{module.folder}: its weights make {width} dimensions of {dim}, its config.json says "
            f"{said.out_features} of {said.in_features}"
        )
    activation: Any = _activation(said, module.folder)
    return Dense(width, said.bias, activation, said.use_residual), own


def _of_dense(said: DenseFile) -> set[str]:
    """The names of the weights of a Dense."""
    names = {"linear.weight"} | ({"linear.bias"} if said.bias else set())
    residual = said.use_residual and said.in_features != said.out_features
    return names | ({"residual.weight"} if residual else set())


def _weights(module: Module, wanted: set[str]) -> dict[str, Tensor]:
    weights = read_weights(module.folder)
    if weights.keys() != wanted or any(
        value.dim() != (2 if name in ("linear.weight", "residual.weight") else 1)
        for name, value in weights.items()
    ):
        raise InputError(
            f"{module.folder}: holds {', '.join(sorted(weights))}, not the weights of its "
            f"{module.kind}"
        )
    return weights


def _activation(said: DenseFile, folder: Path) -> str:
    path, _, name = said.activation_function.rpartition(".")
    if name not in ACTIVATIONS or not f"{path}.".startswith("torch.nn."):
        raise InputError(
            f"{folder}: its Dense has the activation {said.activation_function}, which is not "
            f"supported; torch's {', '.join(ACTIVATIONS)} are"
        )
    return name


def _is_linear(layer: Layers) -> bool:
    return isinstance(layer, Dense) and layer.activation == "Identity" and not layer.residual


def _of_projection(own: dict[str, Tensor]) -> dict[str, Tensor]:
    weight = own["linear.weight"]
    return {"weight": weight, "bias": own.get("linear.bias", weight.new_zeros(len(weight)))}


# --- writing --------------------------------------------------------------------------------------

Written = tuple[str, dict[str, Any], dict[str, Tensor]]
"""The class of a module, its config.json, and its weights."""


def head_written(encoder: Encoder) -> list[Written]:
    """The modules of an encoder's head, and a Normalize where its vectors have the length 1."""
    rows = _written(encoder)
    return [*rows, ("Normalize", {}, {})] if encoder.unit_length else rows


def _written(encoder: Encoder) -> list[Written]:
    width = int(encoder.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    if encoder.projection is None:
        return []
    state = encoder.projection.state_dict()
    if not encoder.heads:
        own = {f"linear.{name}": value for name, value in state.items()}
        return [_dense(Dense(encoder.width), width, own)]
    rows: list[Written] = []
    for number, layer in enumerate(encoder.heads):
        at = f"{number}."
        own = {k.removeprefix(at): v for k, v in state.items() if k.startswith(at)}
        if isinstance(layer, Dense):
            rows.append(_dense(layer, width, own))
            width = layer.size
        elif isinstance(layer, LayerNorm):
            rows.append(("LayerNorm", {"dimension": width}, own))
        else:
            rows.append(("Normalize", {}, {}))
    return rows


def _dense(layer: Dense, width: int, own: dict[str, Tensor]) -> Written:
    linear = layer.activation == "Identity"
    config = {
        "in_features": width,
        "out_features": layer.size,
        "bias": layer.bias,
        "activation_function": IDENTITY
        if linear
        else f"torch.nn.modules.activation.{layer.activation}",
    }
    return "Dense", config | ({"use_residual": True} if layer.residual else {}), own
