"""The first weights of a projection behind a trained transformer.

What the transformer gives already tells texts apart. A projection on its principal components
keeps most of that, so training does not have to find it again; and the first numbers of a vector
keep more than others, so it can be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from dprkit.data.examples_by_row import ExampleFile
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.tokens import Tokens
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.training.resolved_settings import ResolvedSettings

SAMPLE = 512
"""Passages that the projection is made from."""


def takes_components(
    settings: ResolvedSettings, projection: nn.Linear, files: Sequence[ExampleFile], run: Run
) -> bool:
    """Whether the projection can be made from passages; says why it is random where it is."""
    if settings.projection_init == "random":
        return False
    width, size = projection.in_features, projection.out_features
    why = ""
    if not files:
        why = "there are no training passages; name some with --train-file"
    elif width < size:
        flag = "embedding-size" if settings.kind == "colbert" else "projection"
        why = f"the model has {width} numbers, fewer than the {size} of --{flag}"
    if why:
        run.progress.warn(f"the projection starts with random numbers: {why}")
    return not why


def sample(files: Sequence[ExampleFile], seed: int) -> list[Passage]:
    """SAMPLE positives of random rows of the training files, without copies."""
    bounds = np.cumsum([0, *map(len, files)])
    count = int(bounds[-1])
    rows = np.random.default_rng([seed, 3]).permutation(count)[:SAMPLE]
    chosen: dict[tuple[str, str], Passage] = {}
    for row in np.sort(rows).tolist():
        file = int(np.searchsorted(bounds, row, side="right")) - 1
        passage = files[file][row - int(bounds[file])].positives[0]
        chosen.setdefault((passage.title, passage.text), passage)
    return list(chosen.values())


@torch.no_grad()
def project_vectors(model: BiEncoder, tokens: Tokens, passages: Sequence[Passage]) -> str:
    """Let the projections be on the principal components of the passages' vectors without them.

    Both sides get the same, so that scores stay what they were where nothing is left out. Returns
    a sentence about it.
    """
    encoder = model.passage_encoder
    plain = msgspec.structs.replace(
        model.config, projection=None, separate_heads=False, truncate_dim=None
    )
    bare = Encoder(encoder.backbone, plain).eval()
    most = PASS_TOKENS[next(bare.parameters()).device.type]
    vectors = bare.encode(tokens.passages(passages), most).double().cpu()
    moment = vectors.T @ vectors / max(1, len(vectors))
    layers = [projection_of(one) for one in (model.question_encoder, encoder)]
    return project_on_components(layers, moment, f"the vectors of {len(passages)} passages")


def projection_of(encoder: Encoder) -> nn.Linear:
    """The one linear layer behind pooling."""
    return cast(nn.Linear, encoder.projection)


@torch.no_grad()
def project_on_components(layers: Sequence[nn.Linear], moment: Tensor, of: str) -> str:
    """Let layers of one size be on the components of a second moment (H, H), and say so.

    They are about 0 and not about the mean: a mean that all vectors share counts in their scores.
    """
    size = layers[0].out_features
    weight, kept = components(moment, size)
    for layer in layers:
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.zero_()
    return (
        f"the projection starts as the {size} principal components of {of} ({kept:.1%} of their "
        "squares)"
    )


def components(moment: Tensor, size: int) -> tuple[Tensor, float]:
    """The first `size` principal components (D, H) of a second moment (H, H), and their share."""
    values, vectors = torch.linalg.eigh(moment)
    first = vectors.flip(1)[:, :size].T.contiguous()
    # An eigenvector has no sign of its own; its largest number is to be positive.
    largest = first.gather(1, first.abs().argmax(1, keepdim=True))
    return first * largest.sign(), float(values.flip(0)[:size].sum() / values.sum())
