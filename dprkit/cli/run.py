"""`dprkit run`: the stages of a recipe, one after the other, or where each of them is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from dprkit.cli import completion
from dprkit.cli.commands import COMMANDS
from dprkit.cli.display import display
from dprkit.cli.exit_codes import Ending, ending
from dprkit.cli.options import AsJson, ConfigFile, Quiet, RecipeName, Restart, Sets
from dprkit.cli.stage import check_outputs, run_stage, tell, warn_of_idle_sets
from dprkit.errors import SettingsError, nearest
from dprkit.progress import Run
from dprkit.recipes import Recipe, load_recipe, looked_for
from dprkit.settings import STAGES, bundled
from dprkit.store.stage_files import StageFiles, check_files

DATA = {"sources", "train_file", "valid_file", "passages", "questions"}
"""Settings that name questions and passages."""


def run(
    config_file: ConfigFile = None,
    recipe_name: RecipeName = None,
    sets: Sets = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE", help="Run this stage alone.", autocompletion=completion.of_stages
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            help="Run this stage and those after it.",
            autocompletion=completion.of_stages,
        ),
    ] = None,
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
        stages = _chosen(recipe, only, first)
        files = _files(recipe, stages, as_json)
        end.report = {"recipe": recipe.name, "stages": {}, "outputs": []}
        if status:
            from dprkit.cli.status import statuses, table

            end.report["stages"] = statuses(recipe, files)
            if not as_json:
                sys.stdout.writelines(table(end.report["stages"]))
        else:
            check_files(files)
            for _, name, path in _given(files):
                _try_to_read(name, path)
            around = Run(display(quiet), tuple(sys.argv), restart)
            around.progress.note(f"recipe {recipe.name}: {recipe.source}")
            warn_of_idle_sets(recipe, stages, around.progress)
            if mixed := _beside_the_example(files):
                around.progress.warn(mixed)
            for stage, report in _run_stages(
                recipe, stages, around, None if as_json else quiet, end
            ):
                end.report["stages"][stage] = report
                end.report["outputs"] += report["outputs"]
        if as_json:
            end.print_json(end.report)


def _runnable(recipe: Recipe) -> list[str]:
    return [name for name in recipe.names if COMMANDS[recipe.kind_of(name)].in_run]


def _chosen(recipe: Recipe, only: str | None, first: str | None) -> list[str]:
    """The stages of `recipe` to run, in their order."""
    stages = _runnable(recipe)
    if not stages:
        raise SettingsError(f"{recipe.source}: names no stage; there is nothing to run")
    if only and first:
        raise SettingsError("--only and --from both choose stages; give one of them")
    for flag, name in (("--only", only), ("--from", first)):
        if name and name in recipe.names and name not in stages:
            raise SettingsError(
                f"{flag}: dprkit run does not run {name}; give dprkit {recipe.kind_of(name)}"
            )
        if name and name not in stages:
            hint = nearest(name, stages) or f"; there are {', '.join(stages)}"
            raise SettingsError(f"{flag}: {recipe.source} has no stage {name!r}{hint}")
    return [only] if only else stages[stages.index(first) if first else 0 :]


def _files(recipe: Recipe, stages: list[str], as_json: bool) -> dict[str, StageFiles]:
    """What each stage will read and write; every value of the recipe and of --set is checked."""
    for stage in {**STAGES, **recipe.written}:
        recipe.explain(stage, {})
    files = {}
    for stage in stages:
        settings = recipe.stage(stage, {})[0]
        check_outputs(settings, as_json)
        module = import_module(COMMANDS[recipe.kind_of(stage)].home.partition(":")[0])
        awaited = _awaited(recipe, stage)
        told = module.files_of(msgspec.structs.replace(settings, **dict.fromkeys(awaited)))
        files[stage] = told._replace(reads={**told.reads, **awaited})
    return files


def _awaited(recipe: Recipe, stage: str) -> dict[str, list[str]]:
    """setting -> the folder that it names, which a stage of the recipe has yet to make.

    Only of settings that take a hub's name too: a stage takes a folder that is not there for one.
    """
    explained = (recipe.explain(name, {}) for name in _runnable(recipe))
    made = {Path(of["output_dir"][0]).absolute() for of in explained if of["output_dir"][0]}
    awaited = {}
    for name, (path, _) in recipe.explain(stage, {}).items():
        if recipe.fields(stage)[name].hub and path and not os.path.exists(path):
            here = Path(os.path.abspath(path))
            if made & {here, *here.parents}:
                awaited[name] = [path]
    return awaited


def _given(files: Mapping[str, StageFiles]) -> Iterator[tuple[str, str, str]]:
    """(stage, setting, path) of each data file that is read and that no stage of the run writes."""
    written = {os.path.abspath(path) for of_stage in files.values() for path in of_stage.files}
    for stage, of_stage in files.items():
        for name in DATA & set(of_stage.reads):
            for path in of_stage.reads[name]:
                if os.path.isfile(path) and os.path.abspath(path) not in written:
                    yield stage, name, path


def _try_to_read(name: str, path: str) -> None:
    """Read the first row of a file of passages or questions; training reads its own at once."""
    from dprkit.data.passages import read_passages
    from dprkit.data.questions import read_questions

    if name == "passages":
        next(read_passages(path), None)
    elif name == "questions":
        next(read_questions(path), None)


def _beside_the_example(files: Mapping[str, StageFiles]) -> str:
    """What to say where a run reads the bundled example in one place and other data in another."""
    example: list[str] = []
    own: list[str] = []
    for stage, name, path in _given(files):
        is_example = Path(path).is_relative_to(bundled("tiny"))
        (example if is_example else own).append(f"{stage}.{name}")
    if not (example and own):
        return ""
    return f"{', '.join(example)}: the bundled example, while {', '.join(own)} is data of your own"


def _run_stages(
    recipe: Recipe, stages: list[str], run: Run, quiet: bool | None, end: Ending
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each stage's name and report, which is shown unless `quiet` is None."""
    everything = _runnable(recipe)
    for stage in stages:
        run.progress.note(f"== {everything.index(stage) + 1}/{len(everything)} {stage}")
        end.resumes = partial(_goes_on, recipe, stage, end)
        report, told = run_stage(recipe, stage, {}, run, {})
        if quiet is not None:
            tell(report, COMMANDS[recipe.kind_of(stage)].render, quiet)
        yield stage, told


def _goes_on(recipe: Recipe, stage: str, end: Ending) -> bool:
    """Whether `run` would pass over a stage that is done, or go on within `stage`."""
    done = bool(end.report["stages"])
    return done or COMMANDS[recipe.kind_of(stage)].resumes(recipe.stage(stage, {})[0])
