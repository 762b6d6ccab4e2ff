"""The retriever as a library user holds it: texts in, numpy arrays out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.checkpoints import load_bi_encoder
from dprkit.models.encoders import Encoders, Side
from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.tokens import Ids, Tokens

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Retriever(Encoders):
    """A question encoder and a passage encoder with one similarity, by torch."""

    def __init__(self, model: BiEncoder, tokens: Tokens, precision: str = "fp32") -> None:
        """`precision`: fp32, bf16 or fp16, the numbers of the encoders' products."""
        super().__init__(tokens)
        self.model, self.precision = model, precision
        self.device = next(model.parameters()).device.type
        self.batch_tokens = PASS_TOKENS[self.device]

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        return self.model.passage_encoder.dim

    def vectors(self, side: Side, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts given as token ids, in their order."""
        model = self.model
        encoder = model.question_encoder if side == "question" else model.passage_encoder
        half = _PRECISIONS.get(self.precision)
        with torch.inference_mode(), torch.autocast(self.device, half, half is not None):
            vectors = encoder.encode(ids, batch_tokens or self.batch_tokens)
        return vectors.float().cpu().numpy()


def load_retriever(path: Path | str, precision: str = "fp32") -> Retriever:
    """The retriever in a folder that `dprkit train` made."""
    return Retriever(*load_bi_encoder(path), precision)
