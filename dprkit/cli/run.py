"""`dprkit run`: the stages of a recipe, one after the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from dprkit.cli.commands import COMMANDS
from dprkit.cli.display import display
from dprkit.cli.exit_codes import Ending, ending
from dprkit.cli.options import AsJson, ConfigFile, Quiet, RecipeName, Restart, Sets
from dprkit.cli.stage import check_outputs, run_stage, tell
from dprkit.errors import SettingsError
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
    restart: Restart = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the stages that a recipe names, and skip the stages whose output is up to date.

    Example: dprkit run --recipe tiny
    """
    with ending(as_json, restart) as end:
        recipe = load_recipe(config_file, recipe_name, sets or ())
        if recipe.fallback:
            raise SettingsError(
                f"no recipe to run: {looked_for()}; --recipe tiny runs the shipped example"
            )
        made = _files(recipe, as_json)
        check_files(made)
        for _, name, path in _given(made):
            _try_to_read(name, path)
        around = Run(display(quiet), tuple(sys.argv), restart)
        around.progress.note(f"recipe {recipe.name}: {recipe.source}")
        if mixed := _beside_the_example(made):
            around.progress.warn(mixed)
        end.report = {"recipe": recipe.name, "stages": {}, "outputs": []}
        for stage, report in _run_stages(recipe, around, None if as_json else quiet, end):
            end.report["stages"][stage] = report
            end.report["outputs"] += report["outputs"]
        if as_json:
            end.print_json(end.report)


def _stages(recipe: Recipe) -> list[str]:
    """The stages that a run of `recipe` has, in their order."""
    return [name for name, command in COMMANDS.items() if command.in_run and name in recipe.written]


def _files(recipe: Recipe, as_json: bool) -> dict[str, StageFiles]:
    """What each stage will read and write; every value of the recipe and of --set is checked."""
    for stage in STAGES:
        recipe.explain(stage, {})
    if not _stages(recipe):
        raise SettingsError(f"{recipe.source}: names no stage; there is nothing to run")
    made = {}
    for stage in _stages(recipe):
        settings = recipe.stage(stage, {})[0]
        check_outputs(settings, as_json)
        module = import_module(COMMANDS[stage].home.partition(":")[0])
        made[stage] = module.files_of(settings)
    return made


def _given(made: Mapping[str, StageFiles]) -> Iterator[tuple[str, str, str]]:
    """(stage, setting, path) of each data file that is read and that no stage of the run writes."""
    written = {os.path.abspath(path) for files in made.values() for path in files.files}
    for stage, files in made.items():
        for name in DATA & set(files.reads):
            for path in files.reads[name]:
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


def _beside_the_example(made: Mapping[str, StageFiles]) -> str:
    """What to say where a run reads the bundled example in one place and other data in another."""
    example: list[str] = []
    own: list[str] = []
    for stage, name, path in _given(made):
        is_example = Path(path).is_relative_to(bundled("tiny"))
        (example if is_example else own).append(f"{stage}.{name}")
    if not (example and own):
        return ""
    return f"{', '.join(example)}: the bundled example, while {', '.join(own)} is data of your own"


def _run_stages(
    recipe: Recipe, run: Run, quiet: bool | None, end: Ending
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each stage's name and report, which is shown unless `quiet` is None."""
    for stage in _stages(recipe):
        run.progress.note(f"== {stage}")
        end.resumes = partial(_goes_on, recipe, stage, end)
        report, told = run_stage(recipe, stage, {}, run, {})
        if quiet is not None:
            tell(report, COMMANDS[stage].render, quiet)
        yield stage, told


def _goes_on(recipe: Recipe, stage: str, end: Ending) -> bool:
    """Whether `run` would pass over a stage that is done, or go on within `stage`."""
    done = bool(end.report["stages"])
    return done or COMMANDS[stage].resumes(recipe.stage(stage, {})[0])
