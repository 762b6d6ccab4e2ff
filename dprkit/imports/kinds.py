"""The kinds of foreign data that import-data reads: KINDS, whose first line that fits counts.

A new kind is a module beside this one with two functions and a line in KINDS, and its name in
KindName (settings/import_data.py):

    fits(path) -> bool                               by content; `path` may be a folder
    items(path, settings, tally) -> Iterator[Item]   in the source's order, in constant memory

Modules are imported when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from dprkit.errors import InputError, SettingsError
from dprkit.imports.items import Item, Tally
from dprkit.settings import ImportSettings


class ImportKind(NamedTuple):
    """A kind of foreign data."""

    name: str
    """What --kind says."""
    sentence: str
    """What it is, for --dry-run and messages."""
    fits: Callable[[Path], bool]
    """Whether a file or folder is of this kind, if it is of none before it in the table."""
    items: Callable[[Path, ImportSettings, Tally], Iterator[Item]]


def _kind(name: str, sentence: str, module: str) -> ImportKind:
    """The kind whose functions are in `module` of this room."""

    def fits(path: Path) -> bool:
        return bool(import_module(f"dprkit.imports.{module}").fits(path))

    def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
        read: Iterator[Item] = import_module(f"dprkit.imports.{module}").items(
            path, settings, tally
        )
        return read

    return ImportKind(name, sentence, fits, items)


KINDS: tuple[ImportKind, ...] = (
    _kind("table", "a table, or JSON rows with named columns", "table"),
)


def kinds_of(settings: ImportSettings) -> list[ImportKind]:
    """The kind of each source: what --kind says, for all or one after another, else what fits."""
    named = settings.kind
    if not named:
        return [_fitting(Path(source)) for source in settings.sources]
    if len(named) not in (1, len(settings.sources)):
        raise SettingsError(
            f"--kind: {len(named)} kinds for {len(settings.sources)} sources; give one for all, "
            "or one for each"
        )
    by_name = {kind.name: kind for kind in KINDS}
    return [by_name[name] for name in _spread(named, len(settings.sources))]


def _spread(named: Sequence[str], count: int) -> Sequence[str]:
    return named if len(named) == count else tuple(named) * count


def _fitting(path: Path) -> ImportKind:
    if not path.exists():
        raise InputError(f"{path}: is not there; check the path")
    kind = next((kind for kind in KINDS if kind.fits(path)), None)
    if kind is None:
        raise InputError(
            f"{path}: nothing that import-data knows; name its kind with --kind, one of "
            f"{', '.join(kind.name for kind in KINDS)}"
        )
    return kind
