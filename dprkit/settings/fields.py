"""What a setting is: a field of a frozen class with a sentence, limits, and the name of its flag.

The docstring of the class is the command's --help: what the command does, an example, and then a
sentence for each setting, under the headings of --help (the first, "Settings:", is not shown). The
sentences are also the comments that `dprkit init` writes, and the text of docs/cli.md. A setting of
several stages has its sentence where it is described once (dprkit.settings.shared).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

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


HEADING = re.compile(r"^(\w[\w ]*):\n(?= {4}\w)", re.MULTILINE)
"""Of a group of settings in the docstring of their class."""


@dataclass(frozen=True)
class Setting:
    """One field of a stage's settings, as the flags, the docs and `config show` need it.

    `path`: it names a file and so is recorded by what the file holds, not by its name. `output`:
    the stage writes it. `workspace`: an output's default, below the recipe's folder runs/NAME; if
    `by_recipe`, only where the recipe has the stage. `follows`: an input's default, which is the
    value of another stage's setting, or a file below it: "train.output_dir", "select-
    data.output_dir/train.jsonl". The first that is given counts, else the first that has a default.
    `hub`: it may be a hub's name as well. `commas`: a value may be several paths, parted by commas.
    `repeated`: the flag is given again for each value, which may have commas. `flag`: a short flag,
    or "argument". `replaces`: settings that count as not given when this one is given closer to the
    user (a flag is closer than a recipe). `harmless`: it does not change what comes out, so an
    artifact made with another value is no other artifact. `resumable`: a half-done artifact may go
    on with another value. `renamed`: words that were choices before, and what they are called now.
    A field's annotation has what is special about it; `fields_of` adds the rest: an output and what
    follows another setting are paths.
    """

    sentence: str = ""
    panel: str = ""
    path: bool = False
    output: bool = False
    workspace: str = ""
    by_recipe: bool = False
    follows: tuple[str, ...] = ()
    hub: bool = False
    commas: bool = False
    repeated: bool = False
    flag: str = ""
    metavar: str = ""
    replaces: str = ""
    harmless: bool = False
    resumable: bool = False
    renamed: tuple[tuple[str, str], ...] = ()

    # By the class that has the field:
    name: str = ""
    type: Any = None
    default: Any = None
    kind: Any = None
    """The type of a value without limits and None: int, str, bool, float."""
    shape: Literal["value", "tuple", "mapping"] = "value"
    """Whether it has one value, several, or names with a value each."""
    choices: tuple[str, ...] = ()
    """The words that each value may be, where only some will do."""


about = Setting
"""In an annotation: what is special about the field."""


@cache
def fields_of(stage: type[msgspec.Struct]) -> dict[str, Setting]:
    """The settings of a stage by name, in the order they are written down."""
    hints = get_type_hints(stage, include_extras=True)
    sentences = _sentences(stage)
    fields = {}
    for field in _in_order(stage, list(sentences)):
        hint, name = hints[field.name], field.name
        described = (m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Setting))
        setting = next(described, Setting())
        panel, sentence = sentences.get(name, ("", setting.sentence))
        output = setting.output or bool(setting.workspace)
        fields[name] = replace(
            setting,
            sentence=sentence,
            panel=panel,
            output=output,
            path=setting.path or output or bool(setting.follows),
            name=name,
            type=hint,
            default=field.default,
            **_form(hint),
        )
    return fields


def _in_order(stage: type[msgspec.Struct], told: list[str]) -> list[Any]:
    """The fields as the class has them, or as docstrings tell them, where it extends another.

    A field with a sentence from elsewhere stays behind the one before it.
    """
    fields: Any = msgspec.structs.fields(stage)
    if stage.__base__ is msgspec.Struct:
        return list(fields)
    number = {name: place for place, name in enumerate(told)}
    places = list(accumulate((number.get(field.name) for field in fields), _or_the_last))
    return [fields[i] for i in sorted(range(len(fields)), key=lambda i: places[i] or 0)]


def _or_the_last(last: int | None, place: int | None) -> int | None:
    return last if place is None else place


def help_of(stage: type[msgspec.Struct]) -> str:
    """What the command of a stage does, with an example."""
    return re.split(HEADING, inspect.cleandoc(stage.__doc__ or ""), maxsplit=1)[0].strip()


def _sentences(stage: type[msgspec.Struct]) -> dict[str, tuple[str, str]]:
    """The heading and the sentence of each setting, by name, as `_sections` orders them."""
    return {
        name: ("" if heading == "Settings" else heading, sentence)
        for heading, told in _sections(stage).items()
        for name, sentence in told.items()
    }


def _sections(stage: type[msgspec.Struct]) -> dict[str, dict[str, str]]:
    """heading -> setting -> sentence, of a class and of the one that it extends.

    What is inherited comes first under its heading; a sentence of the class's own takes its place.
    """
    if stage is msgspec.Struct:
        return {}
    base: Any = stage.__base__
    inherited, own = _sections(base), _own_sections(stage)
    headings = [*(heading for heading in own if heading not in inherited), *inherited]
    return {heading: inherited.get(heading, {}) | own.get(heading, {}) for heading in headings}


def _own_sections(stage: type[msgspec.Struct]) -> dict[str, dict[str, str]]:
    """heading -> setting -> sentence, in the docstring of a class.

    `{NAME}` in a sentence is a value of the class's module: a default stands in one place.
    """
    _, *parts = re.split(HEADING, inspect.cleandoc(stage.__doc__ or ""))
    known = vars(sys.modules[stage.__module__])
    return {
        heading: {
            name: " ".join(sentence.split()).format_map(known)
            for name, sentence in re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", told, re.MULTILINE)
        }
        for heading, told in zip(parts[::2], parts[1::2], strict=True)
    }


def _form(hint: Any) -> dict[str, Any]:
    """The kind, shape and choices of a setting by its annotation."""
    kind, shape = _plain(hint), "value"
    if get_origin(kind) in (tuple, dict):
        shape = "tuple" if get_origin(kind) is tuple else "mapping"
        kind = _plain(get_args(kind)[0])
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return {"kind": str if choices else kind, "shape": shape, "choices": choices}


def _plain(hint: Any) -> Any:
    """A type without None and limits."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    parts = [part for part in get_args(hint) if part is not type(None)]
    return _plain(parts[0]) if type(None) in get_args(hint) else hint


def record_of(settings: msgspec.Struct, unused: Collection[str] = ()) -> dict[str, Any]:
    """What a manifest keeps of settings.

    All but paths, which count by what they hold, and those `unused` for what is made.
    """
    values = msgspec.to_builtins(settings)
    return {
        name: values[name]
        for name, field in fields_of(type(settings)).items()
        if not field.path and name not in unused
    }


def required(value: str | None, flag: str, what: str) -> str:
    """`value`, or the error that tells which flag names it."""
    if value is None:
        raise SettingsError(f"no {what} given; name it with {flag}")
    return value
