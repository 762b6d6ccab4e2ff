"""Late interaction: a vector for each token, compared when a question is asked.

Khattab and Zaharia 2020, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT": a linear layer without bias maps each token's last state to
`embedding_size` numbers, which are brought to length 1; the score of a passage is the sum, over
the question's vectors, of the largest product with one of the passage's (MaxSim).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dprkit.models import linear, packing
from dprkit.models.config import SIDES, ColbertConfig, Side
from dprkit.models.forward_batches import chunks, padded
from dprkit.models.late_tokens import LateTokens
from dprkit.models.pack import Pack
from dprkit.models.rows import RowModel, Rows
from dprkit.models.tokens import Ids


class Colbert(RowModel):
    """One transformer with a projection of every token, for questions and passages.

    `packed` says whether texts go through without padding (dprkit.models.packing); it may be set
    to False, as for torch.compile, which wants few shapes.
    """

    def __init__(self, backbone: nn.Module, tokens: LateTokens, dropout: float = 0.0) -> None:
        """`dropout`: on the states, before they are projected."""
        super().__init__()
        self.backbone, self.tokens = backbone, tokens
        self.config: ColbertConfig = tokens.config
        self.dropout = nn.Dropout(dropout)
        width = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.projection = nn.Linear(width, self.config.embedding_size, bias=False)
        linear.enable(backbone)
        self.packed = packing.enable(backbone)

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        return self.projection.out_features

    @property
    def padded(self) -> bool:
        """Whether passages are padded, as where the transformer cannot be packed."""
        return not self.packed

    def rows(self, side: int, ids: Ids) -> Rows:
        """The vectors (T, D) of the tokens that count, of N questions (0) or passages (1)."""
        states = self.states(SIDES[side], ids)
        vectors = self.projection(self.dropout(states.values))
        # Lengths in 16 bits would be off by as much as scores differ.
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        return Rows(nn.functional.normalize(wide, dim=-1), states.bounds)

    def states(self, side: Side, ids: Ids) -> Rows:
        """The last states (T, H), before they are projected, of the tokens that count."""
        place = next(self.parameters()).device
        counted = [self.tokens.counted(side, text) for text in ids]
        if not ids:
            return Rows.of_counts(torch.empty(0, self.projection.in_features, device=place), [])
        states, begins = self._states(side, ids, place)
        chosen = [begin + at for begin, text in zip(begins, counted, strict=True) for at in text]
        values = states[torch.tensor(chosen, device=place)]
        return Rows.of_counts(values, list(map(len, counted)))

    def _states(self, side: Side, ids: Ids, place: torch.device) -> tuple[Tensor, list[int]]:
        """The last states of N texts in one table (S, H), and where each text begins in it."""
        attended = [self.tokens.attended(t) if side == "question" else len(t) for t in ids]
        hidden = any(n < len(text) for n, text in zip(attended, ids, strict=True))
        if self.packed and not hidden and packing.suits(self.backbone, ids, place):
            pack = Pack(ids, packing.first_position(self.backbone), place)
            return packing.flat_states(self.backbone, pack), pack.begins()
        config: Any = self.backbone.config
        rows, mask = padded(ids, config.pad_token_id or 0)
        for line, count in zip(mask, attended, strict=True):
            line[count:] = 0
        tensors = torch.from_numpy(rows).to(place), torch.from_numpy(mask).to(place)
        states = self.backbone(input_ids=tensors[0], attention_mask=tensors[1]).last_hidden_state
        length = rows.shape[1]
        return states.flatten(0, 1), list(range(0, len(ids) * length, length))

    def encode(self, side: Side, ids: Ids, batch_tokens: int) -> Rows:
        """The vectors (T, D) of N texts, in their order, with gradient where it is enabled.

        Texts go through in passes of at most `batch_tokens` tokens, longest first, so that the
        activations stay in the processor's cache.
        """
        passes = chunks([len(i) for i in ids], batch_tokens, padded=not self.packed)
        number = SIDES.index(side)
        parts = [self.rows(number, [ids[i] for i in part]) for part in passes or [[]]]
        values = torch.cat([part.values for part in parts])
        counts = torch.cat([part.counts for part in parts])
        order = torch.tensor([i for part in passes for i in part], dtype=torch.long)
        return Rows.of_counts(values, counts).take(order.argsort())
