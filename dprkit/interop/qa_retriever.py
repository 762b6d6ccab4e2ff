"""fz-openqa's QaRetriever: one BERT, and a projected head each for question and passage.

The heads (`q_proj`, `e_proj`: linear, on the first token, then scaled to unit length) are read
from a Lightning checkpoint, a plain state dict or a safetensors file; the names may stand below
any prefix. Config and tokenizer are those of --backbone. Dropout before the heads is train's
--output-dropout.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from dprkit.errors import InputError, SettingsError
from dprkit.interop.folder import built, config_in, read_state
from dprkit.interop.hf_dpr import below
from dprkit.interop.hub import local
from dprkit.interop.tokenizer import tokenizer_in
from dprkit.interop.tower import Foreign, Tower, configured
from dprkit.settings import ConvertSettings

WORDS = "embeddings.word_embeddings.weight"
FIXED = {"pooling": "cls"}
USUAL = {"similarity": "cosine", "question_max_length": 512, "passage_max_length": 512}


def tensors_in(state: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one that a Lightning checkpoint holds."""
    inner = state.get("state_dict")
    inner = inner if isinstance(inner, dict) else state
    return {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}


def is_qa_retriever(weights: dict[str, Tensor]) -> bool:
    return all(any(_of_head(side, name) for name in weights) for side in ("q_proj", "e_proj"))


def read(path: Path, settings: ConvertSettings) -> Foreign:
    """The shared transformer and both heads."""
    weights = tensors_in(read_state(path))
    if settings.backbone is None:
        raise SettingsError(
            f"{path}: holds no config and no tokenizer; name the folder or hub name of its "
            "pretrained model by --backbone"
        )
    folder = local(settings.backbone)
    prefix = _prefix(weights, path)
    bert = below(weights, prefix)
    config = config_in(folder)
    config.vocab_size = len(bert[WORDS])  # fz-openqa adds tokens of its own
    tokenizer = tokenizer_in(folder)
    if tokenizer[0].get_vocab_size() > config.vocab_size:
        raise InputError(
            f"{folder}: its tokenizer has {tokenizer[0].get_vocab_size()} tokens and {path} "
            f"has vectors for {config.vocab_size}; name the tokenizer it was trained with"
        )
    backbone, idle = built(config, bert, path)
    question, passage = (
        Tower(backbone, tokenizer, path, _head(weights, side, path), idle)
        for side in ("q_proj", "e_proj")
    )
    mapped = [
        f"{prefix}* is the transformer of both encoders",
        "q_proj is the question's projection",
        "e_proj is the passage's projection",
        f"config and tokenizer are those of {settings.backbone}",
    ]
    return Foreign(question, passage, configured(settings, FIXED, USUAL), mapped)


def _prefix(weights: dict[str, Tensor], path: Path) -> str:
    prefixes = [name.removesuffix(WORDS) for name in weights if name.endswith(WORDS)]
    if len(prefixes) != 1:
        raise InputError(f"{path}: holds {len(prefixes)} transformers, not one; name a QaRetriever")
    return prefixes[0]


def _of_head(side: str, name: str) -> bool:
    return re.search(rf"(^|\.){side}\.(.+\.)?weight$", name) is not None


def _head(weights: dict[str, Tensor], side: str, path: Path) -> dict[str, Tensor]:
    names = [name for name in weights if _of_head(side, name) and weights[name].dim() == 2]
    if len(names) != 1:
        raise InputError(f"{path}: {side} has {len(names)} linear layers; one is needed")
    weight = weights[names[0]]
    bias = weights.get(f"{names[0].removesuffix('weight')}bias", weight.new_zeros(len(weight)))
    return {"weight": weight, "bias": bias}
