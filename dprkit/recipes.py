"""Recipes: the YAML files that hold the settings of one experiment, and who wins.

A setting's value is the flag's, else --set's, else the recipe's, else the default. The recipe
itself is --config's file, else --recipe's, else ./dprkit.yaml, else the shipped tiny one.

Where one stage reads what another writes, the default follows the other's setting, wherever that
is set. Paths in a user's recipe, and runs/, are relative to the recipe's folder; paths of a
shipped recipe, of flags and of --set are relative to the current one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import FormatError, SettingsError, nearest
from dprkit.settings import STAGES, Setting, bundled, convert, fields_of
from dprkit.yaml_file import read_yaml

RUNS = Path("runs")
RECIPE = "dprkit.yaml"
SHIPPED = bundled("tiny.yaml").parent
STREAM = "-"


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

    @property
    def shipped(self) -> bool:
        """Whether it came with dprkit, and so was not written by the user."""
        return os.path.realpath(self.folder_of_source) == os.path.realpath(SHIPPED)

    @property
    def folder_of_source(self) -> Path:
        return Path(self.source).parent

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return Path() if self.shipped else self.folder_of_source

    @property
    def workspace(self) -> Path:
        return self.folder / RUNS / self.name

    def explain(self, stage: str, flags: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """setting -> (value, where it came from) for every setting of `stage`.

        `flags` maps setting names to what the user typed; None stands for "not given".
        """
        fields = fields_of(STAGES[stage])
        found = {name: self._find(stage, name, flags) for name in fields}
        for name, setting in fields.items():
            for replaced in setting.replaces.split():
                if self._closeness(stage, name, flags) > self._closeness(stage, replaced, flags):
                    found[replaced] = (fields[replaced].default, f"replaced by {name}")
        return found

    def _closeness(self, stage: str, name: str, flags: Mapping[str, Any]) -> int:
        """How near to the user a setting is given: 3 flag, 2 --set, 1 the recipe, 0 not given."""
        if flags.get(name) is not None:
            return 3
        if name in self.sets.get(stage, {}):
            return 2
        return int(name in self.written.get(stage, {}))

    def _find(self, stage: str, name: str, flags: Mapping[str, Any]) -> tuple[Any, str]:
        setting = fields_of(STAGES[stage])[name]
        match self._closeness(stage, name, flags):
            case 3:
                return convert(stage, name, flags[name], "flag"), "flag"
            case 2:
                return convert(stage, name, self.sets[stage][name], "--set"), "--set"
            case 1:
                value = convert(stage, name, self.written[stage][name], self.source)
                return self._placed(setting, value), self.source
        if setting.follows:
            path, origin = self._followed(setting)
            return (path,) if setting.shape == "tuple" and path else path, origin
        if setting.workspace:
            return str(self.workspace / setting.workspace), "workspace"
        return setting.default, "default"

    def _followed(self, setting: Setting) -> tuple[Any, str]:
        """The path that another stage's setting has, and which stage's that is."""
        found = []
        for link in setting.follows:
            of, _, below = link.partition("/")
            stage, _, name = of.partition(".")
            path, origin = self._find(stage, name, {})
            if path in (None, STREAM):
                continue
            if fields_of(STAGES[stage])[name].output:
                origin = f"output of {stage}"
            elif self._closeness(stage, name, {}):
                origin = f"as {of}"
            given = self._closeness(stage, name, {}) > 0
            found.append((not given, os.path.join(path, below) if below else path, origin))
        return min(found, key=itemgetter(0))[1:] if found else (setting.default, "default")

    def _placed(self, setting: Setting, value: Any) -> Any:
        """A value of the recipe's file, its paths as they are seen from the current folder."""
        if not setting.path or not value or self.folder == Path():
            return value
        if setting.shape == "tuple":
            return tuple(self._from_here(path, setting.hub) for path in value)
        return self._from_here(value, setting.hub)

    def _from_here(self, path: str, hub: bool) -> str:
        here = str(self.folder / path)
        is_name = hub and not path.startswith(".") and not os.path.lexists(here)
        return path if path == STREAM or is_name else here

    def stage(self, stage: str, flags: Mapping[str, Any]) -> tuple[msgspec.Struct, dict[str, str]]:
        """The effective settings of `stage`, and where each one came from."""
        explained = self.explain(stage, flags)
        settings = STAGES[stage](**{name: value for name, (value, _) in explained.items()})
        return settings, {name: origin for name, (_, origin) in explained.items()}


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
    written = _read_recipe(path)
    name = written.pop("name", None) or path.stem
    if not isinstance(name, str) or "/" in name or name in (".", ".."):
        raise FormatError(path, 1, f"name: {name!r} will not do: it becomes a folder below runs/")
    written.pop("description", None)
    fallback = config is None and recipe is None and path != Path(RECIPE)
    return Recipe(name, str(path), written, _read_sets(sets), fallback)


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


def _read_recipe(path: Path) -> dict[str, Any]:
    """A recipe's name, description and stages -> settings; a key that is unknown is refused."""
    document = read_yaml(path, _underscored)
    if document.value is None:
        return {}
    if not isinstance(document.value, dict):
        raise document.fault("a recipe is a mapping of stages to their settings")
    recipe: dict[str, Any] = {}
    for key, value in document.value.items():
        stage = key.replace("_", "-")
        if key in ("name", "description"):
            recipe[key] = value
            continue
        if stage not in STAGES:
            raise document.fault(f"no stage is called {key!r}{nearest(key, STAGES)}", key)
        if not isinstance(value, dict | None):
            raise document.fault(f"{key} holds the settings of a stage, as name: value", key)
        recipe[stage] = {}
        for name, setting in (value or {}).items():
            if problem := _unknown(stage, name):
                raise document.fault(problem, key, name)
            recipe[stage][_underscored(name)] = setting
    return recipe


def _underscored(name: str) -> str:
    """Settings may be written with hyphens, as the flags are."""
    return name.replace("-", "_")


def _unknown(stage: str, name: str) -> str:
    """What to say of a setting that `stage` does not have; `""` where it has it."""
    fields = fields_of(STAGES[stage])
    if _underscored(name) in fields:
        return ""
    return f"{stage} has no setting {name!r}{nearest(name, fields)}"


def _read_sets(sets: Iterable[str]) -> dict[str, dict[str, Any]]:
    import yaml

    values: dict[str, dict[str, Any]] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        stage, dot, name = key.partition(".")
        stage = stage.replace("_", "-")
        if not (equals and dot):
            raise SettingsError(f"--set {text}: write stage.key=value, such as train.lr=1e-4")
        if stage not in STAGES:
            hint = nearest(stage, STAGES)
            raise SettingsError(f"--set {text}: no stage is called {stage!r}{hint}")
        if problem := _unknown(stage, name):
            raise SettingsError(f"--set {text}: {problem}")
        try:
            parsed = yaml.safe_load(value) if value[:1] in "[{" else value
        except yaml.YAMLError:
            raise SettingsError(f"--set {text}: {value!r} is not YAML") from None
        values.setdefault(stage, {})[_underscored(name)] = parsed
    return values
