"""The extractive reader: which passage answers a question, and where the answer begins and ends.

Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", section 6.1:
one transformer reads the question, the title and the text; a linear layer gives each token logits
of the answer's first and last token, and another the first token the passage's relevance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dprkit.models import linear, packing
from dprkit.models.forward_batches import chunks, padded
from dprkit.models.pack import Pack
from dprkit.models.reader_config import ReaderConfig
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.rows import RowModel, Rows
from dprkit.models.tokens import Ids

START, END, RELEVANCE = 0, 1, 2
"""The numbers of a row."""


class ReaderModel(RowModel):
    """A transformer with the two heads of a reader.

    `packed` says whether inputs go through without padding (dprkit.models.packing); it may be set
    to False, as for torch.compile, which wants few shapes.
    """

    def __init__(self, backbone: nn.Module, tokens: ReaderTokens, dropout: float = 0.0) -> None:
        """`dropout`: on the states, before the heads."""
        super().__init__()
        self.backbone, self.tokens = backbone, tokens
        self.config: ReaderConfig = tokens.config
        self.dropout = nn.Dropout(dropout)
        width = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.heads = nn.ModuleDict({"span": nn.Linear(width, 2), "relevance": nn.Linear(width, 1)})
        linear.enable(backbone)
        self.packed = packing.enable(backbone)

    @property
    def dim(self) -> int:
        """Three: start, end, relevance."""
        return 3

    @property
    def padded(self) -> bool:
        """Whether inputs are padded, as where the transformer cannot be packed."""
        return not self.packed

    def rows(self, side: int, ids: Ids) -> Rows:
        """The logits (T, 3) of all tokens of N inputs, as ReaderTokens makes them.

        The relevance of a passage is that of its first token. `side`: the only one, 0.
        """
        place = next(self.parameters()).device
        if not ids:
            return Rows.of_counts(torch.empty(0, self.dim, device=place), [])
        if self.packed and packing.suits(self.backbone, ids, place):
            return self._packed(Pack(ids, packing.first_position(self.backbone), place), ids)
        return self._padded(ids, place)

    def _packed(self, pack: Pack, ids: Ids) -> Rows:
        types = {name: pack.laid(types) for name, types in self._types(ids).items()}
        logits = self._logits(packing.flat_states(self.backbone, pack, **types))
        return Rows.of_counts(logits, pack.lengths).take(pack.places())

    def _padded(self, ids: Ids, place: torch.device) -> Rows:
        config: Any = self.backbone.config
        rows, mask = padded(ids, config.pad_token_id or 0)
        given = {"input_ids": rows, "attention_mask": mask}
        given |= {name: padded(types, 0)[0] for name, types in self._types(ids).items()}
        tensors = {name: torch.from_numpy(array).to(place) for name, array in given.items()}
        states = self.backbone(**tensors).last_hidden_state
        real = tensors["attention_mask"].bool()
        return Rows.of_counts(self._logits(states[real]), [len(text) for text in ids])

    def _types(self, ids: Ids) -> dict[str, Ids]:
        if self.config.token_types == "zeros":
            return {}
        return {"token_type_ids": self.tokens.token_types(ids)}

    def _logits(self, states: Tensor) -> Tensor:
        """(T, H) -> (T, 3). In 16 bits, logits of a length that many tokens share would tie."""
        wide = self.dropout(states).to(torch.promote_types(states.dtype, torch.float32))
        with torch.autocast(states.device.type, enabled=False):
            return torch.cat([self.heads["span"](wide), self.heads["relevance"](wide)], -1)

    def encode(self, ids: Ids, batch_tokens: int) -> Rows:
        """The logits (T, 3) of N inputs, in their order, with gradient where it is enabled.

        Inputs go through in passes of at most `batch_tokens` tokens, longest first, so that the
        activations stay in the processor's cache.
        """
        passes = chunks([len(i) for i in ids], batch_tokens, padded=not self.packed)
        parts = [self.rows(0, [ids[i] for i in part]) for part in passes or [[]]]
        values = torch.cat([part.values for part in parts])
        counts = torch.cat([part.counts for part in parts])
        order = torch.tensor([i for part in passes for i in part], dtype=torch.long)
        return Rows.of_counts(values, counts).take(order.argsort())
