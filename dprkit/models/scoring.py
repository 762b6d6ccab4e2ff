"""How the rows of a question and those of a passage make one score."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dprkit.models.rows import Rows


class Scoring(Protocol):
    """A similarity of texts, by their rows; differentiable, and at least float32."""

    def matrix(self, questions: Rows, passages: Rows) -> Tensor:
        """(Q, P): every question against every passage."""

    def pairs(self, questions: Rows, passages: Rows) -> Tensor:
        """(N,): question i against passage i."""


class Dot:
    """The dot product of two vectors; each text has one row."""

    def matrix(self, questions: Rows, passages: Rows) -> Tensor:
        """(Q, P)."""
        return _wide(questions) @ _wide(passages).T

    def pairs(self, questions: Rows, passages: Rows) -> Tensor:
        """(N,)."""
        return (_wide(questions) * _wide(passages)).sum(1)


DOT: Scoring = Dot()


def _wide(rows: Rows) -> Tensor:
    """The values (N, D); a sum of products in 16 bits would tie scores that differ."""
    half = rows.values.dtype in (torch.float16, torch.bfloat16)
    return rows.values.float() if half else rows.values
