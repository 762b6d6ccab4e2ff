"""Where the answers of a question stand among the tokens of a reader's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprkit.data.answer_matching import answer_places
from dprkit.models.reader_tokens import ReaderInput, token_span

MOST = 10
"""Places that are learned of a passage, as in DPR."""


def gold_spans(given: ReaderInput, text: str, answers: Sequence[str]) -> list[tuple[int, int]]:
    """First and last token, counted in the input, of the first MOST places of `answers` in `text`.

    Places may overlap: "October" within "October 1973" is one where both are answers, and "had had"
    has two in "had had had". A token that an answer begins or ends within belongs to it. An answer
    that the end of the input cuts has no place there.
    """
    found = [token_span(given.offsets, *place) for place in sorted(answer_places(answers, text))]
    tokens = dict.fromkeys(span for span in found if span)
    return [(given.begin + first, given.begin + last) for first, last in tokens][:MOST]


def as_array(spans: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """(S, 3) int64, also where there are none."""
    return np.array(spans, np.int64).reshape(-1, 3)
