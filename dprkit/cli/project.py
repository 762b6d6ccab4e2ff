"""Commands about an experiment as a whole: run, config show, init, info."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import msgspec
import typer

from dprkit.cli import completion, render
from dprkit.cli.commands import COMMANDS
from dprkit.cli.display import display, say
from dprkit.cli.exit_codes import Ending, ending
from dprkit.cli.help import Command, Group
from dprkit.cli.stage import (
    AsJson,
    Config,
    Quiet,
    RecipeName,
    Restart,
    Sets,
    check_outputs,
    run_stage,
    tell,
    tell_fallback,
)
from dprkit.errors import GateError, OutputError, SettingsError, nearest
from dprkit.progress import Run
from dprkit.recipes import RECIPE, Recipe, load_recipe, looked_for, recipe_names
from dprkit.settings import STAGES, Setting, bundled, fields_of
from dprkit.store import stage_files

DATA = {"sources", "train_file", "valid_file", "passages", "questions"}
"""Settings that name questions and passages."""

# --- run ------------------------------------------------------------------------------------------


def run(
    config: Config = None,
    recipe: RecipeName = None,
    sets: Sets = None,
    restart: Restart = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the stages that a recipe mentions, and skip those whose output is up to date.

    Example: dprkit run --recipe tiny
    """
    with ending(as_json, restart) as end:
        found = load_recipe(config, recipe, sets or ())
        if found.fallback:
            raise SettingsError(
                f"no recipe to run: {looked_for()}; --recipe tiny runs the shipped example"
            )
        made = _plans(found, as_json)
        stage_files.check(made)
        for _, name, path in _given(made):
            _try_to_read(name, path)
        around = Run(display(quiet), tuple(sys.argv), restart)
        around.progress.note(f"recipe {found.name}: {found.source}")
        if mixed := _beside_the_example(made):
            around.progress.warn(mixed)
        end.report = {"recipe": found.name, "stages": {}, "outputs": []}
        for stage, report in _run_stages(found, around, None if as_json else quiet, end):
            end.report["stages"][stage] = report
            end.report["outputs"] += report["outputs"]
        if as_json:
            render.as_json(render.json_of(end.report, time.perf_counter() - end.begin))


def _stages(recipe: Recipe) -> list[str]:
    """The stages that a run of `recipe` has, in their order."""
    return [name for name, command in COMMANDS.items() if command.in_run and name in recipe.written]


def _plans(recipe: Recipe, as_json: bool) -> dict[str, stage_files.Plan]:
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
        made[stage] = module.plan(settings)
    return made


def _given(made: Mapping[str, stage_files.Plan]) -> Iterator[tuple[str, str, str]]:
    """(stage, setting, path) of each data file that is read and that no stage of the run writes."""
    written = {os.path.abspath(path) for plan in made.values() for path in plan.files}
    for stage, plan in made.items():
        for name in DATA & set(plan.reads):
            for path in plan.reads[name]:
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


def _beside_the_example(made: Mapping[str, stage_files.Plan]) -> str:
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


# --- config show ----------------------------------------------------------------------------------

config = typer.Typer(cls=Group, help="Show the recipe in force.", no_args_is_help=True)


@config.callback()
def _config() -> None:
    pass


