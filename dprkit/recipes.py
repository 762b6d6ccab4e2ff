"""Recipes: the YAML files that hold the settings of one experiment, and who wins.

A setting's value is the flag's, else --set's, else the recipe's, else the default. The recipe
itself is --config's file, else --recipe's, else ./dprkit.yaml, else the shipped tiny one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import FormatError, SettingsError, nearest, reading
from dprkit.settings import STAGES, bundled, convert, fields_of

RUNS = Path("runs")


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

    @property
    def shipped(self) -> bool:
        """Whether it came with dprkit, and so was not written by the user."""
        return Path(self.source).parent == bundled("tiny.yaml").parent

    @property
    def workspace(self) -> Path:
        return RUNS / self.name

    def explain(self, stage: str, flags: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """setting -> (value, where it came from) for every setting of `stage`.

        `flags` maps setting names to what the user typed; None stands for "not given".
        """
        fields = fields_of(STAGES[stage])
        found = {name: self._find(stage, name, flags) for name in fields}
        for name, setting in fields.items():
            for replaced in setting.replaces.split():
                if _closeness(found[name][1]) > _closeness(found[replaced][1]):
                    found[replaced] = (fields[replaced].default, f"replaced by {name}")
        return found

    def _find(self, stage: str, name: str, flags: Mapping[str, Any]) -> tuple[Any, str]:
        setting = fields_of(STAGES[stage])[name]
        if flags.get(name) is not None:
            return convert(stage, name, flags[name], "flag"), "flag"
        if name in self.sets.get(stage, {}):
            return convert(stage, name, self.sets[stage][name], "--set"), "--set"
        if name in self.written.get(stage, {}):
            return convert(stage, name, self.written[stage][name], self.source), self.source
        if setting.workspace:
            path = str(self.workspace / setting.workspace)
            return (path,) if "tuple[" in str(setting.type) else path, "workspace"
        return setting.default, "default"

    def stage(self, stage: str, flags: Mapping[str, Any]) -> tuple[msgspec.Struct, dict[str, str]]:
        """The effective settings of `stage`, and where each one came from."""
        explained = self.explain(stage, flags)
        settings = STAGES[stage](**{name: value for name, (value, _) in explained.items()})
        return settings, {name: origin for name, (_, origin) in explained.items()}


def _closeness(origin: str) -> int:
    """How near to the user an origin is: flag, --set, a recipe, neither."""
    order = {"default": 0, "workspace": 0, "--set": 2, "flag": 3}
    return order.get(origin, 1)


def recipe_names() -> list[str]:
    """The recipes shipped with dprkit."""
    return sorted(path.stem for path in bundled("tiny.yaml").parent.glob("*.yaml"))


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
    return Recipe(name, str(path), written, _read_sets(sets))


def _find_recipe(name: str | None) -> Path:
    if name is None:
        local = Path("dprkit.yaml")
        return local if local.exists() else bundled("tiny.yaml")
    known = recipe_names()
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(known)}"
        raise SettingsError(f"--recipe: no recipe is called {name!r}{hint}")
    return bundled(f"{name}.yaml")


def _read_recipe(path: Path) -> dict[str, Any]:
    import yaml

    with reading(path):
        text = path.read_bytes()
    try:
        tree = yaml.compose(text.decode())
        recipe = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise FormatError(path, 1, "not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FormatError(path, line, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise FormatError(path, 1, f"not YAML: {error}") from None
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        raise FormatError(path, 1, "a recipe is a mapping of stages to their settings")
    _check_keys(path, tree, recipe)
    return {_known(key): _renamed(value) for key, value in recipe.items()}


def _known(key: str) -> str:
    return key.replace("_", "-") if key.replace("_", "-") in STAGES else key


def _renamed(value: Any) -> Any:
    """Settings may be written with hyphens, as the flags are."""
    return (
        {k.replace("-", "_"): v for k, v in value.items()}
        if isinstance(value, dict)
        else value or {}
    )


def _check_keys(path: Path, tree: Any, recipe: dict[str, Any]) -> None:
    """Refuse a key that no stage knows, with its line and the nearest known one."""
    _refuse_twice(path, tree)
    for key_node, value_node in tree.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in ("name", "description"):
            continue
        if _known(key) not in STAGES:
            raise FormatError(path, line, f"no stage is called {key!r}{nearest(key, STAGES)}")
        if not isinstance(recipe[key], dict | None):
            raise FormatError(path, line, f"{key} holds the settings of a stage, as name: value")
        if recipe[key]:
            _refuse_twice(path, value_node)
        for name_node, _ in value_node.value if recipe[key] else ():
            _check_name(_known(key), str(name_node.value), path, name_node.start_mark.line + 1)


def _refuse_twice(path: Path, mapping: Any) -> None:
    """YAML would let the last of two equal keys win in silence."""
    seen: set[str] = set()
    for node, _ in mapping.value:
        name = str(node.value).replace("-", "_")
        if name in seen:
            raise FormatError(path, node.start_mark.line + 1, f"{node.value!r} is there twice")
        seen.add(name)


def _check_name(stage: str, name: str, path: Path, line: int) -> None:
    known = fields_of(STAGES[stage])
    if name.replace("-", "_") not in known:
        raise FormatError(path, line, f"{stage} has no setting {name!r}{nearest(name, known)}")


def _read_sets(sets: Iterable[str]) -> dict[str, dict[str, Any]]:
    import yaml

    found: dict[str, dict[str, Any]] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        stage, dot, name = key.partition(".")
        if not (equals and dot):
            raise SettingsError(f"--set {text}: write stage.key=value, such as train.lr=1e-4")
        if _known(stage) not in STAGES:
            raise SettingsError(
                f"--set {text}: no stage is called {stage!r}{nearest(stage, STAGES)}"
            )
        known = fields_of(STAGES[_known(stage)])
        if name.replace("-", "_") not in known:
            raise SettingsError(
                f"--set {text}: {stage} has no setting {name!r}{nearest(name, known)}"
            )
        try:
            parsed = yaml.safe_load(value) if value[:1] in "[{" else value
        except yaml.YAMLError:
            raise SettingsError(f"--set {text}: {value!r} is not YAML") from None
        found.setdefault(_known(stage), {})[name.replace("-", "_")] = parsed
    return found
