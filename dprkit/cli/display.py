"""Progress on stderr: bars on a terminal, plain lines with time and rate elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from dprkit.progress import Progress

LINE_EVERY = 10.0
"""Seconds between plain lines of one count."""
ROOM = 48
"""Characters that a bar has beside its facts."""


def display(quiet: bool) -> Progress:
    """The display that fits where stderr goes."""
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Lines()


def say(line: str) -> None:
    """Write a line to stderr. When nobody can be told any more the work goes on in silence."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class Quiet(Progress):
    """Warnings and nothing else."""

    def warn(self, message: str) -> None:
        say(f"Warning: {message}")


class Lines(Progress):
    """One line now and then, for logs and cron."""

    def __init__(self) -> None:
        self.what, self.unit = "", ""
        self.total: int | None = None
        self.done = self.before = 0
        self.begin = self.told = time.monotonic()
        self.facts: Mapping[str, float] = {}

    def note(self, message: str) -> None:
        say(f"{time.strftime('%H:%M:%S')} {message}")

    def start(self, what: str, total: int | None, unit: str, done: int = 0) -> None:
        self.what, self.total, self.unit, self.facts = what, total, unit, {}
        self.done = self.before = done
        self.begin = self.told = time.monotonic()

    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        self.done += count
        self.facts = facts or self.facts
        if time.monotonic() - self.told >= LINE_EVERY:
            self.told = time.monotonic()
            self._tell()

    def finish(self) -> None:
        self._tell()

    def _tell(self) -> None:
        seconds = max(time.monotonic() - self.begin, 1e-9)
        of = f" of {self.total:,}" if self.total else ""
        facts = "".join(f", {name} {value:.4g}" for name, value in self.facts.items())
        rate = f"{(self.done - self.before) / seconds:,.2f} {self.unit}/s"
        self.note(f"{self.what}: {self.done:,}{of} {self.unit}, {seconds:.1f} s, {rate}{facts}")


class Bars(Progress):
    """A rich bar for the count at hand; it goes when the count is done, and a line stays."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.bar: Any = None
        self.lines = Lines()

    def note(self, message: str) -> None:
        self.console.print(message, markup=False, soft_wrap=True)

    def start(self, what: str, total: int | None, unit: str, done: int = 0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self.console,
            transient=True,
        )
        self.bar.add_task(what, total=total, completed=done, facts="")
        self.bar.start()
        self.lines.start(what, total, unit, done)

    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        self.lines.done += count
        self.lines.facts = facts or self.lines.facts
        self.bar.update(self.bar.task_ids[0], advance=count, facts=self._facts())

    def _facts(self) -> str:
        """As many of the facts as leave room for the bar, the count and the time left."""
        shown = ""
        for name, value in self.lines.facts.items():
            longer = f"{shown} {name} {value:.3g}".lstrip()
            if len(longer) + ROOM > self.console.width:
                break
            shown = longer
        return shown

    def finish(self) -> None:
        self.close()
        seconds = time.monotonic() - self.lines.begin
        rate = (self.lines.done - self.lines.before) / max(seconds, 1e-9)
        what, done, unit = self.lines.what, self.lines.done, self.lines.unit
        self.note(f"{what}: {done:,} {unit} in {seconds:.1f} s ({rate:,.1f}/s)")

    def close(self) -> None:
        """Take a bar down, also after an error: it hides the cursor while it stands."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
