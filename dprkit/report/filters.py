"""The filters that a report offers, each told in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dprkit.audit.figures import QUESTIONS as AUDITED

if TYPE_CHECKING:
    import numpy as np

_OF_RANKS = {
    "miss": ("miss at k", "A has no {what} among its best k"),
    "near": ("near miss", "the first {what} of A is at rank k+1 to 2k"),
}
_OF_TWO = {
    "flipped": ("flipped against B", "one of A and B has {what} among its best k, the other none"),
    "gained": ("only A finds it", "A has {what} among its best k, and B has none"),
    "lost": ("only B finds it", "B has {what} among its best k, and A has none"),
}
_WHAT = {"answer": "a passage with an answer", "gold": "a gold passage"}
LONGEST = 0.1
"""Share of the questions that are called long."""


def filters_of(
    rank: str | None, systems: int, words: np.ndarray, tags: Sequence[str], datasets: Sequence[str]
) -> list[dict[str, Any]]:
    """The filters that fit: `rank` tells by which ranks, words (Q,) how long questions are."""
    filters: list[dict[str, Any]] = []
    kinds = (_OF_RANKS | (_OF_TWO if systems > 1 else {})) if rank else {}
    for kind, (label, about) in kinds.items():
        what = _WHAT[str(rank)]
        told = about.format(what=what if kind in _OF_TWO else what.removeprefix("a "))
        filters.append({"id": kind, "label": label, "about": told, "kind": kind})
    if least := _long(words):
        about = f"{least} words or more: the longest tenth of the questions"
        filters.append(
            {"id": "long", "label": "long question", "about": about, "kind": "words", "min": least}
        )
    for number, tag in enumerate(tags):
        label, about = _of_tag(tag)
        found = {"id": f"tag:{tag}", "label": label, "about": about, "kind": "tag", "tag": number}
        filters.append(found)
    if len(datasets) > 1:
        filters += [
            {
                "id": f"dataset:{name}",
                "label": name,
                "about": f"questions of the data set {name}",
                "kind": "dataset",
                "dataset": number,
            }
            for number, name in enumerate(datasets)
        ]
    return filters


def _of_tag(tag: str) -> tuple[str, str]:
    """What a tag is called, and what it means; an audit's tags are told in its words."""
    for figure in AUDITED.values():
        if figure.tag == tag:
            return figure.label, figure.meaning
    return tag.replace("-", " ").replace("_", " "), f"questions with the tag {tag}"


def _long(words: np.ndarray) -> int:
    """From how many words on a question is called long; 0 where most are as long as the longest."""
    import numpy as np

    ordered = np.sort(words)
    if not len(ordered):
        return 0
    least = int(ordered[int(len(ordered) * (1 - LONGEST))])
    return least if least > int(np.median(ordered)) else 0
