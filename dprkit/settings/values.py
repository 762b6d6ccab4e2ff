"""Values of settings: text from a flag, --set or YAML becomes the type of the setting."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import SettingsError
from dprkit.settings.fields import Setting

BUNDLED = "bundled:"


def bundled(path: str) -> Path:
    """The file that `bundled:NAME` in a recipe stands for: shipped with dprkit."""
    name = path.removeprefix(BUNDLED)
    package = Path(__file__).parents[1]
    wheel = package / "bundled"
    base = wheel if wheel.is_dir() else package.parent
    return base / ("configs" if name.endswith(".yaml") else "data") / name


def real_path(path: str) -> str:
    """`path` with `bundled:` resolved."""
    return str(bundled(path)) if path.startswith(BUNDLED) else path


_SETS = "expected sets such as train=500,valid=10%,test=rest"


def _wanted(setting: Setting) -> str:
    """What text of a mapping is like."""
    return f"expected pairs such as {setting.metavar}" if setting.choices else _SETS


def _pairs(text: str, setting: Setting) -> dict[str, int | str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise ValueError(_wanted(setting))
    texts = [(name.strip(), value.strip()) for name, _, value in pairs]
    names = [name for name, _ in texts]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"{twice} is named twice")
    return {name: int(text) if re.fullmatch("-?[0-9]+", text) else text for name, text in texts}


def _spread(value: Any, setting: Setting) -> Any:
    """Split text that stands for several values: `1,5,20` and `train=500,valid=100`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if setting.shape == "mapping":
        return _pairs(value, setting) if isinstance(value, str) else value
    if setting.shape == "tuple":
        several = isinstance(value, str) and not setting.path
        parts = [part.strip() for part in value.split(",")] if several else [value]
        return parts if number or isinstance(value, str) else value
    if isinstance(value, str):
        return dict(setting.renamed).get(value, value)
    # YAML reads the 500 of `checkpoint_every: 500` as a number.
    return str(value) if number and setting.kind is str else value


def convert(setting: Setting, value: Any, origin: str, stage: str) -> Any:
    """`value` as the type of a setting of `stage`.

    Raises SettingsError that names the setting, the value and where it came from.
    """
    name = setting.name
    flag = name.upper() if setting.flag == "argument" else f"--{name.replace('_', '-')}"
    shown = flag if origin == "flag" else f"{stage}.{name} ({origin})"
    try:
        result = msgspec.convert(_spread(value, setting), setting.type, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        reason = str(error).replace("`", "").partition(" - at $")[0]
        if setting.shape == "mapping" and ("regex" in reason or "str" in reason):
            reason = _wanted(setting)
        if "enum" in reason and setting.choices:
            reason += f"; there are {', '.join(setting.choices)}"
        raise SettingsError(
            f"{shown}: {value!r} is not valid: {reason[0].lower()}{reason[1:]}"
        ) from None
    if isinstance(result, float) and not isfinite(result):
        raise SettingsError(f"{shown}: {value} is not valid: expected a finite number")
    if setting.path and re.search("[\ud800-\udfff]", "".join(result or "")):
        raise SettingsError(f"{shown}: {value!r} is not UTF-8; rename the file")
    if setting.path and isinstance(result, tuple):
        return tuple(map(real_path, result))
    return real_path(result) if setting.path and isinstance(result, str) else result
