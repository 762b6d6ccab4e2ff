"""Values: text from a flag, --set or YAML into the type that a setting wants."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import SettingsError
from dprkit.settings.fields import Setting, fields_of
from dprkit.settings.stages import STAGES

BUNDLED = "bundled:"


def bundled(path: str) -> Path:
    """The file that `bundled:NAME` in a recipe stands for: shipped with dprkit."""
    name = path.removeprefix(BUNDLED)
    package = Path(__file__).parents[1]
    wheel = package / "bundled"
    if wheel.is_dir():
        return wheel / ("configs" if name.endswith(".yaml") else "data") / name
    return package.parent / ("configs" if name.endswith(".yaml") else "data") / name


def real_path(path: str) -> str:
    """`path` with `bundled:` resolved."""
    return str(bundled(path)) if path.startswith(BUNDLED) else path


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise ValueError(f"expected name=number,name=number, got {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _spread(value: Any, setting: Setting) -> Any:
    """Split text that stands for several values: `1,5,20` and `train=500,valid=100`."""
    if isinstance(value, int) and "pattern=" in str(setting.type):
        return str(value)  # YAML reads the 500 of `checkpoint_every: 500` as a number
    if not isinstance(value, str):
        return [value] if isinstance(value, int | float) and "tuple" in str(setting.type) else value
    if "dict[" in str(setting.type):
        return _pairs(value)
    if "tuple[" in str(setting.type):
        return [value] if setting.path else [part.strip() for part in value.split(",")]
    return value


def convert(stage: str, name: str, value: Any, origin: str) -> Any:
    """`value` as the type of setting `name` of `stage`.

    Raises SettingsError that names the setting, the value and where it came from.
    """
    setting = fields_of(STAGES[stage])[name]
    flag = name.upper() if setting.flag == "argument" else f"--{name.replace('_', '-')}"
    shown = flag if origin == "flag" else f"{stage}.{name} ({origin})"
    try:
        result = msgspec.convert(_spread(value, setting), setting.type, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        reason = str(error).replace("`", "").partition(" - at $")[0]
        choices = re.search(r"Literal\[([^]]*)\]", str(setting.type))
        if choices and "enum" in reason:
            reason += f"; there are {choices[1]}".replace("'", "")
        raise SettingsError(
            f"{shown}: {value!r} will not do: {reason[0].lower()}{reason[1:]}"
        ) from None
    if isinstance(result, float) and not isfinite(result):
        raise SettingsError(f"{shown}: {value} will not do: expected a finite number")
    if setting.path and re.search("[\ud800-\udfff]", "".join(result or "")):
        raise SettingsError(f"{shown}: {value!r} is not UTF-8; rename the file")
    if setting.path and isinstance(result, tuple):
        return tuple(map(real_path, result))
    return real_path(result) if setting.path and isinstance(result, str) else result
