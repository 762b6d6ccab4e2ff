"""What can be set of a late index: its first stage, and how many candidates that gives.

The first stage is a kind of index that reads vectors, named as in --type, over the mean of each
passage's token vectors: `exact`, `ivf`, `IVF1024,SQ8`, `milvus`. With `+bm25` behind it, half of
the candidates are found by words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from dprkit.errors import InputError, SettingsError
from dprkit.indexes.kinds import UPDATED, WITH_WORDS, Kind, first_kinds, kind_of
from dprkit.settings import IndexSettings
from dprkit.settings.indexes import CANDIDATES

VECTORS, WORDS = "first", "words"
"""What the counts of the parts of a first stage are called in those of the index."""


def settings_of(name: str, settings: IndexSettings) -> IndexSettings:
    """The settings by which a part of the first stage is built."""
    return msgspec.structs.replace(settings, type=name)


def check_settings(settings: IndexSettings) -> None:
    """Raise SettingsError for a first stage that is none, and as the kinds of its parts do."""
    vectors, *_ = names = first_kinds(settings)
    if kind_of(vectors).reads != "vectors" or vectors == UPDATED:
        raise SettingsError(
            f"--first-stage: {settings.first_stage!r} is not valid: expected a type that compares "
            f"vectors, such as exact, ivf or hnsw, with or without {WITH_WORDS} behind it"
        )
    for name in names:
        if kind_of(name).checked:
            with named_first_stage():
                kind_of(name).load_rules().check_settings(settings_of(name, settings))


@contextmanager
def named_first_stage() -> Iterator[None]:
    """A kind's errors about --type are about --first-stage, where it is a part of one."""
    try:
        yield
    except (InputError, SettingsError) as error:
        if not str(error).startswith("--type: "):
            raise
        raise type(error)(str(error).replace("--type", "--first-stage", 1)) from None


def depths_of(counts: Mapping[str, Any]) -> dict[str, int]:
    """How far a search looks: the candidates, and the depths of the first stage."""
    return {**_first(counts).depths_of(counts[VECTORS]), "candidates": counts["candidates"]}


def depths_for(settings: IndexSettings, counts: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of the manifest that say so."""
    first, kind = counts[VECTORS], _first(counts)
    if kind.has_depths:
        first = {**first, **kind.load_rules().depths_for(settings, first)}
    return {"candidates": settings.candidates or CANDIDATES, VECTORS: first}


def depths_to_try(_counts: Mapping[str, Any]) -> list[dict[str, int]]:
    """Growing depths to measure an index at."""
    return [{"candidates": count} for count in (50, 100, 200, 400, 700, 1000)]


def _first(counts: Mapping[str, Any]) -> Kind:
    return kind_of(counts[VECTORS]["type"])