@config.command("show", cls=Command)
def show(
    stage: Annotated[
        str | None,
        typer.Argument(help="Print this stage only.", autocompletion=completion.one_of(STAGES)),
    ] = None,
    config: Config = None,
    recipe: RecipeName = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Print every setting that is in force and where it comes from.

    Example: dprkit config show train --set train.lr=1e-4
    """
    with ending(as_json) as end:
        found = load_recipe(config, recipe, sets or ())
        if stage is not None and stage not in STAGES:
            hint = nearest(stage, STAGES) or f"; there are {', '.join(STAGES)}"
            raise SettingsError(f"no stage is called {stage!r}{hint}")
        stages = [stage] if stage else list(STAGES)
        explained = {name: found.explain(name, {}) for name in stages}
        tell_fallback(found, ("workspace",))
        if as_json:
            stages_shown = {
                name: {k: {"value": v, "from": origin} for k, (v, origin) in settings.items()}
                for name, settings in explained.items()
            }
            shown = {"recipe": found.name, "source": found.source, "stages": stages_shown}
            return render.as_json(
                render.json_of(shown | {"outputs": []}, time.perf_counter() - end.begin)
            )
        sys.stdout.write(f"name: {found.name}  # {found.source}\n")
        for name, settings in explained.items():
            sys.stdout.write(f"{name}:\n")
            for key, (value, origin) in settings.items():
                sys.stdout.write(f"  {f'{key}: {render.as_yaml(value)}':<44}  # {origin}\n")


# --- init -----------------------------------------------------------------------------------------


def init(
    where: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder, or .yaml file, to write it to.")
    ] = Path(),
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The recipe to begin with. [default: tiny]",
            autocompletion=completion.of_recipes,
        ),
    ] = "tiny",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write dprkit.yaml, a recipe to edit, with a comment on every setting.

    Example: dprkit init my-experiment --recipe tiny
    """
    from dprkit.store.atomic_files import write_file

    with ending(as_json) as end:
        found = load_recipe(recipe=recipe)
        is_file = where.suffix in (".yaml", ".yml") and not where.is_dir()
        path = where if is_file else where / RECIPE
        name = path.stem if path.name != RECIPE else path.resolve().parent.name
        if os.path.lexists(path):
            raise OutputError(f"{path}: already there; move it away first")
        with write_file(path) as file:
            name = name.encode(errors="ignore").decode()  # of a folder that is not UTF-8
            file.write(commented(found, name).encode())
        if as_json:
            made = {"recipe": found.name, "outputs": [str(path)], "change": to_change(found)}
            return render.as_json(render.json_of(made, time.perf_counter() - end.begin))
        if not quiet:
            say(f"  -> {path}")
            marked = ", ".join(to_change(found))
            say(f"For data of your own, change the lines marked CHANGE: {marked}.")
            at = "" if path.name == RECIPE else f" --config {path.name}"
            go = "" if path.resolve().parent == Path.cwd() else f"cd {quote(str(path.parent))} && "
            say(f"Then: {go}dprkit run{at}        (dprkit config show{at} tells what is in force)")


def to_change(recipe: Recipe) -> list[str]:
    """The settings of a shipped recipe that fit its own data, as stage.key."""
    return [
        f"{stage}.{key}"
        for stage, settings in recipe.written.items()
        for key in settings
        if ((setting := fields_of(STAGES[stage])[key]).path and not setting.hub) or key == "split"
    ]


def commented(recipe: Recipe, name: str) -> str:
    """The YAML of a recipe with every setting: those it leaves at their default commented out."""
    places = Recipe("NAME", "", {}, {})
    lines = [
        f"# A dprkit recipe, begun from the shipped {recipe.name!r} ({', '.join(recipe_names())}).",
        "# Settings that are commented out have the value shown. Paths are relative to this file.",
        "# For data of your own, change the lines marked CHANGE. dprkit run runs all stages.",
        f"name: {render.as_yaml(name)}",
    ]
    for stage in STAGES:
        if stage in recipe.written:
            lines += ["", f"{stage}:"]
            for key, setting in fields_of(STAGES[stage]).items():
                default = places.explain(stage, {})[key][0]
                change = f"{stage}.{key}" in to_change(recipe)
                lines += _commented_setting(recipe.written[stage], key, setting, default, change)
    return "\n".join(lines) + "\n"


def _commented_setting(
    written: Mapping[str, Any], key: str, setting: Setting, default: Any, change: bool
) -> list[str]:
    sign = "" if key in written else "# "
    value = render.as_yaml(written.get(key, default))
    mark = "  # CHANGE" if change else ""
    return [f"  # {line}" for line in textwrap.wrap(setting.sentence, 92)] + [
        f"  {sign}{key}: {value}{mark}"
    ]


# --- info -----------------------------------------------------------------------------------------


def info(
    path: Annotated[Path, typer.Argument(help="The folder of an artifact.")],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Read all files again, and encode a retriever's probe texts; compare both with "
            "what was saved.",
        ),
    ] = False,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="With --check: compare a retriever with the folder it was converted from (two of "
            "a pair: questions first), read by its own library.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an artifact is, which command made it, and from which inputs.

    With --check, an artifact with a file that was changed is refused (exit code 3), and so is a
    retriever whose vectors are no longer those it was saved with.

    Example: dprkit info runs/tiny/index
    """
    from dprkit.store.manifests import read_manifest, read_progress

    with ending(as_json) as end:
        if check:
            return _check(path, source, as_json, end)
        if source:
            raise SettingsError("--source is for --check; give both")
        unfinished = read_progress(path)
        found: Any = unfinished or read_manifest(path)
        if as_json:
            state = {"finished": unfinished is None, "outputs": []}
            told = msgspec.to_builtins(found) | state
            return render.as_json(render.json_of(told, time.perf_counter() - end.begin))
        for line in _unfinished(found) if unfinished else _described(found):
            sys.stdout.write(line + "\n")


def _check(path: Path, source: list[Path] | None, as_json: bool, end: Ending) -> None:
    from dprkit.store.integrity import damage
    from dprkit.store.manifests import read_manifest

    manifest = read_manifest(path, "retriever" if source else None)
    damaged = damage(path, manifest)
    size = sum(record.bytes for record in manifest.files.values())
    end.report = {"files": len(manifest.files), "bytes": size, "damaged": damaged, "outputs": []}
    files = render.counted(len(manifest.files), "file")
    if not as_json:
        for line in damaged:
            sys.stdout.write(line + "\n")
        sys.stdout.write(f"{files} read: {size:,} bytes\n")
    if damaged:
        raise GateError(f"{path}: {render.counted(len(damaged), 'damaged file')}: {damaged[0]}")
    if manifest.kind == "retriever":
        _check_probes(path, as_json, end)
    if source:
        _check_source(path, source, as_json, end)
    if as_json:
        render.as_json(render.json_of(end.report, time.perf_counter() - end.begin))


def _check_probes(path: Path, as_json: bool, end: Ending) -> None:
    from dprkit.models.checkpoints import PROBE_TOLERANCE, probe_difference

    difference = probe_difference(path)
    end.report |= {"largest_difference": difference, "allowed": PROBE_TOLERANCE}
    if not as_json:
        sys.stdout.write(f"largest difference of its probes' vectors: {difference:.3g}\n")
    if not difference <= PROBE_TOLERANCE:
        raise GateError(
            f"{path}: its probes' vectors differ by {difference:.3g} from those it was saved "
            f"with ({PROBE_TOLERANCE:g} is allowed); a library has changed"
        )


def _check_source(path: Path, source: list[Path], as_json: bool, end: Ending) -> None:
    from dprkit.interop.compare import against_source

    theirs = against_source(path, source)
    end.report["difference_from_source"] = theirs
    if not as_json:
        sys.stdout.write(f"largest difference from the source: {theirs:.3g}\n")


def _described(manifest: Any) -> Iterator[str]:
    yield f"{manifest.kind}  {manifest.identity}"
    yield f"made by dprkit {manifest.dprkit}: {shlex.join(['dprkit', *manifest.command[1:]])}"
    yield "made from"
    yield from _inputs(manifest)
    yield "counts"
    for name, value in manifest.counts.items():
        yield f"  {name}: {render.words(value)}"
    yield "settings"
    for name, value in manifest.settings.items():
        yield f"  {name}: {render.as_yaml(value)}"
    yield "files"
    for name, record in manifest.files.items():
        yield f"  {record.bytes:>14,}  {record.sha256[:12]}  {name}"


def _inputs(made: Any) -> Iterator[str]:
    for name, known in made.inputs.items():
        yield f"  {name}: {known.path}  {known.identity}"


def _unfinished(record: Any) -> Iterator[str]:
    yield f"{record.kind}, unfinished: run the command that makes it again to go on"
    yield "being made from"
    yield from _inputs(record)
    yield f"files so far: {len(record.files)}"
