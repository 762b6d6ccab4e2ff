"""`dprkit plan`: what the stages of a recipe will cost, before they start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from dprkit.cli.display import display, say
from dprkit.cli.exit_codes import ending
from dprkit.cli.options import (
    AsCsv,
    AsJson,
    ConfigFile,
    FromStage,
    OnlyStage,
    Quiet,
    RecipeName,
    Sets,
)
from dprkit.cli.tables import Sheet, print_csv, refuse_two_forms, table
from dprkit.errors import GateError, SettingsError
from dprkit.recipes import load_recipe, looked_for

if TYPE_CHECKING:
    from dprkit.pipeline.costs import Range
    from dprkit.pipeline.fits import StagePlan
    from dprkit.pipeline.plan import Plan

HEADER = ("stage", "work", "time", "disk", "memory")
AMOUNTS = ("seconds", "disk", "scratch", "memory")


def plan(
    config_file: ConfigFile = None,
    recipe_name: RecipeName = None,
    sets: Sets = None,
    only: OnlyStage = None,
    first: FromStage = None,
    max_hours: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0, help="Exit with 3 if the stages are likely to take longer."
        ),
    ] = None,
    max_disk: Annotated[
        str | None,
        typer.Option(
            metavar="20GB",
            help="Exit with 3 if the stages are likely to take more of the disk "
            "(default: what is free).",
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="8GB",
            help="Exit with 3 if a stage is likely to take more memory "
            "(default: what is available).",
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    quiet: Quiet = False,
) -> None:
    """Tell how long the stages of a recipe will take on this machine, and how much disk and memory.

    Each stage that is not up to date is tried for some seconds, with the recipe's own model and
    data. Times are those of the machine as busy as it is now, and in brackets is how far they may
    be off. What cannot be known before is named, such as the speed of a download.

    Example: dprkit plan --recipe tiny
    Example: dprkit plan --recipe tiny --max-hours 2 --max-memory 8GB
    """
    with ending(as_json) as end:
        refuse_two_forms(as_json, as_csv)
        recipe = load_recipe(config_file, recipe_name, sets or ())
        if recipe.fallback:
            raise SettingsError(
                f"no recipe to plan: {looked_for()}; --recipe tiny plans the shipped example"
            )
        from dprkit.indexes.faiss_types import size_of
        from dprkit.pipeline.fits import Limits
        from dprkit.pipeline.plan import plan as plan_recipe
        from dprkit.pipeline.stage_order import stages_to_run

        disk, memory = size_of(max_disk, "--max-disk"), size_of(max_memory, "--max-memory")
        limits = Limits(max_hours, disk or None, memory or None)
        stages = stages_to_run(recipe, only, first)
        report = plan_recipe(recipe, stages, limits, display(quiet))
        if as_json:
            end.print_json(as_object(report))
        elif as_csv:
            print_csv(plan_sheet(report))
        elif not quiet:
            sys.stdout.writelines(f"{line}\n" for line in _lines(report))
        for note in report.notes:
            say(f"Warning: {note}")
        if report.failures:
            raise GateError("; ".join(report.failures))


def as_object(report: Plan) -> dict[str, Any]:
    """The plan for --json: an amount is an object with low, likely and high."""
    import msgspec

    shown: dict[str, Any] = msgspec.to_builtins(report)
    for part in (shown["total"], *shown["stages"].values()):
        for name in AMOUNTS:
            if part.get(name) is not None:
                part[name] = dict(zip(("low", "likely", "high"), part[name], strict=True))
    return shown


def plan_sheet(report: Plan) -> Sheet:
    """A row a stage, for --csv."""
    ends = ("low", "likely", "high")
    header = ["stage", "state", "work", *(f"{name}_{end}" for name in AMOUNTS for end in ends)]
    rows = []
    for name, stage in report.stages.items():
        amounts = (getattr(stage, amount) or (None,) * 3 for amount in AMOUNTS)
        rows.append((name, stage.state, stage.work, *(end for amount in amounts for end in amount)))
    return Sheet(header, rows)


def _lines(report: Plan) -> Iterator[str]:
    """The table for people, and below it what is to be known of it."""
    rows = [_row(name, stage) for name, stage in report.stages.items()]
    amounts = _words(*report.total.values())
    unknown = len(report.not_known)
    without = f"without {unknown} of {len(rows)} stages" if unknown else ""
    yield from table(HEADER, [*rows, ("in all", without, *amounts)])
    yield ""
    for name, stage in report.stages.items():
        yield from (f"{name}: {note}" for note in (stage.why, *stage.notes) if note)
    there = report.machine
    cores = f"{there['cores']} core{'s' * (there['cores'] != 1)} at a load of {there['load']:.1f}"
    free = f"{decimal(there['memory'])} of memory and {decimal(there['disk'])} of disk are free"
    yield f"tried on {cores}; {free}"


def _row(name: str, stage: StagePlan) -> tuple[str, ...]:
    if stage.seconds and not stage.seconds.high:
        return (name, stage.state, "-", "-", "-")
    return (name, stage.work or stage.state, *_words(stage.seconds, stage.disk, stage.memory))


def _words(seconds: Range | None, *bytes_: Range | None) -> list[str]:
    from dprkit.pipeline.costs import bytes_words, time_words

    def words(amount: Range | None, in_words: Callable[[Range], str]) -> str:
        return "?" if amount is None else in_words(amount) if amount.high else "-"

    return [words(seconds, time_words), *(words(amount, bytes_words) for amount in bytes_)]
