"""DPR's own checkpoints (`dpr_biencoder.N`, `hf_bert_base.cp`): torch.save of a dict.

`model_dict` holds `question_model.*` and `ctx_model.*`, each a BertModel with an optional
`encode_proj`; of a reader it holds `encoder.*`, a BertModel, and two heads. `encoder_params` tells
the lengths and the pretrained model, today below an omegaconf `encoder`, in the published
checkpoints as flat keys. Neither the transformer's config nor the tokenizer is in the file: they
come from the pretrained model that it names, or from the folder that --backbone names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dprkit.errors import InputError
from dprkit.interop.folder import CONFIG, built, config_in
from dprkit.interop.foreign_reader import (
    HEADS,
    ForeignReader,
    configured_reader,
    heads_in,
    mapped_heads,
)
from dprkit.interop.hf_dpr import FIXED, below
from dprkit.interop.hub import local
from dprkit.interop.tokenizer import changed, tokenizer_in
from dprkit.interop.torch_files import plain, read_torch_file
from dprkit.interop.tower import Foreign, Tower, configured
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.retriever_folder import hush, write_tokenizer
from dprkit.models.tokens import Files
from dprkit.settings import ConvertSettings

LENGTH = 256
"""Tokens of a question or passage where the file does not say."""


def read(path: Path, settings: ConvertSettings) -> Foreign:
    """Both encoders of a bi-encoder's checkpoint. Raises InputError for a reader's."""
    state = read_torch_file(path)
    weights = _weights(state, path)
    params = _params(state)
    source, backbone, tokenizer = _pretrained(path, params, settings)
    length = int(params.get("sequence_length") or LENGTH)
    usual = {"question_max_length": length, "passage_max_length": length}
    question, passage = (
        _tower(weights, side, path, backbone, tokenizer) for side in ("question_model", "ctx_model")
    )
    mapped = ["question_model.* is the question encoder", "ctx_model.* is the passage encoder"]
    mapped += ["encode_proj is the projection"] if question.head else []
    mapped.append(f"config and tokenizer are those of {source}")
    return Foreign(question, passage, configured(settings, FIXED, usual), mapped)


def is_reader_state(state: dict[str, Any]) -> bool:
    """Whether a checkpoint holds a reader: it has the head of spans."""
    weights = state.get("model_dict")
    return isinstance(weights, dict) and "qa_outputs.weight" in weights


def read_reader(path: Path, settings: ConvertSettings) -> ForeignReader:
    """The reader of a checkpoint. Raises InputError for a bi-encoder's."""
    state = read_torch_file(path)
    if not is_reader_state(state):
        raise InputError(f"{path}: holds no DPR reader (qa_outputs); name the checkpoint of one")
    params = _params(state)
    usual: dict[str, Any] = {"straight_apostrophe": True}
    if params.get("sequence_length"):
        usual["passage_max_length"] = int(params["sequence_length"])
    config = configured_reader(settings, usual)
    weights: dict[str, Tensor] = state["model_dict"]
    source, backbone, tokenizer = _pretrained(path, params, settings)
    bert, idle = built(config_in(backbone), below(weights, "encoder."), path)
    mapped = [
        "encoder.* is the encoder",
        *mapped_heads(config),
        f"config and tokenizer are those of {source}",
    ]
    tower = Tower(bert, tokenizer, path, idle=idle)
    return ForeignReader(tower, heads_in(weights, path), config, mapped)


def _pretrained(
    path: Path, params: dict[str, Any], settings: ConvertSettings
) -> tuple[str, Path, tuple[Any, Files]]:
    """The pretrained model of a checkpoint: its name, its folder, its tokenizer."""
    source = settings.backbone or params.get("pretrained_model_cfg")
    if source and not settings.backbone and (path.parent / source / CONFIG).is_file():
        source = str(path.parent / source)  # as `write_reader` lays it beside the file
    if not source:
        raise InputError(
            f"{path}: does not name its pretrained model; give a folder or hub name with its "
            "config and tokenizer by --backbone"
        )
    backbone = _bert(path, str(source), said=settings.backbone is not None)
    tokenizer = tokenizer_in(backbone)
    return str(source), backbone, lowering(*tokenizer, bool(params.get("do_lower_case", True)))


