"""What the shell offers as the value of an option. Nothing heavy is imported for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dprkit.indexes.kinds import kind_names
from dprkit.recipes import recipe_names
from dprkit.settings import STAGES, Setting, fields_of

Complete = Callable[[str], list[str]]

USUAL = {
    "type": kind_names(),
    "types": kind_names(),
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


def of_sets(incomplete: str) -> list[str]:
    """Offers STAGE.KEY=VALUE, one part after the other."""
    stage, dot, rest = incomplete.partition(".")
    if not dot or stage not in STAGES:
        return one_of(f"{name}." for name in STAGES)(incomplete)
    key, equals, _ = rest.partition("=")
    fields = fields_of(STAGES[stage])
    if not equals or key not in fields:
        return one_of(f"{stage}.{name}=" for name in fields)(incomplete)
    return one_of(f"{stage}.{key}={value}" for value in values_of(fields[key]))(incomplete)
