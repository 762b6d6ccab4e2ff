"""The types of FAISS index by name: their factory strings, --type auto, the depths of a search.

    flat      every vector as it is; exact
    sq16, sq8 every number in 16 or 8 bits; every vector is compared
    pq        product quantisation: a byte for four numbers; every vector is compared
    ivf       vectors in lists by their nearest centroid; `nprobe` lists are compared
    ivfsq8, ivfpq   the same, with vectors coded as in sq8 or pq
    hnsw      a graph of neighbours, walked with `ef_search` candidates; all in memory
    hnswsq8   the same over vectors coded as in sq8

Sources: inverted lists, Sivic and Zisserman 2003 ("Video Google"); product quantisation, Jégou,
Douze and Schmid 2011; HNSW, Malkov and Yashunin 2016 (https://arxiv.org/abs/1603.09320).
Numbers of lists and of training vectors follow FAISS's own advice (its wiki, "Guidelines to
choose an index"): 4 sqrt(N) to 16 sqrt(N) lists, 30 to 256 training vectors a list.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.filesize import decimal

from dprkit.errors import InputError, SettingsError, nearest
from dprkit.indexes.kinds import KINDS, kind_names
from dprkit.settings import IndexSettings

LINKS = 32
"""Neighbours of a node of an HNSW graph; twice as many at its ground level."""
GRAPH_BYTES = LINKS * 2 * 4 + 24
"""What the graph adds to a vector: links, and the share of the upper levels."""
PER_LIST = 32
"""Training vectors for each list."""
SAMPLE = 131_072
"""Training vectors where there are few lists: a constant, so that memory is one too."""
SMALL = 20_000
"""Passages up to which comparing them all takes a few milliseconds."""
GRAPH_LIMIT = 5_000_000
"""Passages up to which a graph is built in a bearable time (about an hour on 8 cores)."""


class Choice(NamedTuple):
    """A kind of index, FAISS's word for it, and why it was taken ("" where the user said so)."""

    type: str
    factory: str
    reason: str


def choose(settings: IndexSettings, count: int, dim: int) -> Choice:
    """What `settings.type` means for `count` vectors of `dim` numbers."""
    if settings.type == "auto":
        budget = size_of(settings.max_ram, "--max-ram")
        budget = budget or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        name, reason = automatic(count, dim, budget, settings.target_recall)
        return Choice(name, factory_of(name, count, dim), reason)
    name = str(settings.type)
    return Choice(name, factory_of(name, count, dim), "")


def factory_of(name: str, count: int, dim: int) -> str:
    """The factory string of a named kind; another name is taken for a factory string itself."""
    lists, codes = f"IVF{lists_for(count)}", _codes(count, dim)
    return {
        "flat": "Flat",
        "sq16": "SQfp16",
        "sq8": "SQ8",
        "pq": codes,
        "ivf": f"{lists},Flat",
        "ivfsq8": f"{lists},SQ8",
        "ivfpq": f"{lists},{codes}",
        "hnsw": f"HNSW{LINKS}",
        "hnswsq8": f"HNSW{LINKS}_SQ8",
    }.get(name, name)


