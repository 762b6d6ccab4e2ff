"""`dprkit config show`: every setting that is in force and where it comes from."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dprkit.cli import completion
from dprkit.cli.exit_codes import ending
from dprkit.cli.help import Command, Group
from dprkit.cli.options import AsJson, ConfigFile, RecipeName, Sets
from dprkit.cli.stage import tell_fallback
from dprkit.errors import SettingsError, nearest
from dprkit.recipes import Recipe, load_recipe
from dprkit.settings import STAGES
from dprkit.yaml_file import as_yaml

config = typer.Typer(cls=Group, help="Show the settings of a recipe.", no_args_is_help=True)


@config.command("show", cls=Command)
def show(
    stage: Annotated[
        str | None,
        typer.Argument(
            help="Print only the settings of this stage.", autocompletion=completion.of_any_stage
        ),
    ] = None,
    config_file: ConfigFile = None,
    recipe_name: RecipeName = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of every setting and where the value comes from.

    Example: dprkit config show train --set train.lr=1e-4
    """
    with ending(as_json) as end:
        recipe = load_recipe(config_file, recipe_name, sets or ())
        stages = [_named(recipe, stage)] if stage else _all_stages(recipe)
        explained = {name: recipe.explain(name, {}) for name in stages}
        tell_fallback(recipe, ("workspace",))
        if as_json:
            told = {
                name: {key: {"value": v, "from": origin} for key, (v, origin) in settings.items()}
                for name, settings in explained.items()
            }
            return end.print_json(
                {"recipe": recipe.name, "source": recipe.source, "stages": told, "outputs": []}
            )
        sys.stdout.write(f"name: {recipe.name}  # {recipe.source}\n")
        for name, settings in explained.items():
            sys.stdout.write(f"{name}:\n")
            if name in recipe.kinds:
                sys.stdout.write(f"  stage: {recipe.kinds[name]}\n")
            for key, (value, origin) in settings.items():
                sys.stdout.write(f"  {f'{key}: {as_yaml(value)}':<44}  # {origin}\n")


def _named(recipe: Recipe, stage: str) -> str:
    """The stage of the recipe that is called `stage`, or is the only one of that command."""
    if stage in STAGES:
        return recipe.stage_for(stage)
    if stage not in recipe.names:
        known = {**recipe.kinds, **STAGES}
        hint = nearest(stage, known) or f"; there are {', '.join(known)}"
        raise SettingsError(f"no stage is called {stage!r}{hint}")
    return stage


def _all_stages(recipe: Recipe) -> list[str]:
    """Every stage of the recipe, and those that it does not mention."""
    if not recipe.kinds:
        return list(STAGES)
    mentioned = set(map(recipe.kind_of, recipe.names))
    return [*recipe.names, *(stage for stage in STAGES if stage not in mentioned)]
