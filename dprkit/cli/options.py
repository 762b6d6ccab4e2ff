"""Options of the commands: the shared options, and how a setting becomes an option."""

from __future__ import annotations

import re
from typing import Annotated, Any, Optional

import typer

from dprkit.cli import completion
from dprkit.cli.help import SHARED
from dprkit.settings import Setting


def _shared(*names: str, **how: Any) -> Any:
    """An option that many commands have."""
    return typer.Option(*names, rich_help_panel=SHARED, **how)


ConfigFile = Annotated[
    str | None, _shared("--config", metavar="FILE", help="File of the recipe to use.")
]
RecipeName = Annotated[
    str | None,
    _shared(
        "--recipe",
        metavar="NAME",
        help="Name of a recipe that ships with dprkit.",
        autocompletion=completion.of_recipes,
    ),
]
Sets = Annotated[
    list[str] | None,
    _shared(
        "--set",
        metavar="STAGE.KEY=VALUE",
        help="Set a setting of any stage, as in --set train.lr=1e-4; give the option again for "
        "more settings.",
        autocompletion=completion.of_sets,
    ),
]
StageName = Annotated[
    str | None,
    _shared(
        "--stage",
        metavar="NAME",
        help="Stage of the recipe to run, where the recipe has several of this command.",
        autocompletion=completion.of_stages,
    ),
]
OnlyStage = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="STAGE", help="This stage alone.", autocompletion=completion.of_stages
    ),
]
FromStage = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="STAGE",
        help="This stage and those after it.",
        autocompletion=completion.of_stages,
    ),
]
AsJson = Annotated[bool, _shared("--json", help="Print the report as one JSON object on stdout.")]
AsCsv = Annotated[
    bool,
    _shared("--csv", help="Print the figures of the report as CSV on stdout, with a header line."),
]
Quiet = Annotated[
    bool,
    _shared("--quiet", "-q", help="Print only errors, warnings and the data that was asked for."),
]
Verbose = Annotated[bool, _shared("--verbose", "-v", help="Print the settings of the command too.")]
Restart = Annotated[
    bool,
    _shared(
        "--restart",
        help="Throw away what an earlier run left in the output, and make the output again.",
    ),
]

COMMON: dict[str, tuple[Any, Any]] = {
    "config_file": (ConfigFile, None),
    "recipe_name": (RecipeName, None),
    "sets": (Sets, None),
    "stage": (StageName, None),
    "restart": (Restart, False),
    "as_json": (AsJson, False),
    "as_csv": (AsCsv, False),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
}


def switch(help_text: str, *names: str) -> tuple[Any, Any]:
    """An option of one command that is on or off, and is off by default."""
    return Annotated[bool, typer.Option(*names, help=help_text)], False


DOWNLOAD_OPTIONS: dict[str, tuple[Any, Any]] = {
    "listed": switch(
        "List the resources that can be downloaded, or the part of the list that NAMES names.",
        "--list",
    ),
    "yes": switch(
        "Allow a download of more than 5 GB. Before it begins, the servers are asked for the "
        "sizes; a file whose size the server does not tell counts as 0.",
        "--yes",
        "-y",
    ),
    "dry_run": switch(
        "Show the files that would be downloaded, with their sizes; download nothing.", "--dry-run"
    ),
}
ENCODE_OPTIONS: dict[str, tuple[Any, Any]] = {
    "shard": (
        Annotated[
            str | None,
            typer.Option(
                metavar="I/N",
                help="Encode only part I of N equal parts of the shards; I counts from 1.",
            ),
        ],
        None,
    ),
    "append": switch(
        "Encode only passages that are new or changed since the embeddings in the output folder "
        "were made.",
        "--append",
    ),
    "repair": switch("Encode damaged shards again, and no other shards.", "--repair"),
    "dry_run": switch(
        "Encode a sample of the corpus and estimate the time, disk and memory that the whole "
        "corpus would take; write nothing.",
        "--dry-run",
    ),
}
IMPORT_OPTIONS: dict[str, tuple[Any, Any]] = {
    "dry_run": switch(
        "Show how each source is understood, and its first rows; write nothing.", "--dry-run"
    ),
}


def option_of(setting: Setting, default: Any) -> tuple[Any, Any]:
    """The option (or argument) of a setting. Its value is None where the user gives none."""
    help_text = _described(setting, default)
    kind = _plain_type(setting)
    if setting.flag == "argument":
        dots = "..." if kind == list[str] else ""
        argument = typer.Argument(
            metavar=setting.metavar or f"[{setting.name.upper()}]{dots}",
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
    return list[str] if setting.shape == "tuple" else str


def given_again(setting: Setting, value: Any) -> Any:
    """The value of an option; one that is given again is as one value with commas between."""
    whole = setting.repeated or setting.path or setting.flag == "argument"
    return ",".join(value) if value and setting.shape == "tuple" and not whole else value


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
