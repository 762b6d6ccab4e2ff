"""What `download` has beside its settings: --list, --yes, --dry-run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dprkit.cli import render
from dprkit.settings import DownloadSettings

DOWNLOAD_OPTIONS: dict[str, tuple[Any, Any]] = {
    "listed": (Annotated[bool, typer.Option("--list", help="List what the catalog holds.")], False),
    "yes": (Annotated[bool, typer.Option("--yes", "-y", help="Fetch more than 5 GB.")], False),
    "dry_run": (Annotated[bool, typer.Option("--dry-run", help="Only tell what would be.")], False),
}


def partly_fetched(settings: DownloadSettings) -> bool:
    """Whether the output folder holds a part of a file, which a later run completes."""
    return any(Path(settings.output_dir).rglob("*.part"))


def list_catalog(settings: DownloadSettings, options: dict[str, Any], as_json: bool) -> bool:
    """With --list, print the catalog or the part of it that `settings.names` stand for."""
    if not options.pop("listed"):
        return False
    from dprkit.data.catalog import load_catalog, match_resources

    begin = time.perf_counter()
    catalog = load_catalog(settings.catalog)
    resources = match_resources(settings.names, catalog) if settings.names else catalog.values()
    if as_json:
        listed = {"resources": list(resources), "outputs": []}
        render.as_json(render.json_of(listed, time.perf_counter() - begin))
        return True
    before: list[str] = []
    for resource in resources:
        *above, name = resource.key.split(".")
        for depth, part in enumerate(above):
            if before[: depth + 1] != above[: depth + 1]:
                sys.stdout.write(f"{'  ' * depth}{part}\n")
        before = above
        indent = "  " * len(above)
        sys.stdout.write(
            f"{indent}{name:<{32 - len(indent)}} {resource.size:<24} {resource.content}\n"
        )
    return True
