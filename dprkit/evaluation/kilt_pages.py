"""Provenance as KILT measures it (Petroni et al. 2021, section 5): the pages that were found.

A question names sets of pages; the pages of a set together show an answer. Found passages count as
their pages, each page once. In the ranking of pages a set is one place, that of its last page, and
so is each page that is of no set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import nan

from dprkit.evaluation.measures import Measure, at

_PASSAGE_OF_PAGE = re.compile(r"(.+)-\d+")


def page_of(passage: str) -> str:
    """The page of a passage: 12-3 is the fourth passage of page 12, and 12 is the page itself."""
    part = _PASSAGE_OF_PAGE.fullmatch(passage)
    return part[1] if part else passage


def measures_of_pages(depths: Sequence[int]) -> tuple[Measure, ...]:
    """What `values_of_pages` gives values of, in its order."""
    return (
        Measure("page_rprec"),
        *(at("page_recall", k) for k in depths),
        *(at("page_success", k) for k in depths),
    )


def values_of_pages(
    passages: Sequence[str], sets: Sequence[Sequence[str]], depths: Sequence[int]
) -> list[float]:
    """R-precision, recall and success of a ranking of passages; NaN where no set is named.

    R-precision is that of the set for which it is highest: the share of its R pages among the best
    R pages. Recall is the share of the sets that are whole among the best k places.
    """
    if not sets:
        return [nan] * (1 + 2 * len(depths))
    pages = list(dict.fromkeys(map(page_of, passages)))
    different = [set(own) for own in dict.fromkeys(frozenset(own) for own in sets)]
    precision = max(len(own.intersection(pages[: len(own)])) / len(own) for own in different)
    places = _places(pages, different)
    whole = [sum(place <= k for place in places) for k in depths]
    recalls = [number / len(different) for number in whole]
    return [precision, *recalls, *(float(number > 0) for number in whole)]


def _places(pages: Sequence[str], sets: Sequence[set[str]]) -> list[int]:
    """The place of each set that is whole, counted from 1."""
    rank: list[tuple[str, int]] = []
    left = [set(own) for own in sets]
    for at_, page in enumerate(pages):
        parts = [number for number, own in enumerate(left) if page in own]
        for number in parts:
            left[number].discard(page)
            if ("part", number) in rank:
                rank.remove(("part", number))
            rank.append(("part" if left[number] else "whole", number))
        if not parts:
            rank.append(("other", at_))
    return [place for place, (kind, _) in enumerate(rank, start=1) if kind == "whole"]
