"""Stages as commands: the flags of each command are made from its settings class."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import typer

from dprkit.cli.commands import COMMANDS, Render
from dprkit.cli.display import display, say
from dprkit.cli.exit_codes import ending
from dprkit.cli.help import Command
from dprkit.cli.options import COMMON, option_of
from dprkit.cli.render import as_json as print_json
from dprkit.cli.render import as_yaml, json_of, outputs
from dprkit.errors import SettingsError
from dprkit.progress import SILENT, Progress, Run
from dprkit.recipes import Recipe, load_recipe, looked_for
from dprkit.settings import STAGES, fields_of
from dprkit.settings.fields import help_of
from dprkit.store.manifests import MANIFEST


def add_stage(app: typer.Typer, name: str) -> None:
    """Add the command `name`: flags from its settings class, then the stage, then its report."""
    entry, fields = COMMANDS[name], fields_of(STAGES[name])

    def command(**given: Any) -> None:
        with ending(given["as_json"], given["restart"]) as end:
            flags = {key: given[key] for key in fields if given[key] not in (None, [])}
            alone = os.environ.get("RANK", "0") == "0"  # under torchrun the first process reports
            recipe = load_recipe(given["config_file"], given["recipe_name"], given["sets"] or ())
            options = {key: given[key] for key in entry.options}
            stage = recipe.stage_for(name, given["stage"])
            settings, origins = recipe.stage(stage, flags)
            if alone:
                decided = (key for key in fields if getattr(settings, key) != fields[key].default)
                tell_fallback(recipe, map(origins.__getitem__, decided))
            if entry.instead and entry.instead(settings, options, end):
                return
            check_outputs(settings, given["as_json"])
            end.resumes = partial(entry.resumes, settings)
            progress = display(given["quiet"]) if alone else SILENT
            progress.verbose = given["verbose"]
            if given["verbose"]:
                tell_settings(recipe, stage, flags, progress)
            if alone:
                warn_of_idle_sets(recipe, [stage], progress)
            run = Run(progress, tuple(sys.argv), given["restart"])
            report, told = run_stage(recipe, stage, flags, run, options)
            if alone and given["as_json"]:
                print_json(told)
            elif alone:
                tell(report, entry.render, given["quiet"])

    places = Recipe("RECIPE", "", {}, {}).explain(name, {})
    parameters = {key: option_of(setting, places[key][0]) for key, setting in fields.items()}
    _sign(command, parameters | dict(entry.options) | COMMON)
    command.__doc__ = help_of(STAGES[name])
    app.command(name, cls=Command)(command)


def function_of(command: str) -> Callable[..., Any]:
    """The function that does the work of a command."""
    module, _, name = COMMANDS[command].home.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def run_stage(
    recipe: Recipe, name: str, flags: dict[str, Any], run: Run, options: dict[str, Any]
) -> tuple[msgspec.Struct, dict[str, Any]]:
    """The report of a stage under `recipe`, for people and as --json prints it."""
    settings, origins = recipe.stage(name, flags)
    for key, origin in origins.items():
        of_user = not recipe.shipped and key in recipe.written.get(name, {})
        if of_user and origin.startswith("replaced"):
            run.progress.note(f"{key} of {recipe.source} is left out: {origin}")
    stage = function_of(recipe.kind_of(name))
    begin, before = time.perf_counter(), _stamp(settings)
    try:
        report = stage(settings, run, **options)
    finally:
        close = getattr(run.progress, "close", None)
        if close:
            close()
    told: dict[str, Any] = msgspec.to_builtins(report)
    same = bool(before and told["outputs"]) and before == _stamp(settings)
    return report, json_of({"up_to_date": same} | told, time.perf_counter() - begin)


def _stamp(settings: msgspec.Struct) -> tuple[int, int] | None:
    """What changes with the manifest of the output folder; None where the output is a file."""
    if getattr(settings, "output", None):
        return None
    with suppress(OSError, TypeError):
        info = (Path(settings.output_dir) / MANIFEST).stat()  # type: ignore[attr-defined]
        return info.st_ino, info.st_mtime_ns
    return None


def tell(report: msgspec.Struct, render: Render, quiet: bool) -> None:
    """Print a report for people, unless `quiet`."""
    if not quiet:
        render(report)
        outputs(report)


def check_outputs(settings: msgspec.Struct, as_json: bool) -> None:
    """Refuse an output file that is an input too, and one that shares stdout with --json."""
    fields = fields_of(type(settings))
    paths = [name for name, setting in fields.items() if setting.path]
    files = [name for name in paths if fields[name].output and name != "output_dir"]
    for name in files:
        output, flag = getattr(settings, name), f"--{name.replace('_', '-')}"
        if output == "-" and as_json:
            raise SettingsError(f"--json and {flag} both write to stdout; give {flag} a file")
        for value in (getattr(settings, other) for other in paths if other != name):
            inputs = value if isinstance(value, tuple) else (value,)
            if output and any(one and same_file(one, output) for one in inputs):
                raise SettingsError(f"{output}: is an input too; choose another {flag}")


def tell_fallback(recipe: Recipe, origins: Iterable[str]) -> None:
    """Say that the built-in recipe is in force, also with --quiet.

    `origins`: where the values come from that are no defaults of dprkit.
    """
    decided = set(origins) - {"flag", "--set"}
    if recipe.fallback and decided:
        outputs = f", with outputs in {recipe.workspace}" if "workspace" in decided else ""
        say(f"Using the built-in recipe {recipe.name!r}{outputs}: {looked_for()}")


def warn_of_idle_sets(recipe: Recipe, stages: list[str], progress: Progress) -> None:
    for stage in recipe.idle_sets(stages):
        given = ", ".join(f"--set {stage}.{name}" for name in recipe.sets[stage])
        progress.warn(f"{given}: without effect here, since {recipe.source} has no stage {stage}")


def same_file(one: str, other: str) -> bool:
    try:
        return os.path.isfile(one) and os.path.samefile(one, other)
    except OSError:
        return False


def tell_settings(recipe: Recipe, name: str, flags: dict[str, Any], progress: Progress) -> None:
    for key, (value, origin) in recipe.explain(name, flags).items():
        progress.note(f"{name}.{key}: {as_yaml(value)}  ({origin})")


def _sign(command: Any, parameters: dict[str, tuple[Any, Any]]) -> None:
    """Give `command` the signature that Typer reads its options from."""
    command.__signature__ = inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in parameters.items()
        ]
    )
    command.__annotations__ = {key: kind for key, (kind, _) in parameters.items()}
