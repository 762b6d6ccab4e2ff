"""What `download` has beside its settings: --list, --yes, --dry-run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from dprkit.cli import render
from dprkit.cli.display import say
from dprkit.cli.help import WIDEST, wrapped
from dprkit.settings import DownloadSettings

INDENT = "    "

DOWNLOAD_OPTIONS: dict[str, tuple[Any, Any]] = {
    "listed": (Annotated[bool, typer.Option("--list", help="List what can be downloaded.")], False),
    "yes": (
        Annotated[
            bool,
            typer.Option(
                "--yes",
                "-y",
                help="Fetch more than 5 GB. The servers are asked for the sizes before a download "
                "begins; files whose size a server does not tell do not count.",
            ),
        ],
        False,
    ),
    "dry_run": (
        Annotated[
            bool,
            typer.Option(
                "--dry-run", help="Show what would be downloaded, with sizes; download nothing."
            ),
        ],
        False,
    ),
}


def partly_fetched(settings: DownloadSettings) -> bool:
    """Whether the output folder holds a part of a file, which a later run completes."""
    return any(Path(settings.output_dir).rglob("*.part"))


def list_catalog(settings: DownloadSettings, options: dict[str, Any], as_json: bool) -> bool:
    """With --list, print the catalog or the part of it that `settings.names` stand for."""
    if not options.pop("listed"):
        return False
    from dprkit.download.catalog import load_catalog, match_resources

    begin = time.perf_counter()
    catalog = load_catalog(settings.catalog)
    resources = match_resources(settings.names, catalog) if settings.names else catalog.values()
    if as_json:
        listed = {"resources": list(resources), "outputs": []}
        render.as_json(render.json_of(listed, time.perf_counter() - begin))
        return True
    width = min(get_terminal_size().columns, WIDEST)
    for resource in resources:
        known = resource.bytes or resource.about_bytes
        name = f"{resource.key}{f' ({resource.size})' if known else ''}"
        lines = [*wrapped(name, width, INDENT), *wrapped(resource.content, width, INDENT, INDENT)]
        sys.stdout.writelines(f"{line}\n" for line in lines)
    say("Where no size is shown, a download asks the server for it before it begins.")
    return True
