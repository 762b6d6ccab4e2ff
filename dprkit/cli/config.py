"""`dprkit config show`: every setting that is in force and where it comes from."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dprkit.cli import completion, render
from dprkit.cli.exit_codes import ending
from dprkit.cli.help import Command, Group
from dprkit.cli.options import AsJson, ConfigFile, RecipeName, Sets
from dprkit.cli.stage import tell_fallback
from dprkit.errors import SettingsError, nearest
from dprkit.recipes import load_recipe
from dprkit.settings import STAGES

config = typer.Typer(cls=Group, help="Show the settings of a recipe.", no_args_is_help=True)


@config.callback()
def _config() -> None:
    pass


@config.command("show", cls=Command)
def show(
    stage: Annotated[
        str | None,
        typer.Argument(
            help="Print only the settings of this stage.", autocompletion=completion.one_of(STAGES)
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
        if stage is not None and stage not in STAGES:
            hint = nearest(stage, STAGES) or f"; there are {', '.join(STAGES)}"
            raise SettingsError(f"no stage is called {stage!r}{hint}")
        stages = [stage] if stage else list(STAGES)
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
            for key, (value, origin) in settings.items():
                sys.stdout.write(f"  {f'{key}: {render.as_yaml(value)}':<44}  # {origin}\n")
