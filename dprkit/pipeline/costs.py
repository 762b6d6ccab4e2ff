"""What a stage will cost: seconds, disk and memory, each as a range, for it was only tried."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

FASTER, SLOWER = 0.8, 1.3
"""How far from a rate that was tried a whole stage may be: passages of other lengths, caches, and
other work on the machine."""


class Range(NamedTuple):
    """An amount that is not known exactly."""

    low: float
    likely: float
    high: float

    def plus(self, other: Range) -> Range:
        """The sum of two amounts."""
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, factor: float | Range) -> Range:
        """So many times the amount."""
        by = factor if isinstance(factor, Range) else exactly(factor)
        return Range(self.low * by.low, self.likely * by.likely, self.high * by.high)


def exactly(amount: float) -> Range:
    """An amount that is known."""
    return Range(amount, amount, amount)


def tried(values: Sequence[float]) -> Range:
    """An amount of which several samples were measured: the median, and how far it may be off."""
    return Range(FASTER * min(values), statistics.median(values), SLOWER * max(values))


def about(amount: float) -> Range:
    """An amount of which one sample was measured."""
    return tried([amount])


NOTHING = exactly(0.0)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage costs."""

    work: str
    """What there is to do, such as "280 steps of 64 questions"."""
    seconds: Range | None
    """None here and below: it cannot be known before."""
    disk: Range | None = NOTHING
    """Bytes that stay."""
    scratch: Range = NOTHING
    """Bytes that it takes beside them while it runs, such as checkpoints."""
    memory: Range = NOTHING
    """Bytes of all its processes on this machine, at the most."""
    notes: tuple[str, ...] = ()


# --- in words -------------------------------------------------------------------------------------


def time_words(seconds: Range) -> str:
    """`34 min (29 to 44)`."""
    unit, size = next((u, s) for u, s in (("h", 3600), ("min", 60), ("s", 1)) if _fits(seconds, s))
    return _spread(seconds.times(1 / size), unit)


def bytes_words(count: Range) -> str:
    """`2.1 GB (1.9 to 2.5)`."""
    units = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 1000), ("bytes", 1))
    unit, size = next((u, s) for u, s in units if count.likely >= s or s == 1)
    return _spread(count.times(1 / size), unit)


def _fits(seconds: Range, size: int) -> bool:
    """Whether a time is told in units of so many seconds: from 1.5 of them on."""
    return seconds.likely >= 1.5 * size or size == 1


def _spread(amount: Range, unit: str) -> str:
    low, likely, high = (_short(value) for value in amount)
    return f"{likely} {unit}" + ("" if low == high else f" ({low} to {high})")


def _short(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"
