"""A ColBERT model's token vectors against those of the library that its source comes from.

sentence-transformers 6 reads its own folders, PyLate's and Stanford's. neural-cherche does not run
with transformers 5: what it computes is computed here by transformers, in one padded batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from dprkit.interop import neural_cherche
from dprkit.interop.colbert import USES
from dprkit.interop.sentence_transformer_files import DOCUMENT, QUERY, opened
from dprkit.interop.sources import Sources
from dprkit.interop.torch_files import read_torch_file
from dprkit.models.config import ColbertConfig, Side
from dprkit.models.late_interaction import Colbert
from dprkit.models.tokens import Ids, transformers_tokenizer

Vectors = Callable[[Sequence[Any]], Sequence[np.ndarray]]
"""The vectors (L, D) of each of some texts, by a library."""
LENGTHS = {"question_max_length", "passage_max_length", "title_join"}
"""Flags that a library can be told too, or that are about what it is given."""


def flags_of_use(given: Mapping[str, Any]) -> list[str]:
    """The flags, among the settings `given`, that give a model another use than its source says."""
    names = sorted((USES - LENGTHS) & {name for name, value in given.items() if value is not None})
    return [f"--{name.replace('_', '-')}" for name in names]


def token_vectors(model: Colbert, side: Side, ids: Ids) -> list[np.ndarray]:
    """The vectors (L, D) of the tokens that count, of each of N texts."""
    with torch.no_grad():
        rows = model.encode(side, ids, 2048)
    values, bounds = rows.values.cpu().numpy(), rows.bounds.tolist()
    return [values[begin:end] for begin, end in pairwise(bounds)]


def multi_vector(sources: Sources, side: Side, config: ColbertConfig, _: Any) -> Vectors:
    """What sentence-transformers' MultiVectorEncoder makes, without its token pooling."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

    library = opened(MultiVectorEncoder, sources.of(side))
    _check_marker(library, side, config)
    if isinstance(library[-1], BaseTokenPooling):
        del library[-1]
    transformer: Any = library[0]
    transformer.document_length = config.passage_max_length
    if expansion := transformer.query_expansion:
        transformer.query_length = None
        length = config.question_max_length if expansion["strategy"] == "fixed" else None
        transformer.query_expansion = expansion | ({"length": length} if length else {})
    if not expansion or expansion["strategy"] == "min":
        transformer.query_length = config.question_max_length
    encode = library.encode_query if side == "question" else library.encode_document
    return lambda texts: encode(list(texts), show_progress_bar=False, convert_to_numpy=True)


def _check_marker(library: Any, side: Side, config: ColbertConfig) -> None:
    """Raises ValueError where a marker's prompt does not become one token, by the library.

    So it is of Stanford's models with a vocabulary that lacks [unused0], or has spaces in tokens.
    """
    marker, prefix = getattr(config, f"{side}_marker"), getattr(config, f"{side}_prefix")
    prompt = library.prompts.get(QUERY if side == "question" else DOCUMENT) or ""
    plain, marked = (library.tokenizer(text + "a")["input_ids"] for text in (prefix, prompt))
    if marker and marked[2:] != plain[1:]:
        raise ValueError(f"it takes the marker {marker} for other tokens")


def by_transformers(sources: Sources, side: Side, config: ColbertConfig, _: Any) -> Vectors:
    """What neural-cherche makes of a folder, without the vectors of padding."""
    from transformers import AutoModelForMaskedLM

    folder = sources.of(side)
    tokenizer, said = transformers_tokenizer(folder), neural_cherche.read_metadata(folder)
    how: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    auto: Any = AutoModelForMaskedLM
    model = auto.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, **how
    ).eval()
    weight = read_torch_file(folder / neural_cherche.LINEAR)["weight"].float()
    filled = side == "question" and said.first_era
    if filled:
        tokenizer.pad_token = tokenizer.mask_token
    length, prefix = getattr(config, f"{side}_max_length"), getattr(config, f"{side}_prefix")

    @torch.no_grad()
    def vectors(texts: Sequence[str]) -> list[np.ndarray]:
        batch = tokenizer(
            [prefix + text for text in texts],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        states = model(**batch, output_hidden_states=True).hidden_states[-1]
        unit = torch.nn.functional.normalize(states @ weight.T, dim=2)
        counts = [length] * len(texts) if filled else batch["attention_mask"].sum(1).tolist()
        return [np.asarray(one[:count]) for one, count in zip(unit, counts, strict=True)]

    return vectors


READERS = {
    "multi-vector": multi_vector,
    "pylate": multi_vector,
    "stanford-colbert": multi_vector,
    "neural-cherche": by_transformers,
}
"""Who computes the vectors of each kind of source."""
