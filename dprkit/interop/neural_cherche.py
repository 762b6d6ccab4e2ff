"""neural-cherche folders: a Hugging Face model, linear.pt (the projection) and metadata.json.

There are two eras. Until 1.0 a question was filled up with [MASK] and all its vectors counted, 32
and 350 tokens were read, and metadata.json held these lengths alone. Since 1.1 nothing is filled
up, 64 and 256 tokens are read, and metadata.json also holds the prefixes, which are text. In both,
padding of passages takes part: as vectors of its own, later as zeros, so that a word of a question
never counts less than 0. Here padding never counts.

linear.pt is a file of torch.save, read without running what is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from dprkit.errors import InputError
from dprkit.interop.colbert import ForeignColbert, checked_projection, configured_colbert
from dprkit.interop.folder import read_json, tower_in
from dprkit.interop.torch_files import read_torch_file
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens
from dprkit.models.retriever_folder import save_tokenizer
from dprkit.settings import ConvertSettings
from dprkit.settings.fields import Length

LINEAR, METADATA = "linear.pt", "metadata.json"
PREFIXES = {"question_prefix": "[Q] ", "passage_prefix": "[D] "}
FIRST_ERA = {"question_max_length": 32, "passage_max_length": 350, "expansion": "fixed", **PREFIXES}
LATER = {"question_max_length": 64, "passage_max_length": 256, "expansion": "none", **PREFIXES}


class Metadata(msgspec.Struct):
    """metadata.json; without a prefix it is of the first era."""

    max_length_query: Length | None = None
    max_length_document: Length | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    add_special_tokens: bool = True
    truncation: bool = True

    @property
    def first_era(self) -> bool:
        """Whether questions are filled up with [MASK]."""
        return self.max_length_query is not None and self.query_prefix is None


def is_neural_cherche(folder: Path) -> bool:
    return (folder / LINEAR).is_file()


def read_metadata(folder: Path) -> Metadata:
    """Lengths and prefixes. Raises InputError for a model that reads texts in another way."""
    path = folder / METADATA
    said: Metadata = read_json(path, Metadata) if path.is_file() else Metadata()
    if not said.add_special_tokens:
        raise InputError(f"{path}: add_special_tokens false is not supported; name another model")
    return said


def read(folder: Path, settings: ConvertSettings) -> ForeignColbert:
    """The model of a folder; the size of its vectors is that of linear.pt."""
    metadata = read_metadata(folder)
    tower = tower_in(folder)
    path = folder / LINEAR
    projection = checked_projection(read_torch_file(path).get("weight"), tower, path)
    said = {
        "question_max_length": metadata.max_length_query,
        "passage_max_length": metadata.max_length_document,
        "question_prefix": metadata.query_prefix,
        "passage_prefix": metadata.document_prefix,
    }
    fixed: dict[str, Any] = {"skip": (), "title_join": " "}
    era = FIRST_ERA if metadata.first_era else LATER
    config, assumed = configured_colbert(settings, fixed | said, era)
    mapped = [f"{LINEAR} is the projection", "padding of passages does not count"]
    return ForeignColbert(tower, projection, config, [*mapped, *assumed])


def write(model: Colbert, tokens: LateTokens, folder: Path, source: str) -> list[str]:
    """A folder that neural-cherche's ColBERT loads, from 1.1 on.

    Raises InputError, with the reason, for a model that it cannot hold.
    """
    if reason := _no_neural_cherche(model):
        raise InputError(f"{source}: {reason}, which neural-cherche cannot hold; try another --to")
    backbone: Any = model.backbone
    backbone.save_pretrained(folder)
    save_tokenizer(folder, tokens, "question")
    torch.save({"weight": model.projection.weight.detach().cpu()}, folder / LINEAR)
    config = model.config
    metadata = {
        "max_length_query": config.question_max_length,
        "max_length_document": config.passage_max_length,
        "query_prefix": config.question_prefix,
        "document_prefix": config.passage_prefix,
        "padding": "max_length",
        "truncation": True,
        "add_special_tokens": True,
    }
    (folder / METADATA).write_bytes(msgspec.json.encode(metadata))
    return [
        f"the projection is {LINEAR}",
        "neural-cherche lets padding of passages count as 0",
        f"titles join by {config.title_join!r}, which the library leaves to its user",
    ]


def _no_neural_cherche(model: Colbert) -> str:
    """Why neural-cherche cannot hold a model, or `""`."""
    config = model.config
    if config.expansion != "none":
        return "its questions are filled up with [MASK]"
    if config.question_marker or config.passage_marker:
        return "its markers are tokens, not text"
    if config.skip:
        return "it skips tokens of passages"
    return ""
