"""A pack: N texts laid end to end as one row of T tokens.

Texts lie longest first; those of one length are neighbours, which makes them a batch (n, L)
without a copy and keeps the number of attention calls at the number of different lengths.
"""

from __future__ import annotations

from itertools import accumulate, chain, groupby

import torch
from torch import Tensor

from dprkit.models.tokens import Ids


class Pack:
    """N texts as one row of T tokens, longest first.

    `input_ids` and `position_ids` are (1, T); `shapes` has a pair (n, L) for the n texts of L
    tokens, and `bounds` (N + 1,) the places where texts begin and end, in the order in which
    they lie.
    """

    def __init__(self, ids: Ids, first_position: int, device: torch.device) -> None:
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        self.lengths = [len(ids[i]) for i in order]
        self.shapes = [(len(list(same)), length) for length, same in groupby(self.lengths)]
        places = (range(first_position, first_position + length) for length in self.lengths)
        tokens = chain.from_iterable(ids[i] for i in order)
        self.input_ids = torch.tensor([list(tokens)], device=device)
        self.position_ids = torch.tensor([list(chain.from_iterable(places))], device=device)
        self.bounds = torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32, device=device)
        self._order = order
        self._back = torch.tensor(order, device=device).argsort()

    def groups(self, rows: Tensor) -> list[Tensor]:
        """Split (T, ...) into one view (n, L, ...) for each length."""
        parts = torch.split(rows, [n * length for n, length in self.shapes])
        rest = rows.shape[1:]
        return [part.view(*shape, *rest) for part, shape in zip(parts, self.shapes, strict=True)]

    def laid(self, numbers: Ids) -> Tensor:
        """Numbers of the N texts' tokens as the tokens lie: (1, T)."""
        numbers_in_order = chain.from_iterable(numbers[i] for i in self._order)
        return torch.tensor([list(numbers_in_order)], device=self.input_ids.device)

    def places(self) -> Tensor:
        """(N,) int64, on the CPU: the place of each given text among those that lie here."""
        return self._back.cpu()

    def begins(self) -> list[int]:
        """Where each of the N texts begins, in the order the texts were given in."""
        laid = accumulate(self.lengths, initial=0)
        begins: list[int] = torch.tensor(list(laid))[:-1][self.places()].tolist()
        return begins

    def as_given(self, parts: list[Tensor]) -> Tensor:
        """Join one (n, ...) for each length to (N, ...), in the order the texts were given in."""
        return torch.cat(parts)[self._back]
