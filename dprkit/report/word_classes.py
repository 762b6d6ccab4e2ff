"""Classes of words for their codes: words of one class are written alike, and follow alike.

A common word is a class. Others share one with those of the same shape (a space before it, capital
letters, digits, signs) and the same last three letters, or two, or one, if these are common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

_LEAST, _SHARE = 200, 6000
"""A class comes up so often at the least, and once in so many words."""


def word_classes(words: Sequence[Any], counts: Sequence[int]) -> list[int]:
    """The class of each word: its own, or of those that it may be in the first that is common."""
    least = max(_LEAST, sum(counts) // _SHARE)
    found, numbers = [0] * len(words), defaultdict[Any, int]()
    numbers.default_factory = numbers.__len__
    left = []
    for place, word in enumerate(words):
        if counts[place] >= least:
            found[place] = numbers[place]
        else:
            left.append((place, _kinds(word)))
    while left:
        sizes: Counter[Any] = Counter()
        for place, kinds in left:
            sizes[kinds[0]] += counts[place]
        later = []
        for place, kinds in left:
            if len(kinds) > 1 and sizes[kinds[0]] < least:
                later.append((place, kinds[1:]))
            else:
                found[place] = numbers[kinds[0]]
        left = later
    return found


def _kinds(word: str | tuple[str]) -> list[Any]:
    """Classes that a word may be in, the narrowest first."""
    if isinstance(word, tuple):
        return ["letter"]
    space, stem = word[0] == " ", word.strip()
    if not stem.isalnum():
        return [("signs" if " " not in stem else "title", space)]
    case = "number" if stem.isdigit() else stem[0].isupper() + (stem[1:] != stem[1:].lower())
    ends = [stem[-size:] for size in (3, 2, 1)] if case != "number" else [len(stem)]
    return [*((space, case, end) for end in ends), (space, case)]
