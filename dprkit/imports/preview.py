"""import-data --dry-run: how each source is understood, and the first items of it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from dprkit.imports.hub_names import fetched
from dprkit.imports.import_data import check
from dprkit.imports.items import Dropped, Item, Tally, fault_of
from dprkit.imports.kinds import kinds_of
from dprkit.progress import Run
from dprkit.records import Passage, Question
from dprkit.settings import ImportSettings

SHOWN = 3
"""Items that are shown of a source."""
LOOKED_AT = 1000
"""Items that are read of a source, so that what would be dropped shows."""


class SourcePreview(msgspec.Struct):
    """One source."""

    source: str
    kind: str
    understood: str
    items: list[dict[str, Any]]
    """The first ones: sort, and the fields of dprkit's record."""
    looked_at: int
    """Items that were read for this, and those of them that would be left out, by reason."""
    dropped: dict[str, Dropped]
    notes: list[str]


class ImportPreview(msgspec.Struct):
    """What import-data would read."""

    sources: list[SourcePreview]
    outputs: list[str] = []


def preview(settings: ImportSettings, run: Run = Run()) -> ImportPreview:
    """Read the first items of each source; nothing is written. Raises what import_data raises."""
    check(settings)
    settings, found = fetched(settings, run.progress.note), []
    for source, kind in zip(settings.sources, kinds_of(settings), strict=True):
        tally, items, looked_at = Tally(), list[Item](), 0
        tally.understand(source, kind.sentence)
        for item in islice(kind.items(Path(source), settings, tally), LOOKED_AT):
            looked_at += 1
            if fault := fault_of(item):
                tally.drop(fault, tally.where(source, looked_at))
            elif len(items) < SHOWN:
                items.append(item)
        understood = tally.understood.get(source, "")
        first = [_shown(item) for item in items]
        notes, dropped = tally.notes, tally.dropped
        found.append(SourcePreview(source, kind.name, understood, first, looked_at, dropped, notes))
    return ImportPreview(found)


def _shown(item: Item) -> dict[str, Any]:
    if isinstance(item, Passage | Question):
        sort = "passage" if isinstance(item, Passage) else "question"
        return {"sort": sort, **msgspec.to_builtins(item)}
    if isinstance(item, tuple):
        return {"sort": "judgement", **item._asdict()}
    return {"sort": "example", **msgspec.to_builtins(item)}
