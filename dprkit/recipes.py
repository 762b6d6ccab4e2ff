"""Recipes: the YAML files that hold the settings of one experiment, and which value wins.

A setting's value is the flag's, else --set's, else the recipe's, else the default. The recipe
itself is --config's file, else --recipe's, else ./dprkit.yaml, else the shipped tiny one.

A key of a recipe is a stage, or a name of its own for one: `train-2: {stage: train, ...}`. Where
one stage reads what another writes, the default follows the other's setting, wherever that is set.
Stages may be repeated (dprkit.rounds). Paths in a user's recipe, and runs/, are relative to the
recipe's folder; paths of a shipped recipe, of flags and of --set are relative to the current one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import SettingsError, nearest
from dprkit.rounds import (
    OUTPUTS,
    PATHS,
    REFERENCE,
    REPEAT,
    ROUNDS,
    Repeat,
    in_round,
    read_repeat,
    unrolled,
)
from dprkit.settings import STAGES, Setting, bundled, convert, fields_of
from dprkit.yaml_file import Document, read_yaml

RUNS = Path("runs")
RECIPE = "dprkit.yaml"
SHIPPED = bundled("tiny.yaml").parent
STREAM = "-"
STAGE = "stage"
"""The key that says which stage a name of its own stands for."""


@dataclass(frozen=True)
class Recipe:
    """The settings of one experiment: a YAML file's, with `--set` on top."""

    name: str
    source: str
    """The file it was read from, for messages."""
    written: Mapping[str, Mapping[str, Any]]
    """stage -> setting -> value, as the file has it."""
    sets: Mapping[str, Mapping[str, Any]]
    """stage -> setting -> value of each --set stage.key=value."""
    fallback: bool = False
    """Whether it is the shipped tiny one because no other was named or found."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """stage -> the stage that it is, for stages under names of their own: train-2 -> train."""
    rounds: int = 1
    repeat: Repeat | None = None
    """The stages of a round."""
    again: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """stage of a later round -> the stage that it repeats, and the round."""

    @property
    def shipped(self) -> bool:
        """Whether it came with dprkit, and so was not written by the user."""
        return os.path.realpath(Path(self.source).parent) == os.path.realpath(SHIPPED)

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return Path() if self.shipped else Path(self.source).parent

    @property
    def workspace(self) -> Path:
        return self.folder / RUNS / self.name

    @property
    def names(self) -> list[str]:
        """Its stages in the order in which they run.

        That is the order of the commands, or of the file where one has a name of its own or is
        repeated.
        """
        as_written = self.kinds or self.repeat
        return list(self.written) if as_written else [s for s in STAGES if s in self.written]

    def kind_of(self, stage: str) -> str:
        """The stage that a name stands for: train for train-2."""
        return self.kinds.get(stage, stage)

    def fields(self, stage: str) -> dict[str, Setting]:
        return fields_of(STAGES[self.kind_of(stage)])

    def stage_for(self, command: str, name: str | None = None) -> str:
        """The stage that a command runs: the one called `name`, else the only one of its kind."""
        names = [stage for stage in self.names if self.kind_of(stage) == command]
        if name and name not in (*names, command):
            hint = nearest(name, names) or f"; there are {', '.join(names) or 'none'}"
            raise SettingsError(f"--stage: no stage of {command} is called {name!r}{hint}")
        if not name and command not in names and names[1:]:
            raise SettingsError(
                f"{self.source}: {command} stands for {' or '.join(names)}; name the one you mean, "
                f"as in dprkit {command} --stage {names[0]}"
            )
        return name or (names[0] if names and command not in names else command)

    def explain(self, stage: str, flags: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """setting -> (value, where it came from) for every setting of `stage`.

        `flags` maps setting names to what the user typed; None stands for "not given".
        """
        fields = self.fields(stage)
        explained = {name: self._find(stage, name, flags) for name in fields}
        for name, setting in fields.items():
            for replaced in setting.replaces.split():
                if self._closeness(stage, name, flags) > self._closeness(stage, replaced, flags):
                    explained[replaced] = (fields[replaced].default, f"replaced by {name}")
        return explained

    def stage(self, stage: str, flags: Mapping[str, Any]) -> tuple[msgspec.Struct, dict[str, str]]:
        """The effective settings of `stage`, and where each one came from."""
        explained = self.explain(stage, flags)
        values = {name: value for name, (value, _) in explained.items()}
        settings = STAGES[self.kind_of(stage)](**values)
        return settings, {name: origin for name, (_, origin) in explained.items()}

    def idle_sets(self, stages: Iterable[str]) -> list[str]:
        """The stages that --set names and the recipe lacks, where that changes none of `stages`."""
        idle = []
        for stage in sorted(self.sets.keys() - {*self.names, *stages}):
            bare = replace(self, sets={**self.sets, stage: {}})
            if all(bare.explain(name, {}) == self.explain(name, {}) for name in stages):
                idle.append(stage)
        return idle

    def _closeness(self, stage: str, name: str, flags: Mapping[str, Any]) -> int:
        """How near to the user a setting is given: 3 flag, 2 --set, 1 the recipe, 0 not given."""
        if flags.get(name) is not None:
            return 3
        if name in self.sets.get(stage, {}):
            return 2
        return int(name in self.written.get(stage, {}))

    def _find(self, stage: str, name: str, flags: Mapping[str, Any]) -> tuple[Any, str]:
        setting = self.fields(stage)[name]
        match self._closeness(stage, name, flags):
            case 3:
                return convert(setting, flags[name], "flag", stage), "flag"
            case 2:
                value = convert(setting, self.sets[stage][name], "--set", stage)
                return self._paths(stage, setting, value, written=False), "--set"
            case 1:
                value = convert(setting, self.written[stage][name], self.source, stage)
                return self._paths(stage, setting, value, written=True), self.source
        if setting.follows:
            path, origin = self._followed(stage, setting)
            return (path,) if setting.shape == "tuple" and path else path, origin
        if setting.workspace and (stage in self.written or not setting.by_recipe):
            folder = stage if stage in self.kinds else setting.workspace
            return str(self.workspace / folder), "workspace"
        return setting.default, "default"

    def _followed(self, reader: str, setting: Setting) -> tuple[Any, str]:
        """The path that another stage's setting has, and which stage's that is."""
        before = self._before(reader)
        candidates = []
        for link in setting.follows:
            of, _, below = link.partition("/")
            kind, _, name = of.partition(".")
            places = {stage: n for n, stage in enumerate(before) if self.kind_of(stage) == kind}
            stage = max(places, key=places.__getitem__, default=kind)  # the nearest
            path, origin = self._find(stage, name, {})
            if path in (None, STREAM):
                continue
            given = self._closeness(stage, name, {}) > 0
            if self.fields(stage)[name].output:
                origin = f"output of {stage}"
            elif given:
                origin = f"as {stage}.{name}"
            near = places.get(stage, -1) if self.kinds else 0
            path = os.path.join(path, below) if below else path
            candidates.append((-near, not given, path, origin))
        return min(candidates, key=itemgetter(0, 1), default=(setting.default, "default"))[-2:]

    def _paths(self, stage: str, setting: Setting, value: Any, written: bool) -> Any:
        """A value with its paths as they are seen from the current folder.

        STAGE.SETTING stands for what that stage writes, or for what a stage before reads. Other
        paths that are `written` in the recipe's file are relative to its folder.
        """
        if not setting.path or not value:
            return value

        def seen(path: str) -> str:
            other = None if setting.output else self._path_of_other(stage, setting.name, path)
            return other or (self._from_here(path, setting.hub) if written else path)

        def seen_each(paths: str) -> str:
            return ",".join(map(seen, paths.split(","))) if setting.commas else seen(paths)

        return tuple(map(seen_each, value)) if setting.shape == "tuple" else seen_each(value)

    def _path_of_other(self, reader: str, setting: str, text: str) -> str | None:
        """The path for which STAGE.SETTING, or STAGE.SETTING/BELOW, stands; None for a path."""
        reference = REFERENCE.fullmatch(text)
        if not reference or reference[2] not in PATHS:
            return None
        stage, name, below = reference.groups()
        is_output, is_known = name in OUTPUTS, stage in self.written or stage in STAGES
        if not is_known and (not is_output or os.path.lexists(text)):
            return None
        if not is_known:
            hint = nearest(stage, self.names)
            raise SettingsError(f"{reader}.{setting}: {text}: no stage is called {stage!r}{hint}")
        if not is_output and stage not in self._before(reader):
            problem = f"no stage before {reader} is called {stage!r}; write ./{text} for a file"
            raise SettingsError(f"{reader}.{setting}: {text}: {problem}")
        path = self._find(stage, name, {})[0] if name in self.fields(stage) else None
        if path in (None, STREAM) or not isinstance(path, str):
            problem = f"{stage} writes no {name}; name an output of it"
            problem = problem if is_output else f"{name} of {stage} is not one path"
            raise SettingsError(f"{reader}.{setting}: {text}: {problem}")
        return f"{path}{below}"

    def _before(self, stage: str) -> list[str]:
        """The stages of the recipe that run before one; all of them where it is not of them."""
        return self.names[: self.names.index(stage)] if stage in self.names else self.names

    def _from_here(self, path: str, hub: bool) -> str:
        if self.folder == Path():
            return path
        here = str(self.folder / path)
        is_name = hub and not path.startswith(".") and not os.path.lexists(here)
        return path if path == STREAM or is_name else here


def recipe_names() -> list[str]:
    """The recipes shipped with dprkit."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_recipe(
    config: str | None = None, recipe: str | None = None, sets: Iterable[str] = ()
) -> Recipe:
    """The recipe in force: `--config`, else `--recipe`, else ./dprkit.yaml, else tiny."""
    if config is not None and recipe is not None:
        raise SettingsError("--config and --recipe both name a recipe; give one of them")
    path = Path(config) if config else _find_recipe(recipe)
    fallback = config is None and recipe is None and path != Path(RECIPE)
    loaded = replace(_read_recipe(path), fallback=fallback)
    of_stages = []
    for text in sets:
        key, _, value = text.partition("=")
        if key == ROUNDS:
            loaded = replace(loaded, rounds=_rounds(value, loaded.repeat))
        else:
            of_stages.append(text)
    loaded = _with_all_rounds(loaded)
    return replace(loaded, sets=_read_sets(of_stages, loaded))


