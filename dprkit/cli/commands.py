"""The table of stages as commands: the function that runs each stage and the one that shows it.

A stage is a class in dprkit.settings, whose docstring is the command's help, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dprkit.cli import render
from dprkit.cli.download import list_catalog, partly_fetched
from dprkit.cli.exit_codes import Ending
from dprkit.cli.options import DOWNLOAD_OPTIONS, ENCODE_OPTIONS
from dprkit.cli.prompt import prompt

Render = Callable[[Any], None]


def half_done(settings: Any) -> bool:
    """Whether the output folder holds a half-done artifact that a later run goes on with."""
    from dprkit.store.manifests import read_progress

    folder = getattr(settings, "output_dir", None)
    left = read_progress(Path(folder)) if folder else None
    return bool(left and left.state)


@dataclass(frozen=True)
class Command:
    """A stage at the command line."""

    home: str
    """"module:function"; imported when the command runs.

    The module of a stage that `dprkit run` runs has `files_of` too, which tells by the settings
    what the stage reads and writes, or refuses them.
    """
    render: Render
    in_run: bool = True
    """Whether `dprkit run` runs it where the recipe mentions it, in the order of the table."""
    options: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Options that are no settings: name -> (annotation, default), given to the stage by name."""
    instead: Callable[[Any, dict[str, Any], Ending], bool] | None = None
    """What may do the job in the stage's place, and says whether it did.

    It is given the settings, the values of `options`, and the command's Ending.
    """
    resumes: Callable[[Any], bool] = half_done
    """Whether the stage, when it was stopped, left something that the same command goes on with."""


COMMANDS = {
    "download": Command(
        "dprkit.download.download:download",
        render.downloading,
        options=DOWNLOAD_OPTIONS,
        instead=list_catalog,
        resumes=partly_fetched,
    ),
    "select-data": Command("dprkit.data.selection:select_data", render.selection),
    "train": Command("dprkit.training.train:train", render.training),
    "convert": Command("dprkit.interop.convert:convert", render.conversion, in_run=False),
    "encode-corpus": Command(
        "dprkit.embeddings.encode:encode_corpus", render.encoding, options=ENCODE_OPTIONS
    ),
    "import-embeddings": Command(
        "dprkit.embeddings.importing:import_embeddings", render.importing, in_run=False
    ),
    "export-embeddings": Command(
        "dprkit.embeddings.exporting:export_embeddings", render.exporting, in_run=False
    ),
    "index": Command("dprkit.indexes.build:index", render.indexing),
    "tune-index": Command("dprkit.indexes.tune:tune_index", render.tuning, in_run=False),
    "update-index": Command("dprkit.indexes.update:update_index", render.updating, in_run=False),
    "search": Command(
        "dprkit.search.search:search", render.searching, in_run=False, instead=prompt
    ),
    "evaluate": Command("dprkit.evaluation.evaluate:evaluate", render.evaluation),
}
