"""An encoder run by torch on the CPU or a GPU: token ids in, numpy vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dprkit.errors import SettingsError
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.config import Side
from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.late_interaction import Colbert
from dprkit.models.token_vectors import TokenVectors
from dprkit.models.tokens import Ids

_TYPES = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def cast_of(precision: str) -> torch.dtype | None:
    """The type that products are cast to; None: they stay as they are. Raises SettingsError."""
    if precision not in _TYPES:
        raise SettingsError(f"precision: {precision!r} is none of {', '.join(_TYPES)}")
    return _TYPES[precision]


class TorchEncoder:
    """One encoder. `dim` is the width D of its vectors."""

    def __init__(self, encoder: Encoder, precision: str = "fp32") -> None:
        """`precision`: fp32, bf16 or fp16, the numbers of the encoder's products."""
        self.encoder, self.half = encoder, cast_of(precision)
        self.dim = encoder.dim
        self.device = next(encoder.parameters()).device.type

    def encode(self, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts, in their order."""
        with inference(self.device, self.half):
            vectors = self.encoder.encode(ids, batch_tokens or PASS_TOKENS[self.device])
        return vectors.float().cpu().numpy()


def encoders_of(model: BiEncoder, precision: str = "fp32") -> Callable[[Side], TorchEncoder]:
    """What gives the encoder of a side."""
    encoders = {"question": model.question_encoder, "passage": model.passage_encoder}
    return lambda side: TorchEncoder(encoders[side], precision)


def token_vectors(
    model: Colbert, side: Side, ids: Ids, batch_tokens: int | None = None, precision: str = "fp32"
) -> TokenVectors:
    """The token vectors (T, D), float32, of N texts, in their order, by a ColBERT model."""
    device = next(model.parameters()).device.type
    with inference(device, cast_of(precision)):
        rows = model.encode(side, ids, batch_tokens or PASS_TOKENS[device])
    return TokenVectors(rows.values.float().cpu().numpy(), rows.bounds.numpy())


@contextmanager
def inference(device: str, half: torch.dtype | None) -> Iterator[None]:
    """Without gradient, products in numbers of 16 bits where `half` names them."""
    with torch.inference_mode(), torch.autocast(device, half, half is not None):
        yield
