"""Stanford ColBERT's folders: one file of weights with `linear.weight`, and artifact.metadata.

The model is a Hugging Face model of the class HF_ColBERT: a transformer below its prefix ("bert.")
and the projection beside it. Its markers are the tokens [unused0] and [unused1] behind [CLS].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import InputError
from dprkit.interop.colbert import (
    PUNCTUATION,
    ForeignColbert,
    checked_projection,
    configured_colbert,
)
from dprkit.interop.folder import (
    CONFIG,
    SAFETENSORS,
    built,
    config_in,
    json_in,
    read_json,
    read_weights,
)
from dprkit.interop.tokenizer import tokenizer_in
from dprkit.interop.tower import Tower
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens, special_token
from dprkit.models.retriever_folder import save_tokenizer
from dprkit.settings import ConvertSettings
from dprkit.settings.fields import Length

METADATA = "artifact.metadata"
ARCHITECTURE = "HF_ColBERT"
LINEAR = "linear.weight"
USUAL = {
    "question_max_length": 32,
    "passage_max_length": 220,
    "question_marker": "[unused0]",
    "passage_marker": "[unused1]",
    "attend_to_expansion": False,
    "skip": PUNCTUATION,
}
"""What Stanford's code takes where artifact.metadata does not say."""


class Metadata(msgspec.Struct):
    """What artifact.metadata says of the use of a model; it holds the settings of training too."""

    dim: int | None = None
    query_maxlen: Length | None = None
    doc_maxlen: Length | None = None
    query_token_id: str | None = None
    doc_token_id: str | None = None
    mask_punctuation: bool | None = None
    attend_to_mask_tokens: bool | None = None
    similarity: str = "cosine"
    interaction: str = "colbert"


def is_stanford_colbert(folder: Path) -> bool:
    architectures = json_in(folder, CONFIG).get("architectures") or []
    return ARCHITECTURE in architectures or (folder / METADATA).is_file()


def read(folder: Path, settings: ConvertSettings) -> ForeignColbert:
    """The model of a folder, whether its weights are safetensors or an older file."""
    metadata = _metadata(folder)
    config = config_in(folder)
    weights = read_weights(folder)
    linear = weights.pop(LINEAR, None)
    if linear is None:
        raise InputError(f"{folder}: its weights have no {LINEAR}; name a ColBERT checkpoint")
    backbone, idle = built(config, weights, folder)
    tower = Tower(backbone, tokenizer_in(folder), folder, idle=idle)
    projection = checked_projection(linear, tower, folder)
    if metadata.dim not in (None, len(projection)):
        raise InputError(
            f"{folder}: {METADATA} says dim {metadata.dim}; {LINEAR} makes {len(projection)}"
        )
    said = {
        "question_max_length": metadata.query_maxlen,
        "passage_max_length": metadata.doc_maxlen,
        "attend_to_expansion": metadata.attend_to_mask_tokens,
        "skip": {None: None, True: PUNCTUATION, False: ()}[metadata.mask_punctuation],
    }
    markers = {"question_marker": metadata.query_token_id, "passage_marker": metadata.doc_token_id}
    unknown = _unknown_markers(markers, tower)
    fixed = {"expansion": "fixed", "title_join": " "}
    use, assumed = configured_colbert(settings, fixed | said | markers | unknown, USUAL)
    mapped = [f"{LINEAR} is the projection", *assumed]
    mapped += [
        f"{name.replace('_', ' ')}: {unknown[name]}, which Stanford's code takes for "
        f"{markers[name] or USUAL[name]}; --{name.replace('_', '-')} changes it"
        for name in unknown
        if getattr(settings, name) is None
    ]
    return ForeignColbert(tower, projection, use, mapped)


def _unknown_markers(markers: dict[str, str | None], tower: Tower) -> dict[str, str]:
    """The unknown token for each marker that the vocabulary lacks, as in Stanford's code."""
    tokenizer, files = tower.tokenizer
    unknown = special_token(files, "unk_token")
    lacking = [n for n, m in markers.items() if tokenizer.token_to_id(m or str(USUAL[n])) is None]
    return dict.fromkeys(lacking, unknown) if unknown else {}


def _metadata(folder: Path) -> Metadata:
    path = folder / METADATA
    said: Metadata = read_json(path, Metadata) if path.is_file() else Metadata()
    for name, usual in (("similarity", "cosine"), ("interaction", "colbert")):
        if (value := getattr(said, name)) != usual:
            raise InputError(f"{path}: {name} {value!r} is not supported; only {usual!r} is")
    return said


def write(model: Colbert, tokens: LateTokens, folder: Path, source: str) -> list[str]:
    """A folder that Stanford's code, PyLate and sentence-transformers load.

    Raises InputError, with the reason, for a model that it cannot hold.
    """
    from safetensors.torch import save_file

    if reason := _no_stanford(model):
        raise InputError(f"{source}: {reason}, which Stanford's code cannot hold; try another --to")
    backbone: Any = model.backbone
    backbone.config.save_pretrained(folder)
    saved = json_in(folder, CONFIG) | {"architectures": [ARCHITECTURE]}
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n")
    prefix = backbone.base_model_prefix
    weights = {f"{prefix}.{name}": value for name, value in backbone.state_dict().items()}
    weights[LINEAR] = model.projection.weight.detach()
    save_file(
        {k: v.contiguous() for k, v in weights.items()}, folder / SAFETENSORS, {"format": "pt"}
    )
    save_tokenizer(folder, tokens, "question")
    config = model.config
    metadata = {
        "dim": model.dim,
        "query_maxlen": config.question_max_length,
        "doc_maxlen": config.passage_max_length,
        "query_token_id": config.question_marker,
        "doc_token_id": config.passage_marker,
        "mask_punctuation": bool(config.skip),
        "attend_to_mask_tokens": config.attend_to_expansion,
        "similarity": "cosine",
    }
    (folder / METADATA).write_bytes(msgspec.json.format(msgspec.json.encode(metadata), indent=4))
    join = f"titles join by {config.title_join!r}, which the library leaves to its user"
    return [f"the projection is {LINEAR} in {SAFETENSORS}", join]


def _no_stanford(model: Colbert) -> str:
    """Why Stanford's code cannot hold a model, or `""`."""
    config = model.config
    if config.expansion != "fixed":
        return "its questions are not filled up to one length"
    if not (config.question_marker and config.passage_marker):
        return "it has no markers of one token"
    if config.question_prefix or config.passage_prefix:
        return "it puts text before texts"
    if set(config.skip) not in (set(), set(PUNCTUATION)):
        return "it skips other tokens than punctuation"
    return ""