def lists_for(count: int) -> int:
    """4 sqrt(N) lists as a power of two; fewer where that leaves too little to train on."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(count))) if count else 1
    return max(1, min(wanted, count // PER_LIST))


def _codes(count: int, dim: int) -> str:
    """PQ with a byte for four numbers; with so many bits as there are vectors to learn from."""
    pieces = next(m for m in range(max(dim // 4, 1), 0, -1) if dim % m == 0)
    bits = max(1, min(8, int(math.log2(max(count, 2)))))
    return f"PQ{pieces}" if bits == 8 else f"PQ{pieces}x{bits}"


def sample_for(lists: int, settings: IndexSettings, count: int) -> int:
    """How many of `count` vectors to train on."""
    return min(settings.train_sample or max(SAMPLE, PER_LIST * lists), count)


# --- auto ---------------------------------------------------------------------------------------


def automatic(count: int, dim: int, budget: int, recall: float) -> tuple[str, str]:
    """(kind, reason) for a corpus, `budget` bytes of memory at search, and a wanted recall.

    The first of these that fits: flat for a small corpus or a recall of 1, hnsw, ivf, ivfsq8,
    ivfpq. Only a measurement (tune-index) tells the recall on the user's own questions.
    """
    corpus = f"{count:,} passages"
    sizes = _sizes(count, dim)
    if recall >= 1:
        return "flat", f"flat: only an exact index finds all of {corpus}"
    if count <= SMALL:
        return "flat", f"flat: {corpus} are compared in a few milliseconds"
    for name, size in sizes.items():
        if size > budget or (name == "ivfpq" and recall > 0.9):
            continue
        if name == "hnsw" and count > GRAPH_LIMIT:
            continue
        return name, f"{name}: {corpus} take {decimal(size)} of the {decimal(budget)} allowed"
    best = "ivfpq" if recall <= 0.9 else "ivfsq8"
    return best, (
        f"{best}: {corpus} take {decimal(sizes[best])} where {decimal(budget)} are allowed; "
        "what does not fit is read from the disk"
    )


def _sizes(count: int, dim: int) -> dict[str, int]:
    """kind -> bytes that searching wants in memory; ids of inverted lists are 8 bytes."""
    return {
        "hnsw": count * (4 * dim + GRAPH_BYTES),
        "ivf": count * (4 * dim + 8),
        "ivfsq8": count * (dim + 8),
        "ivfpq": count * (max(dim // 4, 1) + 8),
    }


def size_of(text: str | None, flag: str) -> int:
    """Bytes of `8GB`, `500MB`, `1.5 GiB` or a plain number; 0 where nothing is given."""
    if text is None:
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise SettingsError(f"{flag}: {text!r} is no size; write it as 8GB or 500MB")
    step = 1024 if match[3] else 1000
    return int(float(match[1]) * step ** ("kmgt".index(match[2]) + 1 if match[2] else 0))


# --- how far a search looks -----------------------------------------------------------------------
#
# nprobe       inverted lists that are compared, of an index that has lists
# ef_search    candidates that are kept on the walk, of an index with a graph (HNSW)


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


# --- making -------------------------------------------------------------------------------------


def make(factory: str, count: int, dim: int, flag: str = "--type") -> Any:
    """An empty FAISS index for inner products. Raises SettingsError for what FAISS refuses."""
    import faiss

    from dprkit.indexes.faiss_inner_products import refuse_distorting

    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise SettingsError(
            f"{flag}: FAISS does not make {factory!r} of {dim} dimensions: {reason_of(error)}; "
            f"{_named(factory)}"
        ) from None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise SettingsError(f"{flag}: {factory!r} does not compare by inner product; take another")
    refuse_distorting(index, factory, flag)
    wanted = lists_of(index)
    if wanted > count:
        raise InputError(
            f"{flag}: {factory!r} wants {wanted:,} lists of {count:,} vectors; "
            f"take IVF{lists_for(count)} or fewer"
        )
    return index


def check_settings(settings: IndexSettings) -> None:
    """Raises SettingsError for a size or a factory string that cannot be used.

    Before the vectors are there: what depends on their width or number is left to `make`.
    """
    size_of(settings.max_ram, "--max-ram")
    if settings.type is None or settings.type in KINDS:
        return
    import faiss

    try:
        faiss.index_factory(64, settings.type, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        if "could not parse" in str(error):
            raise SettingsError(
                f"--type: FAISS knows no {settings.type!r}; {_named(settings.type)}"
            ) from None
        if "METRIC_L2" in str(error):
            raise SettingsError(
                f"--type: {settings.type!r} does not compare by inner product; take another"
            ) from None


def _named(factory: str) -> str:
    """The end of an error: the kinds that have a name."""
    return f"named kinds are {', '.join(kind_names())}{nearest(factory.lower(), kind_names())}"


def lists_of(index: Any) -> int:
    """The inverted lists of an index, 0 where it has none."""
    ivf = ivf_of(index)
    return int(ivf.nlist) if ivf else 0


def ivf_of(index: Any) -> Any:
    """The part of `index` that has inverted lists, or None."""
    import faiss

    return faiss.try_extract_index_ivf(index)


def reason_of(error: RuntimeError) -> str:
    """FAISS's own sentence, without where in its source it stands."""
    return re.sub(r"(?s)^.*\.(cpp|h):\d+: (Error: )?", "", str(error)).strip()
