"""`dprkit run`: the stages of a recipe, one after the other, or where each of them is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from dprkit.cli.commands import COMMANDS
from dprkit.cli.display import display
from dprkit.cli.exit_codes import Ending, ending
from dprkit.cli.options import (
    AsJson,
    ConfigFile,
    FromStage,
    OnlyStage,
    Quiet,
    RecipeName,
    Restart,
    Sets,
)
from dprkit.cli.stage import json_of_stage, refuse_second_stdout, tell
from dprkit.errors import GateError, SettingsError
from dprkit.pipeline.stage_order import StagesToRun, run_stages, stages_to_run
from dprkit.pipeline.stages import resumes
from dprkit.progress import Run
from dprkit.recipes import Recipe, load_recipe, looked_for


def run(
    config_file: ConfigFile = None,
    recipe_name: RecipeName = None,
    sets: Sets = None,
    only: OnlyStage = None,
    first: FromStage = None,
    status: Annotated[
        bool, typer.Option("--status", help="Show where each stage is; run nothing.")
    ] = False,
    restart: Restart = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the stages that a recipe names, and skip the stages whose output is up to date.

    --status tells of each stage whether its output is up to date, out of date, half done or not
    begun.

    Example: dprkit run --recipe tiny
    Example: dprkit run --recipe tiny --status
    """
    with ending(as_json, restart) as end:
        recipe = load_recipe(config_file, recipe_name, sets or ())
        if recipe.fallback:
            raise SettingsError(
                f"no recipe to run: {looked_for()}; --recipe tiny runs the shipped example"
            )
        stages = stages_to_run(recipe, only, first)
        if as_json:
            refuse_second_stdout(recipe.stage(stage, {})[0] for stage in stages)
        end.report = {"recipe": recipe.name, "stages": {}, "outputs": []}
        if status:
            _show_status(recipe, stages, end)
        else:
            _run(recipe, stages, Run(display(quiet), tuple(sys.argv), restart), quiet, end)
        if as_json:
            end.print_json(end.report)


def _run(recipe: Recipe, stages: StagesToRun, run: Run, quiet: bool, end: Ending) -> None:
    """Run the stages; each one's report is shown when it is done, and is added to `end`'s."""
    done: dict[str, Any] = end.report["stages"]
    end.resumes = lambda: bool(done) or resumes(recipe, next(iter(stages)))
    for stage, outcome in run_stages(recipe, stages, run):
        done[stage] = json_of_stage(outcome)
        end.report["outputs"] += outcome.report.outputs
        if not end.as_json:
            tell(outcome.report, COMMANDS[recipe.kind_of(stage)], quiet)
        if failures := getattr(outcome.report, "failures", None):  # of audit.fail_if
            raise GateError(f"{stage}: {'; '.join(failures)}")


def _show_status(recipe: Recipe, stages: StagesToRun, end: Ending) -> None:
    from dprkit.pipeline.status import statuses

    end.report["stages"] = statuses(recipe, stages)
    if not end.as_json:
        sys.stdout.writelines(_table(end.report["stages"]))


def _table(stages: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """The stages, a line each."""
    width = max(map(len, stages))
    for number, (stage, told) in enumerate(stages.items(), start=1):
        why = f"  ({told['why']})" if told["why"] else ""
        place = f"{number}/{len(stages)}".rjust(2 * len(f"{len(stages)}") + 1)
        line = f"{place}  {stage:<{width}}  {told['state']:<11}  {told['output']}"
        yield f"{line}{why}\n"
