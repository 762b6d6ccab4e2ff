"""The table of index kinds: what each is made from, and the module that makes and opens it.

A new kind is an entry here and a module of its own; nothing else knows a kind by its name. The
module is imported when the kind is used, so that this table is light.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

if TYPE_CHECKING:
    from dprkit.settings import IndexSettings
    from dprkit.store.drafts import Draft


class KindModule(Protocol):
    """What the module of a kind has."""

    def build(self, work: Draft, source: Any, settings: IndexSettings, /) -> dict[str, Any]:
        """Build the index into a Draft; the counts of its manifest.

        `source`: what the kind reads, Embeddings (with token vectors or without) or PassageFile.
        """

    def open_folder(self, folder: Any, depths: Mapping[str, int], /) -> Any:
        """The index in an IndexFolder.

        A DenseIndex or a TokenIndex, or for a kind that reads passages a search Engine.
        """


class SettingsModule(Protocol):
    """What the module of a kind that is `checked` has; it may be another and import less."""

    def check_settings(self, settings: IndexSettings, /) -> None:
        """Refuse settings before anything is read."""


class DepthsModule(SettingsModule, Protocol):
    """What the module of a kind that `has_depths` has: see dprkit.indexes.faiss_types."""

    def depths_of(self, counts: Mapping[str, Any], /) -> dict[str, int]:
        """How far a search of an index looks, by its manifest's counts."""

    def depths_for(self, settings: IndexSettings, counts: Mapping[str, Any], /) -> dict[str, int]:
        """How far a search is to look."""

    def depths_to_try(self, counts: Mapping[str, Any], /) -> list[dict[str, int]]:
        """Growing depths to measure an index at."""


@dataclass(frozen=True)
class Kind:
    """What the commands need to know of a kind of index."""

    module: str
    """The KindModule; the one of `updated` only opens."""
    rules: str = ""
    """The SettingsModule or DepthsModule, where it is another: it imports no large library."""
    reads: Literal["vectors", "tokens", "passages"] = "vectors"
    """What it is made from, and asked by: one vector a text, its token vectors, or the text."""
    settings: tuple[str, ...] = ()
    """Settings that change what is built and that some other kinds ignore."""
    leftovers: tuple[str, ...] = ()
    """How the names of files begin that only an unfinished build needs."""
    checked: bool = True
    has_depths: bool = False
    """Whether a search looks at a part of the index only, which may be larger or smaller."""
    searches_embeddings: bool = False
    """Whether a search reads the embeddings, because the index holds no copy of them."""
    has_first_stage: bool = False
    """Whether IndexSettings.first_stage names kinds that are built into it."""
    updatable: bool = True
    """Whether update-index can add passages: no score depends on the rest of the corpus."""

    def load(self) -> KindModule:
        """Its module."""
        return cast(KindModule, import_module(self.module))

    def load_rules(self) -> DepthsModule:
        """The module that checks settings and knows depths."""
        return cast(DepthsModule, import_module(self.rules or self.module))

    def depths_of(self, counts: Mapping[str, Any]) -> dict[str, int]:
        """How far a search of an index looks, by its manifest's counts; empty: at everything."""
        return self.load_rules().depths_of(counts) if self.has_depths else {}


def _faiss(*settings: str) -> Kind:
    return Kind(
        "dprkit.indexes.faiss_index",
        rules="dprkit.indexes.faiss_types",
        settings=settings,
        leftovers=("trained.", "growing.", "part-"),
        has_depths=True,
    )


FACTORY = _faiss("train_sample")
"""Any name that is not in the table is a FAISS factory string, such as IVF1024,SQ8."""
UPDATED = "updated"
KINDS = {
    "flat": _faiss(),
    "hnsw": _faiss(),
    "ivf": _faiss("train_sample"),
    "ivfsq8": _faiss("train_sample"),
    "ivfpq": _faiss("train_sample"),
    "sq16": _faiss(),
    "sq8": _faiss("train_sample"),
    "hnswsq8": _faiss("train_sample"),
    "pq": _faiss("train_sample"),
    "exact": Kind("dprkit.indexes.exact", checked=False, searches_embeddings=True),
    "binary": Kind(
        "dprkit.indexes.binary",
        rules="dprkit.indexes.binary_settings",
        settings=("candidates",),
        has_depths=True,
        searches_embeddings=True,
    ),
    "bm25": Kind(
        "dprkit.indexes.bm25", reads="passages", settings=("k1", "b", "stemmer"), updatable=False
    ),
    "milvus": Kind("dprkit.indexes.milvus", settings=("uri", "collection")),
    "auto": _faiss("train_sample", "max_ram", "target_recall"),
    "late": Kind(
        "dprkit.indexes.late",
        rules="dprkit.indexes.late_settings",
        reads="tokens",
        settings=("first_stage", "candidates"),
        leftovers=FACTORY.leftovers,
        has_depths=True,
        searches_embeddings=True,
        has_first_stage=True,
    ),
    "late-exact": Kind(
        "dprkit.indexes.late_exact", reads="tokens", checked=False, searches_embeddings=True
    ),
    UPDATED: Kind("dprkit.indexes.updated_search"),
}
"""The kinds by name; update-index makes the last one, and `index` all others."""


DEFAULTS = {"vectors": "flat", "tokens": "late"}
"""The kind for what embeddings hold, where the user names none."""
WITH_WORDS = "+bm25"
"""At the end of a first stage: half of its candidates are found by words."""


def kind_of(name: str | None) -> Kind:
    """The kind that a setting or a manifest names."""
    return KINDS.get(name or DEFAULTS["vectors"], FACTORY)


def first_kinds(settings: IndexSettings) -> tuple[str, ...]:
    """The names of the kinds of a first stage: one of vectors, and one of words or none."""
    if not kind_of(settings.type).has_first_stage:
        return ()
    name = settings.first_stage
    return (name.removesuffix(WITH_WORDS), *(["bm25"] if name.endswith(WITH_WORDS) else []))


def kind_names() -> tuple[str, ...]:
    """The names of kinds that `dprkit index` builds."""
    return tuple(name for name in KINDS if name != UPDATED)


def first_stage_names() -> tuple[str, ...]:
    """The names of first stages, without words and with them."""
    vectors = [name for name in kind_names() if KINDS[name].reads == "vectors"]
    return (*vectors, *(f"{name}{WITH_WORDS}" for name in vectors))


def unused_settings(*names: str | None) -> set[str]:
    """Settings that count for other kinds of index and not for these."""
    used = {s for name in names for s in kind_of(name).settings}
    return {s for kind in KINDS.values() for s in kind.settings} - used
