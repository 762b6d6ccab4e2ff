"""`dprkit init`: a recipe to edit, with a comment on every setting."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from dprkit.cli import completion
from dprkit.cli.display import say
from dprkit.cli.exit_codes import ending
from dprkit.cli.options import AsJson, Quiet
from dprkit.new_recipe import to_change, write_new
from dprkit.recipes import RECIPE, load_recipe


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
    with ending(as_json) as end:
        recipe = load_recipe(recipe=recipe_name)
        is_file = where.suffix in (".yaml", ".yml") and not where.is_dir()
        path = where if is_file else where / RECIPE
        write_new(path, recipe)
        change = to_change(recipe)
        if as_json:
            end.print_json({"recipe": recipe.name, "outputs": [str(path)], "change": change})
        elif not quiet:
            _tell_what_next(path, change)


def _tell_what_next(path: Path, change: list[str]) -> None:
    say(f"  -> {path}")
    say(f"For data of your own, change the lines marked CHANGE: {', '.join(change)}.")
    at = "" if path.name == RECIPE else f" --config {path.name}"
    go = "" if path.resolve().parent == Path.cwd() else f"cd {quote(str(path.parent))} && "
    say(f"Then: {go}dprkit run{at}        (dprkit config show{at} shows the settings)")
