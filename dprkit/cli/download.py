"""`dprkit download --list`: the catalog as a list."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import Any

from dprkit.cli.display import say
from dprkit.cli.exit_codes import Ending
from dprkit.cli.help import WIDEST, wrapped
from dprkit.settings import DownloadSettings

INDENT = "    "


def list_catalog(settings: DownloadSettings, options: dict[str, Any], end: Ending) -> bool:
    """With --list, print the catalog or the part of it that `settings.names` stand for."""
    if not options.pop("listed"):
        return False
    from dprkit.download.catalog import load_catalog, match_resources

    catalog = load_catalog(settings.catalog)
    resources = match_resources(settings.names, catalog) if settings.names else catalog.values()
    if end.as_json:
        end.print_json({"resources": list(resources), "outputs": []})
        return True
    width = min(get_terminal_size().columns, WIDEST)
    for resource in resources:
        size = f" ({resource.size})" if resource.bytes or resource.about_bytes else ""
        lines = wrapped(f"{resource.key}{size}", width, INDENT)
        lines += wrapped(resource.content, width, INDENT, INDENT)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    say("Where no size is shown, a download asks the server for it before it begins.")
    return True
