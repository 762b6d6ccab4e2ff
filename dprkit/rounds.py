"""Rounds of a recipe: stages that run again, on what the round before made.

    rounds: 2
    repeat: {first: mine, last: distilled, carry: {start: distilled}}

The stages from `mine` to `distilled` run once, and then again as mine-2 to distilled-2. Where a
stage names a path of another one, as in mine.output_dir:

    in round 2, of a stage that is repeated   that of round 2
    in round 2, of one that `carry` names     that of the stage beside it, of round 1
    behind the rounds                         that of the last round; in a list, those of all

Paths that no one names follow the nearest stage before, as they always do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dprkit.errors import nearest
from dprkit.settings import STAGES, Setting, fields_of
from dprkit.yaml_file import Document

REFERENCE = re.compile(r"(\w[\w-]*)\.(\w+)((?:[/:].*)?)")
"""A path of another stage, and what lies below it: STAGE.SETTING/BELOW."""
_SETTINGS = [setting for stage in STAGES.values() for setting in fields_of(stage).values()]
OUTPUTS = {setting.name for setting in _SETTINGS if setting.output}
"""The settings of all stages that name what a stage writes."""
PATHS = {setting.name for setting in _SETTINGS if setting.path}
"""The settings of all stages that are paths."""
ROUNDS, REPEAT = "rounds", "repeat"
KEYS = ("first", "last", "carry")
"""What `repeat` holds."""

Written = Mapping[str, Mapping[str, Any]]
"""stage -> setting -> value, as a recipe has them."""


@dataclass(frozen=True)
class Repeat:
    """What is repeated."""

    stages: Sequence[str]
    """The stages of a round, in their order."""
    carry: Mapping[str, str] = field(default_factory=dict)
    """A stage before the rounds -> the stage of a round that stands for it in the next."""

    def named(self, stage: str, round_: int) -> str:
        """What a stage of a round is called in round `round_`."""
        return stage if round_ == 1 else f"{stage}-{round_}"

    def seen(self, stage: str, round_: int) -> str:
        """The stage that is meant by `stage` in round `round_`."""
        if stage in self.stages:
            return self.named(stage, round_)
        if stage in self.carry and round_ > 1:
            return self.named(self.carry[stage], round_ - 1)
        return stage


def read_repeat(document: Document, given: Any, stages: Sequence[str]) -> Repeat | None:
    """What the key `repeat` of a recipe with these stages says. Raises FormatError."""
    if given is None:
        return None
    if not isinstance(given, dict) or not {"first", "last"} <= given.keys():
        problem = "repeat names the first and the last stage of a round, as first: and last:"
        raise document.fault(problem, REPEAT)
    for key in given:
        if key not in KEYS:
            raise document.fault(f"repeat has no {key!r}{nearest(key, KEYS)}", REPEAT, key)
    first, last = (_stage(document, given[key], stages, "", key) for key in ("first", "last"))
    if stages.index(first) > stages.index(last):
        problem = f"{last} comes before {first}; exchange first and last"
        raise document.fault(problem, REPEAT, "last")
    before = stages[: stages.index(first)]
    repeated = stages[len(before) : stages.index(last) + 1]
    for name in stages:
        if re.sub(r"-\d+$", "", name) in repeated and name not in repeated:
            problem = f"{name!r} is how a later round calls a stage; give it another name"
            raise document.fault(problem, name)
    carry = given.get("carry") or {}
    if not isinstance(carry, dict):
        raise document.fault("carry holds stages, as BEFORE: REPEATED", REPEAT, "carry")
    return Repeat(
        repeated,
        {
            _stage(document, one, before, " before the rounds", "carry", one): _stage(
                document, other, repeated, " of a round", "carry", one
            )
            for one, other in carry.items()
        },
    )


def _stage(document: Document, given: Any, stages: Sequence[str], which: str, *keys: str) -> str:
    """The stage of these that is named; stages may be written with underscores."""
    for name in (str(given), str(given).replace("_", "-")):
        if name in stages:
            return name
    hint = nearest(str(given), stages) or f"; there are {', '.join(stages) or 'none'}"
    raise document.fault(f"no stage{which} is called {given!r}{hint}", REPEAT, *keys)


def unrolled(
    written: Written, repeat: Repeat, rounds: int, kind_of: Callable[[str], str]
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[str, int]]]:
    """The stages of all rounds in their order; each that is there again -> (stage, round).

    `kind_of`: a stage of `written` -> the stage that it stands for.
    """
    stages: dict[str, dict[str, Any]] = {}
    again: dict[str, tuple[str, int]] = {}
    for stage, settings in written.items():
        stages[stage] = _behind(settings, kind_of(stage), repeat, rounds) if again else {**settings}
        if stage == repeat.stages[-1]:
            for round_ in range(2, rounds + 1):
                for one in repeat.stages:
                    name = repeat.named(one, round_)
                    stages[name] = in_round(written[one], kind_of(one), repeat, round_)
                    again[name] = one, round_
    return stages, again


def in_round(settings: Mapping[str, Any], kind: str, repeat: Repeat, round_: int) -> dict[str, Any]:
    """The settings of a stage with the names that stages have for it in a round."""
    fields = fields_of(STAGES[kind])

    def renamed(path: str) -> str:
        reference = REFERENCE.fullmatch(path)
        if not reference or reference[2] not in PATHS:
            return path
        stage, name, below = reference.groups()
        if name in OUTPUTS or stage in repeat.stages:  # what a stage reads is not carried over
            stage = repeat.seen(stage, round_)
        return f"{stage}.{name}{below}"

    return {name: _each_path(value, fields[name], renamed) for name, value in settings.items()}


def _behind(settings: Mapping[str, Any], kind: str, repeat: Repeat, rounds: int) -> dict[str, Any]:
    """The settings of a stage behind the rounds: a list names what all rounds wrote."""
    stages = Repeat(repeat.stages)
    seen = in_round(settings, kind, stages, rounds)
    for name, value in settings.items():
        if isinstance(value, list):
            of_rounds = (in_round({name: value}, kind, stages, n) for n in range(2, rounds + 1))
            later = (path for of_round in of_rounds for path in of_round[name])
            seen[name] = [*value, *(path for path in later if path not in value)]
    return seen


def _each_path(value: Any, setting: Setting, renamed: Callable[[str], str]) -> Any:
    if not setting.path or setting.output:
        return value
    if isinstance(value, list):
        return [_each_path(one, setting, renamed) for one in value]
    if not isinstance(value, str):
        return value
    return ",".join(map(renamed, value.split(","))) if setting.commas else renamed(value)
