"""How far a search of a FAISS index looks: lists for a question, candidates in a graph.

nprobe       inverted lists that are compared, of an index that has lists
ef_search    candidates that are kept on the walk, of an index with a graph (HNSW)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dprkit.settings import IndexSettings


def depths_of(counts: Mapping[str, Any]) -> dict[str, int]:
    """How far a search of an index looks, by its manifest's counts; empty where all is compared."""
    names = ["nprobe"] if counts.get("lists") else []
    names += ["ef_search"] if "HNSW" in counts.get("factory", "") else []
    return {name: counts[name] for name in names if name in counts}


def depths_for(settings: IndexSettings, counts: Mapping[str, Any]) -> dict[str, int]:
    """`nprobe` and `ef_search`: the user's, or a guess from the wanted recall.

    2 sqrt(lists) lists and 64 candidates for .95, more in proportion to what may be missed. Only
    a measurement on the user's own questions (tune-index) tells what is enough.
    """
    lists, share = counts["lists"], 1 - min(settings.target_recall, 0.999)
    probes = math.ceil(math.sqrt(lists) * min(8.0, 0.1 / share))
    return {
        "nprobe": min(settings.nprobe or max(probes, 1), max(lists, 1)),
        "ef_search": settings.ef_search or max(16, round(64 * min(8.0, 0.05 / share))),
    }


def depths_to_try(counts: Mapping[str, Any]) -> list[dict[str, int]]:
    """Growing depths to measure an index at."""
    lists = counts.get("lists", 0)
    if lists:
        return [{"nprobe": 1 << n} for n in range(lists.bit_length())]
    if "HNSW" in counts.get("factory", ""):
        return [{"ef_search": 16 << n} for n in range(7)]
    return [{}]
