"""Stages as commands: the flags of each command are made from its settings class."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
import typer

from dprkit.cli.commands import COMMANDS
from dprkit.cli.commands import Command as Entry
from dprkit.cli.display import display, say
from dprkit.cli.exit_codes import ending
from dprkit.cli.help import Command
from dprkit.cli.options import COMMON, given_again, option_of
from dprkit.cli.render import as_json as print_json
from dprkit.cli.render import json_of, outputs
from dprkit.cli.tables import print_csv, refuse_two_forms
from dprkit.errors import GateError, SettingsError
from dprkit.pipeline.stages import (
    Outcome,
    output_files,
    refuse_output_over_input,
    refuse_stdin_twice,
    refuse_unwritten,
    resumes,
    run_stage,
    warn_of_idle_sets,
)
from dprkit.progress import SILENT, Progress, Run
from dprkit.recipes import Recipe, load_recipe, looked_for
from dprkit.settings import STAGES, fields_of
from dprkit.settings.fields import help_of
from dprkit.yaml_file import as_yaml


def add_stage(app: typer.Typer, name: str) -> None:
    """Add the command `name`: flags from its settings class, then the stage, then its report."""
    entry, fields = COMMANDS[name], fields_of(STAGES[name])

    def command(**given: Any) -> None:
        with ending(given["as_json"], given["restart"]) as end:
            recipe = load_recipe(given["config_file"], given["recipe_name"], given["sets"] or ())
            as_csv = given.get("as_csv", False)
            refuse_two_forms(end.as_json, as_csv)
            values = {key: given_again(setting, given[key]) for key, setting in fields.items()}
            flags = {key: value for key, value in values.items() if value not in (None, [])}
            options = {key: given[key] for key in entry.options}
            stage = recipe.stage_for(name, given["stage"])
            settings, origins = recipe.stage(stage, flags)
            if _reports():
                decided = (key for key in fields if getattr(settings, key) != fields[key].default)
                tell_fallback(recipe, map(origins.__getitem__, decided))
            if entry.instead and entry.instead(settings, options, end):
                return
            if end.as_json or as_csv:
                refuse_second_stdout([settings], "--csv" if as_csv else "--json")
            refuse_output_over_input(settings)
            refuse_stdin_twice(settings)
            refuse_unwritten(name, settings, flags)
            end.resumes = partial(resumes, recipe, stage, flags)
            progress = _progress(recipe, stage, flags, given)
            run = Run(progress, tuple(sys.argv), given["restart"])
            if entry.dry_run and options.pop("dry_run"):
                outcome = run_stage(recipe, stage, run, flags, {}, entry.dry_run)
            else:
                outcome = run_stage(recipe, stage, run, flags, options)
            if _reports() and end.as_json:
                print_json(json_of_stage(outcome))
            elif _reports():
                tell(outcome.report, entry, given["quiet"], as_csv)
            if failures := getattr(outcome.report, "failures", None):
                raise GateError("; ".join(failures))

    places = Recipe("RECIPE", "", {}, {}).explain(name, {})
    parameters = {key: option_of(setting, places[key][0]) for key, setting in fields.items()}
    common = {key: way for key, way in COMMON.items() if key != "as_csv" or entry.sheet}
    _sign(command, parameters | dict(entry.options) | common)
    command.__doc__ = help_of(STAGES[name])
    app.command(name, cls=Command)(command)


def _reports() -> bool:
    """Whether this process speaks for the command: under torchrun the first one does."""
    return os.environ.get("RANK", "0") == "0"


def _progress(
    recipe: Recipe, stage: str, flags: Mapping[str, Any], given: Mapping[str, Any]
) -> Progress:
    """Where the stage tells how it goes; with --verbose it is told every setting first."""
    if not _reports():
        return SILENT
    progress = display(given["quiet"])
    progress.verbose = given["verbose"]
    if progress.verbose:
        for key, (value, origin) in recipe.explain(stage, flags).items():
            progress.note(f"{stage}.{key}: {as_yaml(value)}  ({origin})")
    warn_of_idle_sets(recipe, [stage], progress)
    return progress


def json_of_stage(outcome: Outcome) -> dict[str, Any]:
    """The report of a stage as --json prints it."""
    report = {"up_to_date": outcome.up_to_date} | msgspec.to_builtins(outcome.report)
    return json_of(report, outcome.seconds)


def tell(report: msgspec.Struct, entry: Entry, quiet: bool, as_csv: bool = False) -> None:
    """Print a report for people, unless `quiet`, or its figures as CSV."""
    if as_csv and entry.sheet:
        print_csv(entry.sheet(report))
    elif not quiet:
        entry.render(report)
    if not quiet:
        outputs(report)


def refuse_second_stdout(stages: Iterable[msgspec.Struct], form: str = "--json") -> None:
    """Refuse settings with which an output file would share stdout with the report's `form`."""
    for settings in stages:
        for name in output_files(settings):
            if "-" in (getattr(settings, name), getattr(settings, "streams_to", None)):
                flag = f"--{name.replace('_', '-')}"
                raise SettingsError(f"{form} and {flag} both write to stdout; give {flag} a file")


def tell_fallback(recipe: Recipe, origins: Iterable[str]) -> None:
    """Say that the built-in recipe is in force, also with --quiet.

    `origins`: where the values come from that are no defaults of dprkit.
    """
    decided = set(origins) - {"flag", "--set"}
    if recipe.fallback and decided:
        outputs = f", with outputs in {recipe.workspace}" if "workspace" in decided else ""
        say(f"Using the built-in recipe {recipe.name!r}{outputs}: {looked_for()}")


def _sign(command: Any, parameters: dict[str, tuple[Any, Any]]) -> None:
    """Give `command` the signature that Typer reads its options from."""
    command.__signature__ = inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in parameters.items()
        ]
    )
    command.__annotations__ = {key: kind for key, (kind, _) in parameters.items()}
