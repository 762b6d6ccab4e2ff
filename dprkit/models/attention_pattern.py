"""Which tokens of a text its tokens attend to: all, those before them, those within a window.

transformers has a function of two places for the layers of each sort: may the token at one attend
to the token at the other? It is asked here what it says of a text alone, so that what is packed
attends as the model was made to, whatever its windows are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Batch, head, place of the token that attends, place of the one attended to -> bool."""
ROWS = 128
"""Tokens that attend in one call, where a text is longer than a window."""


class Block(NamedTuple):
    """Tokens of a text that attend, what they may attend to, and which to which: (R, K) bool."""

    rows: slice
    keys: slice
    mask: Tensor


class Pattern:
    """What the tokens of texts of up to `longest` tokens attend to.

    Texts of up to `plain` tokens need no mask: their tokens attend to all tokens, or with
    `causal` to themselves and all before them.
    """

    def __init__(self, rule: Rule, longest: int, device: torch.device) -> None:
        self._rule, self._places = rule, torch.arange(longest, device=device)
        first = self._asked(slice(0, 1))
        self.causal = longest > 1 and not bool(first[0, 1])
        self._blocks: list[Block] = []
        self.plain = longest
        for start in range(0, longest, ROWS):
            self._read(slice(start, min(start + ROWS, longest)))

    def _asked(self, rows: slice) -> Tensor:
        """(R, L) bool: which tokens some tokens of the longest text attend to."""
        zero = self._places.new_zeros(())
        said = self._rule(zero, zero, self._places[rows, None], self._places[None])
        return said.expand(rows.stop - rows.start, len(self._places))

    def _read(self, rows: slice) -> None:
        """Note what some tokens attend to, and how far it is plain."""
        mask, places = self._asked(rows), self._places
        before = places <= places[rows, None]
        odd = mask != before if self.causal else ~mask
        for is_odd, begin in ((odd & before).any(1), rows.start), ((odd & ~before).any(0), 0):
            if found := is_odd.nonzero()[:1].tolist():
                self.plain = min(self.plain, begin + found[0][0])
        # A window of 0, as a config may have it for layers that it has none of, shows nothing.
        seen = mask.any(0).nonzero().flatten().tolist() or [0]
        keys = slice(seen[0], seen[-1] + 1)
        self._blocks.append(Block(rows, keys, mask[:, keys]))

    def blocks(self, length: int) -> Iterator[Block]:
        """What a text of `length` tokens attends to, in parts of its tokens."""
        for rows, keys, mask in self._blocks:
            if rows.start < length:
                own, seen = slice(rows.start, min(rows.stop, length)), min(keys.stop, length)
                shown = mask[: own.stop - own.start, : seen - keys.start]
                yield Block(own, slice(keys.start, seen), shown)
