"""Hugging Face's DPRReader: a BERT below `span_predictor.encoder.bert_model.`, and two heads.

It gives every token the type 0, where DPR's own code tells the question from the passage. So a
folder that was made of DPR's checkpoint may read better with --token-types segments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dprkit.errors import InputError
from dprkit.interop.folder import CONFIG, built, json_in, read_weights
from dprkit.interop.foreign_reader import (
    HEADS,
    ForeignReader,
    configured_reader,
    heads_in,
    mapped_heads,
)
from dprkit.interop.hf_dpr import OWN, below, bert_config
from dprkit.interop.tokenizer import tokenizer_in
from dprkit.interop.tower import Tower
from dprkit.models.probe_texts import PROBE_PASSAGES, PROBE_QUESTIONS
from dprkit.models.reader import RELEVANCE, ReaderModel
from dprkit.models.reader_probes import probe_logits
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.retriever_folder import hush, write_tokenizer
from dprkit.settings import ConvertSettings

CLASS = "DPRReader"
PREFIX = "span_predictor."
BERT = f"{PREFIX}encoder.bert_model."
COUNT = 6
"""Probe texts that are read by both libraries."""


APOSTROPHE = "’ is read as ', as DPR does and transformers' class does not"


def is_dpr_reader(folder: Path) -> bool:
    """Whether config.json names transformers' DPRReader."""
    return CLASS in (json_in(folder, CONFIG).get("architectures") or [])


def read(folder: Path, settings: ConvertSettings) -> ForeignReader:
    """The reader of a folder."""
    config = configured_reader(settings, {"token_types": "zeros", "straight_apostrophe": True})
    weights = read_weights(folder)
    if not any(name.startswith(BERT) for name in weights):
        raise InputError(f"{folder}: its weights are those of no DPR reader ({BERT}*)")
    heads = heads_in(below(weights, PREFIX), folder)
    if strange := [name for name in weights if not name.startswith((BERT, *_heads()))]:
        raise InputError(f"{folder}: its weights have {strange[0]}, which is not read")
    backbone, idle = built(bert_config(folder), below(weights, BERT), folder)
    mapped = [
        f"{BERT}* is the encoder",
        *mapped_heads(config),
        *([f"in a question {APOSTROPHE}"] if config.straight_apostrophe else []),
    ]
    return ForeignReader(
        Tower(backbone, tokenizer_in(folder), folder, idle=idle), heads, config, mapped
    )


def _heads() -> list[str]:
    return [f"{PREFIX}{head}." for head in HEADS]


def write(model: ReaderModel, tokens: ReaderTokens, folder: Path, source: str) -> list[str]:
    """A folder for transformers' DPRReader. Raises InputError for a reader that it cannot hold."""
    from transformers import DPRConfig, DPRReader

    backbone: Any = model.backbone
    if reason := _no_dpr(model):
        raise InputError(f"{source}: {reason}")
    hush()
    config = {name: value for name, value in backbone.config.to_dict().items() if name not in OWN}
    made = DPRReader(DPRConfig(**config, projection_dim=0))
    weights = {f"{BERT}{name}": value for name, value in backbone.state_dict().items()}
    for theirs, ours in HEADS.items():
        head = model.heads[ours].state_dict()
        weights |= {f"{PREFIX}{theirs}.{part}": value for part, value in head.items()}
    made.load_state_dict(weights)
    made.save_pretrained(folder)
    write_tokenizer(folder, tokens.loaded, tokens.config.passage_max_length)
    told = [
        f"the encoder is {BERT}*",
        "start and end are qa_outputs, the relevance is qa_classifier",
    ]
    if tokens.config.straight_apostrophe:
        told.append(f"in a question {APOSTROPHE}: put ' there before you ask it")
    return told


def _no_dpr(model: ReaderModel) -> str:
    """Why DPRReader cannot hold a reader, or `""`."""
    kind = str(model.backbone.config.model_type)  # type: ignore[union-attr]
    if kind != "bert":
        return f"its encoder is {kind}, and DPRReader holds a BERT"
    if model.config.token_types != "zeros":
        return (
            "it tells question and passage apart by token types (segments), which DPRReader does "
            "not read; use --to dpr-reader-cp, or train one with --token-types zeros"
        )
    return ""


# --- the comparison -------------------------------------------------------------------------------


def difference(folder: Path, model: ReaderModel, tokens: ReaderTokens) -> float:
    """The largest difference of a logit from those of transformers' own classes, on a few texts."""
    from transformers import DPRReader, DPRReaderTokenizerFast

    questions, passages = PROBE_QUESTIONS[:COUNT], PROBE_PASSAGES[:COUNT]
    how: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    theirs: Any = DPRReader.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, **how
    )
    given = DPRReaderTokenizerFast.from_pretrained(folder, **how)(
        list(questions),
        titles=[passage.title for passage in passages],
        texts=[passage.text for passage in passages],
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        found = theirs.eval()(given["input_ids"], given["attention_mask"])
    real = given["attention_mask"].bool()
    wanted = torch.stack([found.start_logits[real], found.end_logits[real]], -1).numpy()
    relevance = found.relevance_logits.numpy()
    ours = probe_logits(model, tokens, questions, passages)
    if ours[:, :2].shape != wanted.shape:
        return float("inf")
    firsts = np.cumsum([0, *real.sum(1).tolist()])[:-1]
    apart = np.abs(ours[:, :2] - wanted).max(), np.abs(ours[firsts, RELEVANCE] - relevance).max()
    return float(max(apart))