def looked_for() -> str:
    """What was looked for where no recipe was found, and a file that may have been meant."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        with suppress(OSError):
            for name in sorted(os.listdir(folder)):
                if name.lower() in (RECIPE, "dprkit.yml"):
                    hint = f"rename it {RECIPE}" if folder == here else "work there"
                    path = os.path.relpath(folder / name)
                    return f"no {RECIPE} here; to use {path}, {hint} or give --config {path}"
    return f"no {RECIPE} here"


def _find_recipe(name: str | None) -> Path:
    if name is None:
        return Path(RECIPE) if os.path.lexists(RECIPE) else bundled("tiny.yaml")
    known = recipe_names()
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(known)}"
        raise SettingsError(f"--recipe: no recipe is called {name!r}{hint}")
    return bundled(f"{name}.yaml")


def _read_recipe(path: Path) -> Recipe:
    """The recipe in a file; a key that is unknown is refused."""
    document = read_yaml(path, _underscored)
    if not isinstance(document.value, dict | None):
        raise document.fault("a recipe is a mapping of stages to their settings")
    stages = dict(document.value or {})
    stages.pop("description", None)
    title = stages.pop("name", None) or path.stem
    if not isinstance(title, str) or "/" in title or title in (".", ".."):
        problem = f"name: {title!r} is not valid: it becomes a folder below runs/"
        raise document.fault(problem, "name")
    rounds, repeat = stages.pop(ROUNDS, 1), stages.pop(REPEAT, None)
    written: dict[str, dict[str, Any]] = {}
    kinds: dict[str, str] = {}
    for key, value in stages.items():
        name, kind = _name_and_kind(document, key, value)
        if name != kind:
            kinds[name] = kind
        written[name] = {}
        for setting_name, setting in (value or {}).items():
            if setting_name == STAGE:
                continue
            if problem := _unknown(name, kind, setting_name):
                raise document.fault(problem, key, setting_name)
            written[name][_underscored(setting_name)] = setting
    repeated = read_repeat(document, repeat, list(written))
    if problem := _no_rounds(rounds, repeated):
        raise document.fault(problem, ROUNDS)
    return Recipe(title, str(path), written, {}, kinds=kinds, rounds=rounds, repeat=repeated)


def _no_rounds(rounds: Any, repeat: Repeat | None) -> str:
    """What to say of a number of rounds that will not do, or ""."""
    if type(rounds) is not int or rounds < 1:
        return f"rounds: {rounds!r} is not valid: expected a number of 1 or more"
    if rounds > 1 and repeat is None:
        example = "repeat: {first: mine, last: distilled}"
        return f"rounds: {rounds} needs the stages of a round beside it, as in {example}"
    return ""


def _rounds(value: str, repeat: Repeat | None) -> int:
    """The number of --set rounds=N."""
    rounds = int(value) if value.isdecimal() else value
    if problem := _no_rounds(rounds, repeat):
        raise SettingsError(f"--set {problem}")
    return int(rounds)


def _with_all_rounds(recipe: Recipe) -> Recipe:
    if recipe.repeat is None:
        return recipe
    written, again = unrolled(recipe.written, recipe.repeat, recipe.rounds, recipe.kind_of)
    kinds = {name: recipe.kind_of(first) for name, (first, _) in again.items()}
    return replace(recipe, written=written, kinds={**recipe.kinds, **kinds}, again=again)


def _name_and_kind(document: Document, key: str, value: Any) -> tuple[str, str]:
    """What a stage of a recipe is called, and which stage it is."""
    name = _hyphened(key)
    told = value.get(STAGE) if isinstance(value, dict) else None
    kind = name if told is None else _hyphened(str(told))
    if told is None and name not in STAGES:
        hint = f"{nearest(key, STAGES)} (a name of its own needs a line such as stage: train)"
        raise document.fault(f"no stage is called {key!r}{hint}", key)
    if not isinstance(value, dict | None):
        raise document.fault(f"{key} holds the settings of a stage, as name: value", key)
    if kind not in STAGES:
        raise document.fault(f"no stage is called {told!r}{nearest(kind, STAGES)}", key, STAGE)
    if name in STAGES:
        if name != kind:
            raise document.fault(f"{key} cannot be {kind}; give it another name", key, STAGE)
        return name, kind
    if not re.fullmatch(r"\w[\w-]*", key):
        problem = (
            f"{key!r} is not valid as a name: it becomes a folder; use letters, digits, _ and -"
        )
        raise document.fault(problem, key)
    return key, kind


def _hyphened(stage: str) -> str:
    """Stages may be written with underscores."""
    return stage.replace("_", "-")


def _underscored(name: str) -> str:
    """Settings may be written with hyphens, as the flags are."""
    return name.replace("-", "_")


def _unknown(stage: str, kind: str, name: str) -> str:
    """What to say of a setting that `stage` does not have; `""` where it has it."""
    fields = fields_of(STAGES[kind])
    if _underscored(name) in fields:
        return ""
    return f"{stage} has no setting {name!r}{nearest(name, fields)}"


def _read_sets(sets: Iterable[str], recipe: Recipe) -> dict[str, dict[str, Any]]:
    import yaml

    values: dict[str, dict[str, Any]] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        typed, dot, name = key.partition(".")
        if not (equals and dot):
            raise SettingsError(f"--set {text}: write stage.key=value, such as train.lr=1e-4")
        stage = typed if typed in recipe.kinds else _hyphened(typed)
        named = [name for name, kind in recipe.kinds.items() if kind == stage]
        if stage not in (*recipe.kinds, *STAGES):
            hint = nearest(typed, [*recipe.kinds, *STAGES])
            raise SettingsError(f"--set {text}: no stage is called {typed!r}{hint}")
        if named and stage not in recipe.written:
            raise SettingsError(f"--set {text}: name one of {', '.join(named)} instead of {stage}")
        if problem := _unknown(stage, recipe.kind_of(stage), name):
            raise SettingsError(f"--set {text}: {problem}")
        try:
            parsed = yaml.safe_load(value) if value[:1] in "[{" else value
        except yaml.YAMLError:
            raise SettingsError(
                f"--set {text}: {value!r} is not YAML; close its brackets"
            ) from None
        values.setdefault(stage, {})[_underscored(name)] = parsed
    for later, (first, round_) in recipe.again.items():
        if recipe.repeat and first in values:
            of_all = in_round(values[first], recipe.kind_of(first), recipe.repeat, round_)
            values[later] = {**of_all, **values.get(later, {})}
    return values
