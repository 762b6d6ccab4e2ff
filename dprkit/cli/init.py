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
from dprkit.errors import SettingsError
from dprkit.imported_recipe import recipe_for
from dprkit.new_recipe import to_change, write_new
from dprkit.recipes import RECIPE, RUNS, Recipe, load_recipe

TINY = "tiny"


def init(
    where: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]", help="Folder to write dprkit.yaml to, or a .yaml file to write."
        ),
    ] = Path(),
    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Name of the shipped recipe to begin with. [default: tiny]",
            autocompletion=completion.of_recipes,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Folder that import-data wrote; the recipe is made for what is in it.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="With --from: model to start training from, a folder or hub name; where there is "
            "nothing to train with, the retriever to search with. "
            "[default: MiniLM of sentence-transformers]",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write dprkit.yaml, a recipe to edit with a comment on every setting.

    Example: dprkit init my-experiment --recipe tiny
    Example: dprkit init mine --from data
    """
    with ending(as_json) as end:
        is_file = where.suffix in (".yaml", ".yml") and not where.is_dir()
        path = where if is_file else where / RECIPE
        recipe, found = _begun(recipe_name, data, model, path.parent)
        write_new(path, recipe, found)
        change = [] if found else to_change(recipe)
        if as_json:
            told = {"recipe": recipe.name, "outputs": [str(path)], "change": change}
            end.print_json(told | ({"found": found, "stages": recipe.names} if found else {}))
        elif found and not quiet:
            _tell_of_data(path, found, recipe)
        elif not quiet:
            _tell_what_next(path, change)


def _begun(
    recipe_name: str | None, data: Path | None, model: str | None, at: Path
) -> tuple[Recipe, list[str]]:
    """The recipe to write, and what was found where it is made for imported data."""
    if data is None:
        if model is not None:
            raise SettingsError("--model: is for a recipe of imported data; give --from too")
        return load_recipe(recipe=recipe_name or TINY), []
    if recipe_name is not None:
        raise SettingsError("--recipe and --from both say what to begin with; give one")
    return recipe_for(data, model, at)


def _tell_of_data(path: Path, found: list[str], recipe: Recipe) -> None:
    """What was found, and the next three commands."""
    for line in found:
        say(line)
    say(f"  -> {path}: {', '.join(recipe.names)}")
    at = "" if path.name == RECIPE else f" --config {path.name}"
    name = path.stem if path.name != RECIPE else path.resolve().parent.name
    say("Next:")
    if path.resolve().parent != Path.cwd():
        say(f"  cd {quote(str(path.parent))}")
    say(f"  dprkit plan{at}        # tries each stage, and tells how long it takes")
    say(f"  dprkit run{at}")
    if "index" in recipe.names:
        index = quote(f"{RUNS}/{name}/index")
        say(f"  echo 'a question' | dprkit search --index {index} --questions - --topk 5")


def _tell_what_next(path: Path, change: list[str]) -> None:
    say(f"  -> {path}")
    say(f"For data of your own, change the lines marked CHANGE: {', '.join(change)}.")
    at = "" if path.name == RECIPE else f" --config {path.name}"
    go = "" if path.resolve().parent == Path.cwd() else f"cd {quote(str(path.parent))} && "
    say(f"Then: {go}dprkit run{at}        (dprkit config show{at} shows the settings)")