def _weights(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = state["model_dict"]
    sides = {name.partition(".")[0] for name in weights}
    if "qa_outputs" in sides:
        raise InputError(
            f"{path}: holds a DPR reader; name the checkpoint of a retriever, or read it with "
            "--kind dpr-reader-cp"
        )
    if not {"question_model", "ctx_model"} <= sides:
        raise InputError(
            f"{path}: holds {', '.join(sorted(sides)[:3])}; name a checkpoint of DPR's bi-encoder, "
            "which has question_model and ctx_model"
        )
    return weights


def _params(state: dict[str, Any]) -> dict[str, Any]:
    """`encoder_params` of either era, flat."""
    params: dict[str, Any] = plain(state.get("encoder_params") or {})
    nested = params.get("encoder")
    return params | nested if isinstance(nested, dict) else params


def _bert(path: Path, source: str, said: bool) -> Path:
    try:
        folder = local(source)
        kind = config_in(folder).model_type
    except InputError:
        if said:
            raise
        raise InputError(
            f"{path}: was made from {source}, which is not to be had here; "
            "name a folder with its config and tokenizer by --backbone"
        ) from None
    if kind != "bert":
        raise InputError(f"{path}: DPR's encoders are BERT, but {source} is {kind}")
    return folder


def _tower(
    weights: dict[str, Tensor], side: str, path: Path, folder: Path, tokenizer: tuple[Any, Files]
) -> Tower:
    parts = below(weights, f"{side}.")
    head = below(parts, "encode_proj.") or None
    bert = {k: v for k, v in parts.items() if not k.startswith("encode_proj.")}
    backbone, idle = built(config_in(folder), bert, path)
    return Tower(backbone, tokenizer, path, head, idle)


def lowering(tokenizer: Any, files: Files, wanted: bool) -> tuple[Any, Files]:
    """A BERT tokenizer that lower-cases, or not, as `wanted`: DPR decides it, not the folder."""
    normalizer = tokenizer.normalizer
    if getattr(normalizer, "lowercase", wanted) == wanted:
        return tokenizer, files
    normalizer.lowercase = wanted
    tokenizer.normalizer = normalizer
    return changed(tokenizer, files)


# --- writing --------------------------------------------------------------------------------------

READER_FILE, PRETRAINED = "reader.cp", "bert"


def write_reader(model: ReaderModel, tokens: ReaderTokens, folder: Path, source: str) -> list[str]:
    """A checkpoint for DPR's train_extractive_reader.py, and the pretrained model that it names.

    Raises InputError for a reader that DPR's code would read otherwise.
    """
    backbone: Any = model.backbone
    if backbone.config.model_type != "bert":
        raise InputError(f"{source}: its encoder is {backbone.config.model_type}; DPR's is a BERT")
    if model.config.token_types != "segments":
        raise InputError(
            f"{source}: gives every token the type 0 (zeros), and DPR's code tells question and "
            "passage apart; use --to hf-dpr-reader"
        )
    hush()
    backbone.save_pretrained(folder / PRETRAINED)
    write_tokenizer(folder / PRETRAINED, tokens.loaded, model.config.passage_max_length)
    state = {
        "model_dict": _reader_weights(model),
        "optimizer_dict": None,
        "scheduler_dict": None,
        "offset": 0,
        "epoch": 0,
        "encoder_params": {
            "do_lower_case": getattr(tokens.loaded[0].normalizer, "lowercase", True),
            "pretrained_model_cfg": PRETRAINED,
            "encoder_model_type": "hf_bert",
            "pretrained_file": None,
            "projection_dim": 0,
            "sequence_length": model.config.passage_max_length,
        },
    }
    torch.save(state, folder / READER_FILE)
    return [
        f"the encoder is encoder.* of {READER_FILE}, for DPR's train_extractive_reader.py",
        "start and end are qa_outputs, the relevance is qa_classifier",
        f"its pretrained_model_cfg is {PRETRAINED}/, beside it",
    ]


def _reader_weights(model: ReaderModel) -> dict[str, Tensor]:
    """Under DPR's names, with the pooler that its BertModel has and nothing reads, as zeros."""
    backbone: Any = model.backbone
    width, positions = backbone.config.hidden_size, backbone.config.max_position_embeddings
    weights = {f"encoder.{name}": value for name, value in backbone.state_dict().items()}
    weights["encoder.embeddings.position_ids"] = torch.arange(positions)[None]
    weights["encoder.pooler.dense.weight"] = torch.zeros(width, width)
    weights["encoder.pooler.dense.bias"] = torch.zeros(width)
    for theirs, ours in HEADS.items():
        head = model.heads[ours].state_dict()
        weights |= {f"{theirs}.{part}": value for part, value in head.items()}
    return weights
