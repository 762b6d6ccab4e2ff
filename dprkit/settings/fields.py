"""What a setting is: a field of a frozen class with a sentence, limits and a way to be written.

The sentence is the flag's --help, the comment that `dprkit init` writes, and the text of
docs/cli.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from dprkit.errors import SettingsError

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Above0 = Annotated[float, Meta(gt=0)]
AtLeast0 = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Length = Annotated[int, Meta(ge=3)]
Pool = Literal["positive", "negative", "hard_negative"]


def about(
    sentence: str,
    *,
    panel: str = "",
    path: bool = False,
    workspace: str = "",
    flag: str = "",
    metavar: str = "",
    replaces: str = "",
    harmless: bool = False,
    resumable: bool = False,
    only_for: tuple[str, ...] = (),
) -> Meta:
    """Describe a setting.

    `path`: it names a file and so is recorded by what the file holds, not by its name.
    `workspace`: its default, below the recipe's folder runs/NAME. `flag`: a short flag, or
    "argument". `replaces`: settings that count as not given when this one
    is given closer to the user (a flag is closer than a recipe). `harmless`: it does not change
    what comes out, so an artifact made with another value is no other artifact. `resumable`: a
    half-done artifact may go on with another value. `only_for`: the values of the setting `type`
    for which this one counts; with others it changes nothing.
    """
    shown = {"panel": panel, "path": path or bool(workspace), "workspace": workspace}
    return Meta(
        description=sentence,
        extra={
            **shown,
            "flag": flag,
            "metavar": metavar,
            "replaces": replaces,
            "harmless": harmless,
            "resumable": resumable,
            "only_for": only_for,
        },
    )


@dataclass(frozen=True)
class Setting:
    """One field of a stage's settings, as the flags, the docs and `config show` need it."""

    name: str
    type: Any
    default: Any
    sentence: str
    panel: str
    path: bool
    workspace: str
    flag: str
    metavar: str
    replaces: str
    harmless: bool
    resumable: bool
    only_for: tuple[str, ...]


@cache
def fields_of(stage: type[msgspec.Struct]) -> dict[str, Setting]:
    """The settings of a stage by name, in the order they are written down."""
    hints = get_type_hints(stage, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(stage):
        meta = next(m for m in hints[field.name].__metadata__ if isinstance(m, Meta) and m.extra)
        found[field.name] = Setting(
            field.name,
            hints[field.name],
            field.default,
            meta.description or "",
            **(meta.extra or {}),
        )
    return found


def record_of(settings: msgspec.Struct) -> dict[str, Any]:
    """What a manifest keeps of settings.

    All but paths, which count by what they hold, and what another type of the thing would have.
    """
    values = msgspec.to_builtins(settings)
    return {
        name: values[name]
        for name, field in fields_of(type(settings)).items()
        if not field.path and (not field.only_for or values["type"] in field.only_for)
    }


def required(value: str | None, flag: str, what: str) -> str:
    """`value`, or the error that tells which flag names it."""
    if value is None:
        raise SettingsError(f"no {what} given; name it with {flag}")
    return value
