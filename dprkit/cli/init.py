"""`dprkit init`: a recipe to edit, with a comment on every setting."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from dprkit.cli import completion, render
from dprkit.cli.display import say
from dprkit.cli.exit_codes import ending
from dprkit.cli.options import AsJson, Quiet
from dprkit.errors import OutputError
from dprkit.recipes import RECIPE, Recipe, load_recipe, recipe_names
from dprkit.settings import Setting


def init(
    where: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]", help="Folder to write dprkit.yaml to, or a .yaml file to write."
        ),
    ] = Path(),
    recipe_name: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Name of the shipped recipe to begin with. [default: tiny]",
            autocompletion=completion.of_recipes,
        ),
    ] = "tiny",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write dprkit.yaml, a recipe to edit with a comment on every setting.

    Example: dprkit init my-experiment --recipe tiny
    """
    from dprkit.store.atomic_files import write_file

    with ending(as_json) as end:
        recipe = load_recipe(recipe=recipe_name)
        is_file = where.suffix in (".yaml", ".yml") and not where.is_dir()
        path = where if is_file else where / RECIPE
        name = path.stem if path.name != RECIPE else path.resolve().parent.name
        if os.path.lexists(path):
            raise OutputError(f"{path}: already there; move it away first")
        with write_file(path) as file:
            name = name.encode(errors="ignore").decode()  # of a folder that is not UTF-8
            file.write(commented(recipe, name).encode())
        if as_json:
            return end.print_json(
                {"recipe": recipe.name, "outputs": [str(path)], "change": to_change(recipe)}
            )
        if not quiet:
            say(f"  -> {path}")
            marked = ", ".join(to_change(recipe))
            say(f"For data of your own, change the lines marked CHANGE: {marked}.")
            at = "" if path.name == RECIPE else f" --config {path.name}"
            go = "" if path.resolve().parent == Path.cwd() else f"cd {quote(str(path.parent))} && "
            say(f"Then: {go}dprkit run{at}        (dprkit config show{at} shows the settings)")


def to_change(recipe: Recipe) -> list[str]:
    """The settings of a shipped recipe that fit its own data, as stage.key."""
    return [
        f"{stage}.{key}"
        for stage, settings in recipe.written.items()
        for key in settings
        if ((setting := recipe.fields(stage)[key]).path and not setting.hub) or key == "split"
    ]


def commented(recipe: Recipe, name: str) -> str:
    """The YAML of a recipe with every setting: those it leaves at their default commented out."""
    places = replace(recipe, name="NAME", written={stage: {} for stage in recipe.names})
    lines = [
        f"# A dprkit recipe, begun from the shipped {recipe.name!r} ({', '.join(recipe_names())}).",
        "# Settings that are commented out have the value shown. Paths are relative to this file.",
        "# For data of your own, change the lines marked CHANGE. dprkit run runs all stages.",
        f"name: {render.as_yaml(name)}",
    ]
    for stage in recipe.names:
        lines += ["", f"{stage}:"]
        if stage in recipe.kinds:
            lines.append(f"  stage: {recipe.kinds[stage]}")
        for key, setting in recipe.fields(stage).items():
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
