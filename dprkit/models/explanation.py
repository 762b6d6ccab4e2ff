"""How a late-interaction model comes to the score of a question and a passage.

Each token of the question takes the token of the passage that is most similar to it; the score is
the sum of these similarities (Khattab and Zaharia 2020, "ColBERT", equation 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dprkit.models.config import Side
from dprkit.models.late_tokens import LateTokens, Span

Place = tuple[int, int] | None
"""Where a token begins and ends in a text, in characters; None for one that is not in it."""


class Match(NamedTuple):
    """A token of a question with the token of a passage that is most similar to it."""

    question_token: str
    passage_token: str
    similarity: float
    question_place: int
    """Where the token stands among the question's tokens, special tokens included."""
    passage_place: int


class TokensInText(NamedTuple):
    """The tokens of a text, each as it is written there; special tokens by their names."""

    text: str
    tokens: list[str]
    places: list[Place]

    @property
    def read(self) -> int:
        """The characters up to where the last token ends: what comes behind was cut."""
        return max((place[1] for place in self.places if place), default=0)


@dataclass(frozen=True, eq=False)
class Explanation:
    """The similarities of all tokens of a question with all of a passage."""

    question: TokensInText
    passage: TokensInText
    counted: list[int]
    """The places of the P tokens of the passage that count; the others are skipped."""
    similarities: np.ndarray
    """(Q, P) float32."""

    @property
    def score(self) -> float:
        """The score: each question token's largest similarity, summed."""
        return float(self.similarities.max(axis=1).sum())

    @cached_property
    def matches(self) -> list[Match]:
        """A match for each of the Q tokens of the question, in their order."""
        best = self.similarities.argmax(axis=1).tolist()
        return [
            Match(
                self.question.tokens[i],
                self.passage.tokens[self.counted[j]],
                float(self.similarities[i, j]),
                i,
                self.counted[j],
            )
            for i, j in enumerate(best)
        ]


def tokens_in_text(
    tokens: LateTokens, side: Side, text: str | tuple[str, str], ids: list[int]
) -> TokensInText:
    """Where the tokens `ids` of a text lie; a pair of texts becomes one, with a space between."""
    parts = (text,) if isinstance(text, str) else text
    joined = " ".join(parts)
    begins = (0, len(parts[0]) + 1)

    def place_of(span: Span | None) -> Place:
        return span and (begins[span.part] + span.begin, begins[span.part] + span.end)

    places = [place_of(span) for span in tokens.spans(side, text, len(ids))]
    words = [
        (" ".join(joined[slice(*place)].split()) if place else "") or tokens.token(side, number)
        for place, number in zip(places, ids, strict=True)
    ]
    return TokensInText(joined, words, places)
