"""The bi-encoder: two encoders that put questions and passages into one vector space.

Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", section 3:
the vector of a text is its encoder's state at the first token, the score of a question and a
passage the dot product of their vectors. Mean pooling, a projection and cosine are choices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dprkit.models.config import RetrieverConfig
from dprkit.models.tokens import Ids


def device() -> torch.device:
    """Where models run: the first GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Encoder(nn.Module):
    """A transformer with pooling and an optional projection: token ids -> one vector a text."""

    def __init__(self, backbone: nn.Module, config: RetrieverConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = config.pooling
        self.unit_length = config.similarity == "cosine"
        self.dropout = nn.Dropout(dropout)
        width = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.projection = nn.Linear(width, config.projection) if config.projection else None

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        config: Any = self.backbone.config
        return self.projection.out_features if self.projection else int(config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors (N, D) of texts given as (N, L) ids and a (N, L) mask of their tokens."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        hidden = states.last_hidden_state  # (N, L, H)
        pooled = self.dropout(self._pool(hidden, attention_mask))  # (N, H)
        vectors = pooled if self.projection is None else self.projection(pooled)
        return nn.functional.normalize(vectors, dim=-1) if self.unit_length else vectors

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)  # (N, L, 1)
        return (hidden * weights).sum(1) / weights.sum(1)

    def encode(self, ids: Ids, batch_tokens: int) -> Tensor:
        """The vectors (N, D) of N texts, in their order, with gradient where it is enabled.

        Texts go through in batches of about `batch_tokens` tokens, longest first, so that little
        is padding and the activations stay in the processor's cache.
        """
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        parts = [
            self(*self._padded([ids[i] for i in batch]))
            for batch in _batches(order, [len(i) for i in ids], batch_tokens)
        ]
        back = torch.empty(len(ids), dtype=torch.long)
        back[torch.tensor(order, dtype=torch.long)] = torch.arange(len(ids))
        return torch.cat(parts)[back] if parts else torch.empty(0, self.dim)

    def _padded(self, ids: Ids) -> tuple[Tensor, Tensor]:
        """(N, L) ids and mask on the encoder's device; padding is masked."""
        config: Any = self.backbone.config
        longest = max(len(i) for i in ids)
        padded = torch.full((len(ids), longest), config.pad_token_id or 0)
        mask = torch.zeros_like(padded)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        device = next(self.parameters()).device
        return padded.to(device), mask.to(device)


def _batches(order: list[int], lengths: list[int], batch_tokens: int) -> list[list[int]]:
    """Cut `order`, which goes from long to short, where a padded batch would pass the budget."""
    batches: list[list[int]] = []
    for i in order:
        room = batch_tokens // lengths[batches[-1][0]] if batches else 0
        if not batches or len(batches[-1]) >= room:
            batches.append([])
        batches[-1].append(i)
    return batches


class BiEncoder(nn.Module):
    """The two encoders of a retriever; with `config.shared` they are one."""

    def __init__(self, question: Encoder, passage: Encoder, config: RetrieverConfig) -> None:
        super().__init__()
        self.question_encoder = question
        self.passage_encoder = passage
        self.config = config
