"""Exact match and F1 of a predicted answer, as SQuAD and DPR compute them.

Answers are compared in lower case, without ASCII punctuation, the words "a", "an", "the", and white
space beyond one blank between words (Rajpurkar et al. 2016, their evaluation script; the same in
DPR). So "The U.S." is "us", and "café" is not "cafe".
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """An answer as it is compared."""
    bare = answer.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(prediction: str, answers: Iterable[str]) -> bool:
    """Whether a prediction is one of `answers`; no answers or no prediction, no match."""
    own = normalised(prediction)
    return bool(prediction.strip()) and any(own == normalised(answer) for answer in answers)


def token_f1(prediction: str, answers: Iterable[str]) -> float:
    """The highest F1 of the words of a prediction with those of one of `answers`, 0 to 1.

    A word counts as often as it occurs. Where nothing is left of both they are the same, and F1
    is 1, as in SQuAD 2; without a prediction it is 0.
    """
    if not prediction.strip():
        return 0.0
    own = normalised(prediction).split()
    return max((_f1(own, normalised(answer).split()) for answer in answers), default=0.0)


def _f1(one: list[str], other: list[str]) -> float:
    if not one and not other:
        return 1.0
    return 2 * sum((Counter(one) & Counter(other)).values()) / (len(one) + len(other))
