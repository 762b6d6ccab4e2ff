"""Whitening: the vectors of a trained bi-encoder, spread more evenly over all directions.

The vectors of a transformer crowd into few directions, which say little of any one text and yet
weigh most in a score. A linear layer on each side takes a part of that back: along each principal
component of the corpus' vectors, they are divided by a power of how much lies along it. It needs
no labels. Su et al. 2021, "Whitening Sentence Representations for Better Semantics and Faster
Retrieval", divide by the whole spread (a strength of .5); less of it ranks better (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from dprkit.data.corpus_by_row import PassageFile
from dprkit.errors import InputError
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.config import RetrieverConfig
from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.heads import Dense
from dprkit.models.tokens import Tokens
from dprkit.records import Passage

SAMPLE = 2048
"""Passages from all over the corpus that tell how its vectors lie."""
LEAST = 0.01
"""Of the mean square along a direction: directions in which less lies are not drawn out more."""


def sample_of(corpus: PassageFile) -> list[Passage]:
    """SAMPLE passages from all over a corpus. Raises InputError for one of a single passage."""
    if len(corpus) < 2:
        raise InputError(f"{corpus.path}: holds one passage; --whiten needs more of them")
    return corpus.spread(SAMPLE)


@torch.no_grad()
def whitened(
    model: BiEncoder, tokens: Tokens, passages: Sequence[Passage], strength: float
) -> BiEncoder:
    """The model with a linear layer more on each side, the same on both.

    A projection takes it in; a model that cuts its vectors gives as many numbers as before.
    """
    encoder = model.passage_encoder.eval()
    most = PASS_TOKENS[next(encoder.parameters()).device.type]
    vectors = encoder.encode(tokens.passages(passages), most).double().cpu()
    weight = torch.zeros(encoder.dim, encoder.width)
    weight[:, : encoder.dim] = whitening(vectors.T @ vectors / len(vectors), strength)
    config = _with_a_layer(model.config, encoder)
    question = _turned(model.question_encoder, config, weight)
    passage = question
    if encoder is not model.question_encoder:
        passage = _turned(encoder, config, weight)
    return BiEncoder(question, passage, config).eval()


def whitening(moment: Tensor, strength: float) -> Tensor:
    """The matrix (D, D) that divides by the spread of a second moment (D, D), float64.

    Along each principal component of square l it multiplies by l^-strength, and by one factor
    everywhere that leaves the mean square length of the vectors as it was.
    """
    values, axes = torch.linalg.eigh(moment)
    factors = values.clamp_min(LEAST * float(values.mean())) ** -strength
    factors *= (values.sum() / (values * factors**2).sum()) ** 0.5
    matrix: Tensor = (axes * factors) @ axes.T
    return matrix


def _with_a_layer(config: RetrieverConfig, encoder: Encoder) -> RetrieverConfig:
    values: dict[str, Any] = {"projection": encoder.dim}
    if config.heads:
        values = {"heads": (*config.heads, Dense(encoder.dim, bias=False))}
    return msgspec.structs.replace(config, **values, truncate_dim=None)


def _turned(encoder: Encoder, config: RetrieverConfig, weight: Tensor) -> Encoder:
    """The encoder with `weight` (D, H) behind all that it has."""
    turned = Encoder(encoder.backbone, config, encoder.dropout.p)
    before, after = encoder.projection, turned.projection
    weight = weight.to(next(encoder.parameters()).device)
    if isinstance(after, nn.Sequential):
        known = dict(before.state_dict()) if before is not None else {}
        after.load_state_dict(known | {f"{len(after) - 1}.linear.weight": weight})
    elif isinstance(after, nn.Linear) and isinstance(before, nn.Linear):
        after.load_state_dict({"weight": weight @ before.weight, "bias": weight @ before.bias})
    elif isinstance(after, nn.Linear):
        after.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})
    return turned.to(weight.device)
