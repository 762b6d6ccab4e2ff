"""Texts as numbers of words: a third smaller, compressed, than the texts themselves are.

Words that come up often in the first texts have numbers, of one, two or three bytes; all else
stands as it is. A word has the space before it, so that a text is its words put together.

    0-199        the words that come up most
    200-239 B    the next 40 * 256
    240-253 B B  all others that have a number
    254          the end of a field
    255 … 255    something without a number, in UTF-8, which never has a byte 255
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

_WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s")
_SHORT, _MIDDLE = 200, 40 * 256
_LONG = 14 * 65536
_LEAST = 3
"""How often a word comes up that gets a number."""
_END, _ASIDE = b"\xfe", b"\xff"


class Words:
    """Words with their numbers, which are their places."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(chain.from_iterable(map(_WORD.findall, texts)))
        often = [word for word, count in counts.most_common() if count >= _LEAST]
        self.words = [word for word in often if _as_bytes(word).decode() == word][:_LONG]
        self._codes = {word: _code(number) for number, word in enumerate(self.words)}

    def encode(self, rows: Sequence[Sequence[str]]) -> bytes:
        """The fields of rows, one after the other."""
        codes = self._codes.get
        pieces: list[bytes] = []
        for field in chain.from_iterable(rows):
            pieces += [codes(word) or _aside(word) for word in _WORD.findall(field)]
            pieces.append(_END)
        return b"".join(pieces)


def _code(number: int) -> bytes:
    if number < _SHORT:
        return bytes([number])
    number -= _SHORT
    if number < _MIDDLE:
        return bytes([200 + (number >> 8), number & 255])
    number -= _MIDDLE
    return bytes([240 + (number >> 16), number >> 8 & 255, number & 255])


def _aside(word: str) -> bytes:
    return _ASIDE + _as_bytes(word) + _ASIDE


def _as_bytes(word: str) -> bytes:
    """In UTF-8; what it does not have, a half of a character, is a question mark."""
    return word.encode("utf-8", "replace")
