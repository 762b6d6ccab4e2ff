"""Progress on stderr: bars on a terminal, plain lines with time and rate elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
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
    with silenced():
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@contextmanager
def silenced() -> Iterator[None]:
    """Point stderr at nothing where it cannot be written, as after the terminal was closed."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class Quiet(Progress):
    """Warnings and nothing else."""

    def warn(self, message: str) -> None:
        say(f"Warning: {message}")


class Lines(Progress):
    """One line now and then, for logs and cron."""

    def __init__(self) -> None:
        self.start("", None, "")

    def note(self, message: str) -> None:
        say(f"{time.strftime('%H:%M:%S')} {message}")

    def start(self, what: str, total: int | None, unit: str, done: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self.before = done
        self.facts: Mapping[str, float] = {}
        self.begin = self.told = time.monotonic()
        self.first = 0.0
        """Seconds until something was done: what loads a model at first takes them for that."""
        self.last = ""

    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        self.count(count, facts)
        if time.monotonic() - self.told >= LINE_EVERY:
            self.told = time.monotonic()
            self._tell(self._left())

    def count(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        """Count without a word."""
        self.first = self.first or time.monotonic() - self.begin
        self.done += count
        self.facts = facts or self.facts

    def finish(self) -> None:
        self._tell()

    def summary(self) -> str:
        """What was done in which time, and how fast."""
        seconds = max(time.monotonic() - self.begin, 1e-9)
        rate = amount((self.done - self.before) / seconds, self.unit, 1)
        slow = self.first > max(1.0, seconds / 4)
        first = f", the first after {self.first:.1f} s" if slow else ""
        done = amount(self.done, self.unit)
        if self.total and self.done < self.total:
            done = f"{done.removesuffix(f' {self.unit}')} of {amount(self.total, self.unit)}"
        return f"{self.what}: {done} in {seconds:.1f} s, {rate}/s{first}"

    def _left(self) -> str:
        """About how long the rest takes at the rate so far."""
        done = self.done - self.before
        if done <= 0 or self.done >= (self.total or 0):
            return ""
        seconds = (time.monotonic() - self.begin) / done * ((self.total or 0) - self.done)
        return f", about {timedelta(seconds=round(seconds))} left"

    def _tell(self, left: str = "") -> None:
        if self.last == f"{self.done}":
            return  # the last line has it all
        self.last = f"{self.done}"
        facts = "".join(f", {name} {value:.4g}" for name, value in self.facts.items())
        self.note(f"{self.summary()}{facts}{left}")


def amount(count: float, unit: str, digits: int = 0) -> str:
    """`count` with its unit: 1,234 rows, 307 MB."""
    if unit == "bytes":
        return size(count)
    return f"{count:,.{digits}f} {unit.removesuffix('s') if count == 1 and not digits else unit}"


def size(count: float) -> str:
    """`count` bytes for people: 307 MB, 64.5 GB."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} bytes"


class Bars(Progress):
    """A rich bar for the count at hand; it goes when the count is done, and a line stays."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.bar: Any = None
        self.lines = Lines()

    def note(self, message: str) -> None:
        with silenced():
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
        with silenced():
            self.bar.start()
        self.lines.start(what, total, unit, done)

    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        self.lines.count(count, facts)
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
        self.note(self.lines.summary())

    def close(self) -> None:
        """Take a bar down, also after an error: it hides the cursor while it stands."""
        if self.bar is not None:
            with silenced():
                self.bar.stop()
            self.bar = None
