"""`dprkit run`: which stages of a recipe run, in which order, on which files; and running them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from dprkit.errors import SettingsError, nearest
from dprkit.pipeline.stages import (
    FUNCTIONS,
    Outcome,
    refuse_output_over_input,
    run_stage,
    warn_of_idle_sets,
)
from dprkit.progress import Run
from dprkit.recipes import Recipe
from dprkit.settings import STAGES, bundled
from dprkit.store.stage_files import StageFiles, check_files

DATA = {"sources", "train_file", "valid_file", "passages", "questions"}
"""Settings that name questions and passages."""
StagesToRun = Mapping[str, StageFiles]
"""The stages to run, in their order, each with the files that it reads and writes."""


def stages_to_run(recipe: Recipe, only: str | None = None, first: str | None = None) -> StagesToRun:
    """The stages of `recipe`, or `only` one, or those from `first` on.

    Every value of the recipe and of --set is checked. Raises SettingsError.
    """
    chosen = _chosen(recipe, only, first)
    for stage in {**STAGES, **recipe.written}:
        recipe.explain(stage, {})
    return {stage: _files(recipe, stage) for stage in chosen}


def run_stages(
    recipe: Recipe, stages: StagesToRun, run: Run = Run()
) -> Iterator[tuple[str, Outcome]]:
    """Run the stages one after the other; the name of each and what came of it.

    Stages that cannot all do their work are refused before the first begins.
    """
    check_files(stages)
    for _, name, path in _given(stages):
        _try_to_read(name, path)
    run.progress.note(f"recipe {recipe.name}: {recipe.source}")
    warn_of_idle_sets(recipe, list(stages), run.progress)
    if mixed := _beside_the_example(stages):
        run.progress.warn(mixed)
    everything = _runnable(recipe)
    for stage in stages:
        run.progress.note(f"== {everything.index(stage) + 1}/{len(everything)} {stage}")
        yield stage, run_stage(recipe, stage, run)


def _runnable(recipe: Recipe) -> list[str]:
    return [name for name in recipe.names if FUNCTIONS[recipe.kind_of(name)].in_run]


def _chosen(recipe: Recipe, only: str | None, first: str | None) -> list[str]:
    """The stages of `recipe` to run, in their order."""
    stages = _runnable(recipe)
    if not stages:
        raise SettingsError(f"{recipe.source}: names no stage to run; add one, such as train:")
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


def _files(recipe: Recipe, stage: str) -> StageFiles:
    """What a stage will read and write."""
    settings = recipe.stage(stage, {})[0]
    refuse_output_over_input(settings)
    awaited = _awaited(recipe, stage)
    module = FUNCTIONS[recipe.kind_of(stage)].module
    single = [name for name in awaited if isinstance(getattr(settings, name), str)]
    files: StageFiles = module.files_of(msgspec.structs.replace(settings, **dict.fromkeys(single)))
    reads = {name: [*files.reads.get(name, ()), *paths] for name, paths in awaited.items()}
    return files._replace(reads={**files.reads, **reads})


def _awaited(recipe: Recipe, stage: str) -> dict[str, list[str]]:
    """setting -> the folders that it names, which a stage of the recipe has yet to make.

    Only of settings that take a hub's name too: a stage takes a folder that is not there for one.
    """
    explained = (recipe.explain(name, {}) for name in _runnable(recipe))
    made = {Path(of["output_dir"][0]).absolute() for of in explained if of["output_dir"][0]}
    awaited: dict[str, list[str]] = {}
    for name, (given, _) in recipe.explain(stage, {}).items():
        if recipe.fields(stage)[name].hub and given:
            for path in (given,) if isinstance(given, str) else given:
                here = Path(os.path.abspath(path))
                if not os.path.exists(path) and made & {here, *here.parents}:
                    awaited.setdefault(name, []).append(path)
    return awaited


def _given(stages: StagesToRun) -> Iterator[tuple[str, str, str]]:
    """(stage, setting, path) of each data file that is read and that no stage of the run writes."""
    written = {os.path.abspath(path) for files in stages.values() for path in files.files}
    for stage, files in stages.items():
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


def _beside_the_example(stages: StagesToRun) -> str:
    """What to say where a run reads the bundled example in one place and other data in another."""
    example: list[str] = []
    own: list[str] = []
    for stage, name, path in _given(stages):
        is_example = Path(path).is_relative_to(bundled("tiny"))
        (example if is_example else own).append(f"{stage}.{name}")
    if not (example and own):
        return ""
    return f"{', '.join(example)}: the bundled example, while {', '.join(own)} is data of your own"
