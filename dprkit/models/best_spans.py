"""The best answer spans of a passage, from a reader's logits for its tokens.

DPR's rule (Karpukhin et al. 2020, their reader's `get_best_spans`): a span scores the logit of its
first token as a start plus that of its last one as an end, and has at most so many tokens. Best
first, a span is left out that lies in a better one or around it; spans that merely overlap are
kept. What is kept grows to whole words. Of equal scores the span that begins first counts, then the
shorter one.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """A piece of a passage's text, in characters of it, and its score: start + end logit."""

    start: int
    end: int
    score: float


def best_spans(
    logits: tuple[np.ndarray, np.ndarray],
    offsets: np.ndarray,
    text: str,
    max_tokens: int,
    count: int = 1,
) -> list[Span]:
    """The best spans of a passage, at most `count`, best first; none where it has no token.

    `logits` are (L,) each, of starts and of ends, and offsets (L, 2), ascending: where the tokens
    of the passage stand in its text. Tokens without a character neither begin nor end a span.
    """
    start, end = (np.where(offsets[:, 0] < offsets[:, 1], side, -np.inf) for side in logits)
    firsts, lasts = _spans(len(offsets), max_tokens)
    scores = start[firsts] + end[lasts]
    found: list[Span] = []
    while len(found) < count and len(scores):
        best = int(scores.argmax())
        score = float(scores[best])
        if score == -np.inf:  # all others lie in better ones or around them
            break
        begin, stop = whole_words(text, int(offsets[firsts[best], 0]), int(offsets[lasts[best], 1]))
        found.append(Span(begin, stop, score))
        first = int(np.searchsorted(offsets[:, 1], begin, side="right"))
        last = int(np.searchsorted(offsets[:, 0], stop, side="left")) - 1
        inside = (firsts >= first) & (lasts <= last)
        around = (firsts <= first) & (lasts >= last)
        scores[inside | around] = -np.inf
    return found


@lru_cache(maxsize=512)
def _spans(tokens: int, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last token of every span, by first token and then by length."""
    firsts = np.repeat(np.arange(tokens), max_tokens)
    lasts = firsts + np.tile(np.arange(max_tokens), tokens)
    fits = lasts < tokens
    return firsts[fits], lasts[fits]


# --- whole words ----------------------------------------------------------------------------------


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """A span of characters without white space at its ends, grown to whole words.

    A word is what BERT's tokenizer cuts into pieces of words: it ends at white space, at
    punctuation and at a Chinese character. So pieces that begin with "##" are joined to what they
    continue, as in DPR, and those of any other tokenizer as well; and a word that the end of the
    reader's window cuts is whole.
    """
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while 0 < start < end and _in_word(text[start - 1]) and _in_word(text[start]):
        start -= 1
    while start < end < len(text) and _in_word(text[end - 1]) and _in_word(text[end]):
        end += 1
    return start, end


_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""The blocks that BERT's tokenizer cuts into characters."""


@lru_cache(maxsize=4096)
def _in_word(character: str) -> bool:
    """Whether a character may stand within a word: letters, digits, marks, but also "°" or "€"."""
    if character.isascii():
        return character.isalnum() or not (character.isspace() or character.isprintable())
    code = ord(character)
    return not (
        character.isspace()
        or unicodedata.category(character).startswith("P")
        or any(first <= code <= last for first, last in _CHINESE)
    )
