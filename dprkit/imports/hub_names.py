"""Names of data sets on the Hugging Face hub among the sources: fetched, and read as folders."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from dprkit import hub
from dprkit.imports.dataset_folder import README, TEXTS, patterns_of
from dprkit.progress import Note
from dprkit.settings import ImportSettings

_NAME = re.compile(
    r"\w[\w.-]*/(?![\w.-]*\.(?:jsonl?|[ct]sv|txt|md|html?|parquet|arrow|zip|gz|zst)$)[\w.-]+"
)
DATA = ("*.parquet", "*.arrow", "state.json", "dataset_dict.json", *TEXTS)
"""Files of a data set that are fetched where its README does not name them."""


def fetched(settings: ImportSettings, note: Note) -> ImportSettings:
    """The settings with a folder in place of each name that the hub knows.

    Raises InputError for a name that is no file here and none on the hub.
    """
    return replace(settings, sources=tuple(_fetched(s, settings, note) for s in settings.sources))


def _fetched(source: str, settings: ImportSettings, note: Note) -> str:
    if Path(source).exists() or not _NAME.fullmatch(source):
        return source
    note(f"{source}: no such folder here; asking the Hugging Face hub for it")
    card = hub.snapshot(source, (README,), "dataset")
    wanted = patterns_of(card, settings.subset) or DATA
    return str(hub.snapshot(source, (README, *wanted), "dataset"))
