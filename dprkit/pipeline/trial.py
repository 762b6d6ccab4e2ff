"""Where the stages of a plan are tried: a scratch folder, and stand-ins for files to come.

A stage that reads what an earlier one has yet to write is tried on a stand-in: a small artifact of
the same form, which the earlier stage's trial made, and the number of rows that the real one will
have.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from dprkit.pipeline.costs import Range
from dprkit.progress import Note, silent
from dprkit.settings import fields_of

T = TypeVar("T", bound=msgspec.Struct)


class NotKnown(Exception):
    """What a stage costs cannot be known before an earlier one has run."""


class StandIn(NamedTuple):
    """A path to try a stage on."""

    path: str
    rows: Range | None = None
    """The rows that the real file will have; None: this is the real one."""
    corpus: str = ""
    """Of embeddings: the corpus that they will be of."""


@dataclass
class Trial:
    """The surroundings in which the stages of one plan are tried."""

    scratch: Path
    note: Note = silent
    expected: dict[str, StandIn | str] = field(default_factory=dict)
    """Absolute path that will be written -> what stands in for it, or why nothing does."""

    def find(self, path: str) -> StandIn:
        """What to read in place of `path`, which may be there. Raises NotKnown."""
        here = Path(os.path.abspath(path))
        for above in (here, *here.parents):
            found = self.expected.get(str(above))
            if isinstance(found, str):
                raise NotKnown(f"{path}: {found}")
            if found is not None:
                below = os.path.relpath(here, above)
                return found._replace(path=os.path.normpath(os.path.join(found.path, below)))
        return StandIn(path)

    def path(self, path: str) -> str:
        """The path to read in place of `path`."""
        return self.find(path).path

    def models_here(self, settings: T) -> T:
        """The settings with folders in place of names on the hub. Raises NotKnown for what the
        hub's cache does not hold: nothing is fetched for a plan."""
        moved: dict[str, Any] = {}
        for name, setting in fields_of(type(settings)).items():
            given = getattr(settings, name)
            if setting.hub and given:
                is_one = isinstance(given, str)
                here = tuple(map(self._model_here, (given,) if is_one else given))
                moved[name] = here[0] if is_one else here
        return replace(settings, **moved)

    def _model_here(self, given: str) -> str:
        from dprkit.interop.hub import cached

        if os.path.exists(self.path(given)):
            return given
        folder = None if given.startswith((".", "/", "~")) else cached(given)
        if folder is None:
            raise NotKnown(f"{given}: is not here, so what it costs is not known before")
        return str(folder)

    def expect(self, path: str, stand_in: StandIn | str) -> None:
        """Stages that read `path` read `stand_in`, or are not known for the reason that it is."""
        self.expected[os.path.abspath(path)] = stand_in

    def folder(self, name: str) -> Path:
        """A new folder."""
        number = sum(1 for _ in self.scratch.iterdir())
        return self.scratch / f"{number}-{name}"


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """Gives a function that says the seconds since the block began; after it, of the block."""
    begin, end = time.perf_counter(), 0.0

    def seconds() -> float:
        return (end or time.perf_counter()) - begin

    try:
        yield seconds
    finally:
        end = time.perf_counter()


def bytes_below(folder: Path | str) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
