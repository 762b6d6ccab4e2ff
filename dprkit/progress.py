"""Progress and messages of a stage: the interface of those who show them, and the run's own facts.

A stage never prints and never reads the command line. It gets a Run: the CLI passes bars on a
terminal and plain lines elsewhere; a library user passes nothing and gets silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


class Progress:
    """The face of every progress display, and the silent one."""

    verbose = False

    def note(self, message: str) -> None:
        """Tell how the work goes, such as "resuming after epoch 3"; --quiet leaves it out."""

    def detail(self, message: str) -> None:
        """Tell what few need to know, such as weights that are passed over; with --verbose."""
        if self.verbose:
            self.note(message)

    def warn(self, message: str) -> None:
        """Tell what changes the meaning of a result, such as "3 of 500 rows kept".

        --quiet shows it too.
        """
        self.note(f"Warning: {message}")

    def start(self, what: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a count of `unit`s up to `total` (None: unknown), `done` of them before."""

    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        """`count` more are done; `facts` are figures to show beside them, such as the loss."""

    def finish(self) -> None:
        """The count that `start` began has ended."""

    def close(self) -> None:
        """The stage has ended, with or without an error."""


class Named(Progress):
    """Another display, whose notes and warnings begin with what they are about."""

    def __init__(self, shown: Progress, name: str) -> None:
        self._shown, self._name, self.verbose = shown, name, shown.verbose

    def note(self, message: str) -> None:
        self._shown.note(self._named(message))

    def warn(self, message: str) -> None:
        self._shown.warn(self._named(message))

    def start(self, what: str, total: int | None, unit: str, done: int = 0) -> None:
        self._shown.start(what, total, unit, done)

    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        self._shown.advance(count, facts)

    def finish(self) -> None:
        self._shown.finish()

    def _named(self, message: str) -> str:
        return message if message.startswith(self._name) else f"{self._name}: {message}"


SILENT = Progress()

Note = Callable[[str], None]
"""Where the library tells what takes long: a display's `note`."""


def silent(_: str) -> None:
    """The `Note` of nobody."""


@dataclass(frozen=True)
class Run:
    """The surroundings of one stage."""

    progress: Progress = SILENT
    command: tuple[str, ...] = ()
    """The words the user typed, for the manifest."""
    restart: bool = False
    """Throw away what an interrupted or earlier run left in the output."""
    only_preview: bool = False
    """Raise Previewed, which tells how far the output is, in place of making it."""
