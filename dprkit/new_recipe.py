"""New recipes: a copy of a shipped one to edit, with a comment on every setting."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dprkit.errors import OutputError
from dprkit.recipes import RECIPE, Recipe, recipe_names
from dprkit.rounds import PATHS, REFERENCE, Repeat
from dprkit.settings import Setting
from dprkit.store.atomic_files import write_file
from dprkit.yaml_file import as_yaml

OWN_DATA = "For data of your own, change the lines marked CHANGE. "


def write_new(path: Path, recipe: Recipe, found: Sequence[str] = ()) -> None:
    """Write a new recipe to `path`, begun from `recipe` and named for its folder or its file.

    `found`: what is told of the data that it was made for, if it was. Raises OutputError where
    something is there.
    """
    if os.path.lexists(path):
        raise OutputError(f"{path}: already there; move it away first")
    name = path.stem if path.name != RECIPE else path.resolve().parent.name
    name = name.encode(errors="ignore").decode()  # of a folder that is not UTF-8
    with write_file(path) as file:
        file.write(commented(recipe, name, found).encode())


def to_change(recipe: Recipe) -> list[str]:
    """The settings of a shipped recipe that fit its own data, as stage.key."""
    return [
        f"{stage}.{key}"
        for stage, settings in recipe.written.items()
        for key, value in settings.items()
        if key == "split" or _is_own_path(recipe, recipe.fields(stage)[key], value)
    ]


def _is_own_path(recipe: Recipe, setting: Setting, value: Any) -> bool:
    """Whether a value names a file or folder, and not what another stage reads or writes."""
    if not setting.path or setting.hub:
        return False
    found = map(REFERENCE.fullmatch, value if isinstance(value, list) else [str(value)])
    return not all(one and one[1] in recipe.written and one[2] in PATHS for one in found)


def commented(recipe: Recipe, name: str, found: Sequence[str] = ()) -> str:
    """The YAML of a recipe with every setting: those it leaves at their default commented out.

    `found`: what is told of the data that it was made for, if it was.
    """
    places = replace(recipe, name="NAME", written={stage: {} for stage in recipe.names})
    begin = f"begun from the shipped {recipe.name!r} ({', '.join(recipe_names())})."
    lines = [
        f"# A dprkit recipe, {'made for imported data.' if found else begin}",
        *(f"# {line}" for line in found),
        "# Settings that are commented out have the value shown. Paths are relative to this file.",
        f"# {'' if found else OWN_DATA}dprkit run runs all stages.",
        f"name: {as_yaml(name)}",
    ]
    if recipe.repeat:
        lines += ["", *_of_rounds(recipe.repeat)]
    for stage in (name for name in recipe.names if name not in recipe.again):
        lines += ["", f"{stage}:"]
        if stage in recipe.kinds:
            lines.append(f"  stage: {recipe.kinds[stage]}")
        for key, setting in recipe.fields(stage).items():
            default = places.explain(stage, {})[key][0]
            change = not found and f"{stage}.{key}" in to_change(recipe)
            lines += _commented_setting(recipe.written[stage], key, setting, default, change)
    return "\n".join(lines) + "\n"


def _of_rounds(repeat: Repeat) -> list[str]:
    ends = {"first": repeat.stages[0], "last": repeat.stages[-1]}
    return [
        "# How often the stages of a round run, each time on what the round before made.",
        "rounds: 1",
        f"repeat: {as_yaml({**ends, 'carry': dict(repeat.carry)})}",
    ]


def _commented_setting(
    written: Mapping[str, Any], key: str, setting: Setting, default: Any, change: bool
) -> list[str]:
    sign = "" if key in written else "# "
    value = as_yaml(written.get(key, default))
    mark = "  # CHANGE" if change else ""
    return [f"  # {line}" for line in textwrap.wrap(setting.sentence, 92)] + [
        f"  {sign}{key}: {value}{mark}"
    ]
