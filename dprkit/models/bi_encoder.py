"""The bi-encoder: two encoders that put questions and passages into one vector space.

Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", section 3:
the vector of a text is its encoder's state at the first token, the score of a question and a
passage the dot product of their vectors. Other poolings, a projection or more layers behind it,
and cosine are choices.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from dprkit.models import linear, packing
from dprkit.models.config import RetrieverConfig
from dprkit.models.forward_batches import chunks, padded
from dprkit.models.head_modules import chain
from dprkit.models.heads import width_behind
from dprkit.models.pack import Pack
from dprkit.models.pooling import pooled
from dprkit.models.rows import RowModel, Rows
from dprkit.models.tokens import Ids


def device() -> torch.device:
    """Where models run: the first GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Encoder(nn.Module):
    """A transformer with pooling and a head, if any: token ids -> one vector a text.

    `projection` is the head: one linear layer, or the chain of `config.heads`.

    `packed` says whether texts go through without padding (dprkit.models.packing); it may be set
    to False, as for torch.compile, which wants few shapes.
    """

    def __init__(self, backbone: nn.Module, config: RetrieverConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling, self.heads = config.pooling, config.heads
        self.unit_length = config.similarity == "cosine"
        self.truncate_dim = config.truncate_dim
        self.dropout = nn.Dropout(dropout)
        width = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.projection: nn.Module | None = None
        if config.projection:
            self.projection = nn.Linear(width, config.projection)
        elif config.heads:
            self.projection = chain(config.heads, width)
        self.width = config.projection or width_behind(config.heads, width)
        """The width of the vectors before they are cut."""
        linear.enable(backbone)
        self.packed = packing.enable(backbone)

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        return self.truncate_dim or self.width

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors (N, D) of texts given as (N, L) ids and a (N, L) mask of their tokens."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        return self._head(pooled(self.pooling, states.last_hidden_state, attention_mask))

    def _head(self, vectors: Tensor) -> Tensor:
        vectors = self.dropout(vectors)
        vectors = vectors if self.projection is None else self.projection(vectors)
        vectors = vectors[..., : self.truncate_dim] if self.truncate_dim else vectors
        return nn.functional.normalize(vectors, dim=-1) if self.unit_length else vectors

    def vectors(self, ids: Ids) -> Tensor:
        """The vectors (N, D) of N texts in one forward pass, with gradient where it is enabled.

        From the same random state a repeated call gives the same dropout and the same bits.
        """
        place = next(self.parameters()).device
        if not ids:
            return torch.empty(0, self.dim, device=place)
        if not (self.packed and packing.suits(self.backbone, ids, place)):
            return cast(Tensor, self(*self.padded(ids, place)))
        pack = Pack(ids, packing.first_position(self.backbone), place)
        parts = packing.states(self.backbone, pack)  # (n, L, H) each
        return self._head(pack.as_given([pooled(self.pooling, part) for part in parts]))

    def encode(self, ids: Ids, batch_tokens: int) -> Tensor:
        """The vectors (N, D) of N texts, in their order, with gradient where it is enabled.

        Texts go through in passes of at most `batch_tokens` tokens, longest first, so that the
        activations stay in the processor's cache.
        """
        passes = chunks([len(i) for i in ids], batch_tokens, padded=not self.packed) or [[]]
        vectors = torch.cat([self.vectors([ids[i] for i in part]) for part in passes])
        order = torch.tensor([i for part in passes for i in part], dtype=torch.long)
        return vectors[order.argsort().to(vectors.device)]

    def padded(self, ids: Ids, place: torch.device) -> tuple[Tensor, Tensor]:
        """(N, L) ids and mask; padding is masked."""
        config: Any = self.backbone.config
        rows, mask = padded(ids, config.pad_token_id or 0)
        return torch.from_numpy(rows).to(place), torch.from_numpy(mask).to(place)


class BiEncoder(RowModel):
    """The two encoders of a retriever; with `config.shared` they have one transformer.

    `frozen`: the passages' encoder does not learn, and has no dropout in training either.
    """

    def __init__(
        self, question: Encoder, passage: Encoder, config: RetrieverConfig, frozen: bool = False
    ) -> None:
        super().__init__()
        self.question_encoder = question
        self.passage_encoder = passage
        self.config = config
        self.frozen = frozen
        if frozen:
            passage.requires_grad_(False)

    def train(self, mode: bool = True) -> BiEncoder:
        """As of every module."""
        super().train(mode)
        if self.frozen:
            self.passage_encoder.eval()
        return self

    def learns(self, side: int) -> bool:
        """Whether the rows of a side have a gradient."""
        return not (side and self.frozen)

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        return self.passage_encoder.dim

    @property
    def padded(self) -> bool:
        """Whether texts are padded, as where the transformer cannot be packed."""
        return not self.passage_encoder.packed

    def rows(self, side: int, ids: Ids) -> Rows:
        """The vectors of N questions (side 0) or passages (side 1), a row each."""
        encoder = self.passage_encoder if side else self.question_encoder
        return Rows.single(encoder.vectors(ids))
