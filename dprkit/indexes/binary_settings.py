"""What can be set of a binary index: how many candidates its bits find for a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dprkit.settings import IndexSettings
from dprkit.settings.indexes import CANDIDATES


def check_settings(_settings: IndexSettings) -> None:
    """Nothing that is given can be wrong."""


def depths_of(counts: Mapping[str, Any]) -> dict[str, int]:
    """How many candidates are compared by their vectors."""
    return {"candidates": counts["candidates"]}


def depths_for(settings: IndexSettings, _counts: Mapping[str, Any]) -> dict[str, int]:
    """The counts of the manifest that say so."""
    return {"candidates": settings.candidates or CANDIDATES}


def depths_to_try(_counts: Mapping[str, Any]) -> list[dict[str, int]]:
    """Growing depths to measure an index at."""
    return [{"candidates": count} for count in (50, 100, 200, 400, 1000, 2000)]
