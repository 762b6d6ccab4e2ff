"""What a report knows of each question, as columns: filters and orders of the page read these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from dprkit.evaluation.judging import Figures
from dprkit.evaluation.statistics import wilson_interval
from dprkit.evaluation.systems import System

if TYPE_CHECKING:
    import numpy as np

NOT_FOUND, UNDEFINED = 0, 65535
"""In a column of ranks, which else count from 1."""
CURVE_DEPTHS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)


class Ranks(NamedTuple):
    """(Q,) uint16 columns of a system: ranks, NOT_FOUND or UNDEFINED, and lengths of rankings."""

    answer: np.ndarray
    gold: np.ndarray
    """Of the best gold passage."""
    hits: np.ndarray

    def has(self, kind: str) -> bool:
        """Whether any rank of a kind, answer or gold, is defined."""
        return bool((getattr(self, kind) != UNDEFINED).any())


def ranks_of(figures: Sequence[Figures]) -> Ranks:
    """The ranks that a system reached."""
    import numpy as np

    best_gold = [one.gold_ranks[0] if one.gold_ranks else UNSET for one in figures]
    return Ranks(
        np.array([_code(one.answer_rank) for one in figures], np.uint16),
        np.array([_code(rank) for rank in best_gold], np.uint16),
        np.array([min(one.hits, UNDEFINED) for one in figures], np.uint16),
    )


def _code(rank: Any) -> int:
    """A rank as a column has it. One that is too large is not found: no page shows so many."""
    if rank is UNSET:
        return UNDEFINED
    return rank if rank and rank < UNDEFINED else NOT_FOUND


def columns_of(
    systems: Sequence[System],
    ranks: Sequence[Ranks],
    measures: Sequence[str],
    tags: Mapping[str, set[str]],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns by name, as docs/formats.md lists them, and the names of the data sets.

    `tags`: each tag, and the ids of the questions that have it.
    """
    import numpy as np

    columns: dict[str, np.ndarray] = {}
    kinds = [kind for kind in ("answer", "gold") if any(one.has(kind) for one in ranks)]
    for number, (system, own) in enumerate(zip(systems, ranks, strict=True)):
        columns |= {f"{kind}_rank.{number}": getattr(own, kind) for kind in kinds}
        columns[f"hits.{number}"] = own.hits
        undefined = np.full(len(own.hits), np.nan)
        for place, measure in enumerate(measures):
            values = system.values.get(measure, undefined)
            columns[f"value.{number}.{place}"] = values.astype(np.float32)
    questions = systems[0].questions
    words = [min(len(one.question.split()), UNDEFINED) for one in questions]
    columns["words"] = np.array(words, np.uint16)
    for number, having in enumerate(tags.values()):
        columns[f"tag.{number}"] = np.array([one.id in having for one in questions], np.uint8)
    own_sets = [one.dataset or "" for one in questions]
    datasets = [name for name in dict.fromkeys(own_sets) if name]
    if datasets:
        place_of = {name: place for place, name in enumerate(datasets)}
        columns["dataset"] = np.array([place_of.get(name, UNDEFINED) for name in own_sets], "u2")
    return columns, datasets


def curve(ranks: np.ndarray, depths: Sequence[int], hits: int) -> dict[str, Any] | None:
    """The share of questions found at each of `depths`, with its 95 % interval (Wilson).

    `ranks` (Q,) is a column; depths below `hits` ranks alone have a share. None: it has no ranks.
    """
    defined = ranks[ranks != UNDEFINED]
    if not len(defined):
        return None
    count = len(defined)
    shares = [
        float(((defined > 0) & (defined <= k)).sum()) / count if k <= hits else None for k in depths
    ]
    ends = [(None, None) if one is None else wilson_interval(one, count) for one in shares]
    low, high = zip(*ends, strict=True)
    return {"values": shares, "low": low, "high": high, "questions": count}


def curve_depths(hits: int) -> list[int]:
    """Depths of a curve for rankings of so many passages."""
    depths = [k for k in CURVE_DEPTHS if k <= hits]
    return depths if hits in depths or not hits else [*depths, hits]
