"""Shell completion: the values that the shell offers for an option, without heavy imports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import typer

from dprkit.errors import DprkitError
from dprkit.indexes.kinds import first_stage_names, kind_names
from dprkit.recipes import Recipe, load_recipe, recipe_names
from dprkit.settings import STAGES, Setting

Complete = Callable[[str], list[str]]

USUAL = {
    "type": kind_names(),
    "types": kind_names(),
    "first_stage": first_stage_names(),
    "first_stages": first_stage_names(),
    "title_join": ("pair", "none"),
    "valid_every": ("epoch", "never"),
    "checkpoint_every": ("10m", "never"),
    "chunk_size": ("auto",),
}
"""Usual values of settings that take any text."""


def one_of(words: Iterable[str]) -> Complete:
    """Offers those of `words` that begin as what is typed."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def values_of(setting: Setting) -> tuple[str, ...]:
    """The values of a setting that can be named."""
    if setting.kind is bool:
        return ("true", "false")
    return setting.choices or USUAL.get(setting.name, ())


def of_setting(setting: Setting) -> Complete | None:
    """Offers a setting's values; the shell offers files where there are none."""
    if setting.flag == "argument" and setting.name == "names":
        return of_catalog
    values = values_of(setting)
    return one_of(values) if values else None


def of_recipes(incomplete: str) -> list[str]:
    """Offers the recipes that ship with dprkit."""
    return one_of(recipe_names())(incomplete)


def of_catalog(incomplete: str) -> list[str]:
    """Offers what can be downloaded, up to the next dot."""
    from dprkit.download.catalog import load_catalog

    depth = incomplete.count(".") + 1
    parts = [key.split(".") for key in load_catalog()]
    names = {".".join(key[:depth]) + ("." if key[depth:] else ""): 0 for key in parts}
    return one_of(names)(incomplete)


def _recipe(words: Mapping[str, Any]) -> Recipe:
    """The recipe that the words before name; one without stages where it cannot be read."""
    with suppress(DprkitError):
        return load_recipe(words.get("config_file"), words.get("recipe_name"))
    return Recipe("", "", {}, {})


def of_stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offers the stages of the recipe: for the command of a stage, those of its kind."""
    recipe, command = _recipe(ctx.params), str(ctx.info_name)
    stages = [s for s in recipe.names if command not in STAGES or recipe.kind_of(s) == command]
    return one_of(stages)(incomplete)


def of_any_stage(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offers the stages of the recipe and all others."""
    return one_of(dict.fromkeys([*_recipe(ctx.params).names, *STAGES]))(incomplete)


def of_sets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offers STAGE.KEY=VALUE, one part after the other."""
    recipe = _recipe(ctx.params)
    stages = [*recipe.kinds, *STAGES]
    stage, dot, rest = incomplete.partition(".")
    if not dot or stage not in stages:
        return one_of(f"{name}." for name in stages)(incomplete)
    key, equals, _ = rest.partition("=")
    fields = recipe.fields(stage)
    if not equals or key not in fields:
        return one_of(f"{stage}.{name}=" for name in fields)(incomplete)
    return one_of(f"{stage}.{key}={value}" for value in values_of(fields[key]))(incomplete)
