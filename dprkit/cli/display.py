"""Progress on stderr: bars on a terminal, plain lines with time and rate elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.filesize import decimal

from dprkit.progress import Progress

LINE_EVERY = 10.0
"""Seconds between plain lines of one count."""
ROOM = 48
"""Characters that a bar has beside its facts."""


def display(quiet: bool) -> Progress:
    """The display that fits where stderr goes."""
    if quiet:
        return Quiet()
    still = os.environ.get("TERM") in ("dumb", "unknown")  # no line there can be written over
    return Bars() if sys.stderr.isatty() and not still else Lines()


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
        self.first = self.first or time.monotonic() - self.begin
        self.done += count
        self.facts = facts or self.facts
        self.show(count)

    def show(self, count: int) -> None:
        """Tell from time to time what was counted; the last `count` of it just now."""
        if time.monotonic() - self.told >= LINE_EVERY:
            self.told = time.monotonic()
            self._tell(self._left())

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
        return decimal(round(count))
    return f"{count:,.{digits}f} {unit.removesuffix('s') if count == 1 and not digits else unit}"


class Bars(Lines):
    """A rich bar for the count at hand; it goes when the count is done, and a line stays."""

    def __init__(self) -> None:
        from rich.console import Console

        self.bar: Any = None
        self.console = Console(stderr=True, highlight=False)

    def note(self, message: str) -> None:
        with silenced():
            self.console.print(message, markup=False, soft_wrap=True)

    def start(self, what: str, total: int | None, unit: str, done: int = 0) -> None:
        super().start(what, total, unit, done)
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

    def show(self, count: int) -> None:
        self.bar.update(self.bar.task_ids[0], advance=count, facts=self._facts())

    def _facts(self) -> str:
        """As many of the facts as leave room for the bar, the count and the time left."""
        shown = ""
        for name, value in self.facts.items():
            longer = f"{shown} {name} {value:.3g}".lstrip()
            if len(longer) + ROOM > self.console.width:
                break
            shown = longer
        return shown

    def finish(self) -> None:
        self.close()
        self.note(self.summary())

    def close(self) -> None:
        """Take a bar down, also after an error: it hides the cursor while it stands."""
        if self.bar is not None:
            with silenced():
                self.bar.stop()
            self.bar = None
