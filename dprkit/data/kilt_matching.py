"""Answer matching as KILT does it (Petroni et al. 2021): plain text in plain text.

Plain is what is in lower case and has no ASCII punctuation, no a, an, the, and single spaces: as
SQuAD compares answers. So an answer is also found within a longer word: "art" in "party".
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def plain(text: str) -> str:
    """What is compared of a text or an answer."""
    without = _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION))
    return " ".join(without.split())


_remembered = lru_cache(maxsize=10_000)(plain)
"""Of passages, which come up for many questions; some 10 MB."""


def holds_plain(answers: Sequence[str], text: str) -> bool:
    """Whether any of `answers`, which are plain, is in a text."""
    found = _remembered(text)
    return any(answer in found for answer in answers)
