"""Options of the commands: those that all of them share, and how a setting becomes one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Optional

import typer

from dprkit.cli import completion
from dprkit.cli.help import SHARED
from dprkit.settings import Setting

ConfigFile = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--config", metavar="FILE", help="The recipe to use.", rich_help_panel=SHARED),
]
RecipeName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="A recipe that ships with dprkit.",
        autocompletion=completion.of_recipes,
        rich_help_panel=SHARED,
    ),
]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        metavar="STAGE.KEY=VALUE",
        help="Set any setting of any stage, as in --set train.lr=1e-4.",
        autocompletion=completion.of_sets,
        rich_help_panel=SHARED,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=SHARED),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only errors, warnings and the data asked for.",
        rich_help_panel=SHARED,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print the settings in force.", rich_help_panel=SHARED),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart",
        help="Throw away what an earlier run left in the output.",
        rich_help_panel=SHARED,
    ),
]

COMMON: dict[str, tuple[Any, Any]] = {
    "config_file": (ConfigFile, None),
    "recipe_name": (RecipeName, None),
    "sets": (Sets, None),
    "restart": (Restart, False),
    "as_json": (AsJson, False),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
}


def switch(help_text: str, *names: str) -> tuple[Any, Any]:
    """An option of one command that is on or off, and is off by default."""
    return Annotated[bool, typer.Option(*names, help=help_text)], False


DOWNLOAD_OPTIONS: dict[str, tuple[Any, Any]] = {
    "listed": switch("List what can be downloaded.", "--list"),
    "yes": switch(
        "Fetch more than 5 GB. The servers are asked for the sizes before a download begins; "
        "files whose size a server does not tell do not count.",
        "--yes",
        "-y",
    ),
    "dry_run": switch("Show what would be downloaded, with sizes; download nothing.", "--dry-run"),
}
ENCODE_OPTIONS: dict[str, tuple[Any, Any]] = {
    "shard": (
        Annotated[
            str | None,
            typer.Option(
                metavar="I/N", help="Encode only the I-th of N equal parts of the shards."
            ),
        ],
        None,
    ),
    "append": switch("Encode only passages that are new or changed.", "--append"),
    "repair": switch("Encode damaged shards again, and no others.", "--repair"),
    "dry_run": switch(
        "Encode a sample and estimate the time, disk and memory that all would take.",
        "--dry-run",
    ),
}


def option_of(setting: Setting, default: Any) -> tuple[Any, Any]:
    """The option (or argument) of a setting. Its value is None where the user gives none."""
    help_text = _described(setting, default)
    kind = _plain_type(setting)
    if setting.flag == "argument":
        dots = "..." if kind == list[str] else ""
        argument = typer.Argument(
            metavar=f"[{setting.name.upper()}]{dots}",
            help=help_text,
            autocompletion=completion.of_setting(setting),
        )
        return Annotated[Optional[kind], argument], None  # noqa: UP045
    names = [f"--{setting.name.replace('_', '-')}"]
    if kind is bool:
        names[0] += f"/--no-{setting.name.replace('_', '-')}"
    option = typer.Option(
        *names,
        *([setting.flag] if setting.flag else []),
        help=help_text,
        metavar=setting.metavar or _metavar(setting, kind),
        autocompletion=None if kind is bool else completion.of_setting(setting),
        rich_help_panel=setting.panel or None,
        show_default=False,
    )
    return Annotated[Optional[kind], option], None  # noqa: UP045


def _plain_type(setting: Setting) -> Any:
    """What the shell gives for a setting: numbers and switches, else text that convert() reads."""
    if setting.shape == "value" and setting.kind in (bool, int, float):
        return setting.kind
    repeated = setting.shape == "tuple" and (setting.path or setting.flag == "argument")
    return list[str] if repeated else str


def _metavar(setting: Setting, kind: Any) -> str | None:
    if setting.choices:
        return "|".join(setting.choices)
    if setting.path:
        return "PATH"
    return None if kind is bool else {int: "N", float: "X"}.get(kind, "TEXT")


def _described(setting: Setting, default: Any) -> str:
    """The sentence of a setting, and last its default: what a recipe that sets nothing has."""
    if written := re.fullmatch(r"(.*) \(default: (.*)\)\.", setting.sentence):
        return f"{written[1]}. [default: {written[2]}]"
    if setting.kind is bool:
        default = "on" if default else "off"
    if default in (None, ()):
        return setting.sentence
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{setting.sentence} [default: {shown}]"
