"""Whether what a plan says fits: into the time, disk and memory that are allowed or there are.

Seconds and bytes on the disk add up from stage to stage, and the stage that passes a limit is
named. Memory is that of each stage alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from dprkit.pipeline.costs import NOTHING, Range, bytes_words, exactly, time_words


class StagePlan(msgspec.Struct):
    """What a stage will cost. Amounts are None where they cannot be known before."""

    stage: str
    state: str
    why: str = ""
    """Of what is not known."""
    work: str = ""
    seconds: Range | None = None
    disk: Range | None = None
    scratch: Range | None = None
    """Bytes on the disk while it runs, beside those that stay."""
    memory: Range | None = None
    notes: list[str] = []


class Limits(NamedTuple):
    """What a run may take at the most; None: no more than what the machine has."""

    hours: float | None = None
    disk: int | None = None
    memory: int | None = None


NO_LIMITS = Limits()


class Misfit(NamedTuple):
    """An amount that passes a limit."""

    told: str
    likely: bool
    """False: only the high end of the amount passes it."""


Planned = Mapping[str, StagePlan]


def misfits(planned: Planned, limits: Limits, memory: int, room: Mapping[str, int]) -> list[Misfit]:
    """Where the stages do not fit, or may not.

    `memory`: bytes that are available. `room`: bytes that are free where each stage writes.
    """
    found: list[Misfit] = []
    hours, on_disk, alone = limits.hours, _on_disk(planned), _memory(planned)
    if hours is not None:
        least = f"--max-hours {hours:g}"
        found += _over(_time(planned), lambda _: 3600 * hours, time_words, "the run takes", least)
    if limits.disk is not None:
        disk, told = limits.disk, f"--max-disk {_bytes(limits.disk)}"
        found += _over(on_disk, lambda _: disk, bytes_words, "the disk has to hold", told)
    free = "the disk has free"
    found += _over(on_disk, room.__getitem__, bytes_words, "the disk has to hold", free)
    if limits.memory is not None:
        most, told = limits.memory, f"--max-memory {_bytes(limits.memory)}"
        found += _over(alone, lambda _: most, bytes_words, "it takes", told)
    there = f"the {_bytes(memory)} of memory that are available"
    return found + _over(alone, lambda _: memory, bytes_words, "it takes", there)


def _over(
    amounts: Mapping[str, Range],
    limit: Callable[[str], float],
    words: Callable[[Range], str],
    verb: str,
    name: str,
) -> list[Misfit]:
    """The first stage whose amount is likely to pass its limit; else the first that may."""
    may: list[Misfit] = []
    for stage, amount in amounts.items():
        if amount.likely > limit(stage):
            return [Misfit(f"{stage}: {verb} {words(amount)}, more than {name}", True)]
        if amount.high > limit(stage) and not may:
            may = [Misfit(f"{stage}: {verb} {words(amount)}, which may be more than {name}", False)]
    return may


def _time(planned: Planned) -> dict[str, Range]:
    """Seconds from the beginning to the end of each stage."""
    return dict(_added(planned, lambda stage: stage.seconds))


def _on_disk(planned: Planned) -> dict[str, Range]:
    """Bytes on the disk while each stage runs."""
    kept = dict(_added(planned, lambda stage: stage.disk))
    return {name: kept[name].plus(stage.scratch or NOTHING) for name, stage in planned.items()}


def _memory(planned: Planned) -> dict[str, Range]:
    return {name: stage.memory or NOTHING for name, stage in planned.items()}


def _added(
    planned: Planned, amount: Callable[[StagePlan], Range | None]
) -> Iterator[tuple[str, Range]]:
    total = NOTHING
    for name, stage in planned.items():
        total = total.plus(amount(stage) or NOTHING)
        yield name, total


def _bytes(count: int) -> str:
    return bytes_words(exactly(count))
