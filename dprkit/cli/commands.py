"""The table of stages as commands: the function that shows the report of each, and its options.

A stage is a class in dprkit.settings, whose docstring is the command's help, a line in
dprkit.pipeline.stages, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dprkit.cli import render
from dprkit.cli.answers_table import answers_table
from dprkit.cli.audit_table import audit_sheet, audit_table
from dprkit.cli.comparison_tables import comparison_sheet, comparison_tables
from dprkit.cli.download import list_catalog
from dprkit.cli.exit_codes import Ending
from dprkit.cli.import_table import import_table
from dprkit.cli.metric_tables import metrics_sheet, metrics_table
from dprkit.cli.mining_table import mining_sheet, mining_table
from dprkit.cli.options import DOWNLOAD_OPTIONS, ENCODE_OPTIONS, IMPORT_OPTIONS
from dprkit.cli.prompt import prompt
from dprkit.cli.tables import Sheet
from dprkit.cli.teacher_table import teacher_sheet, teacher_table
from dprkit.pipeline.stages import Stage

Render = Callable[[Any], None]


@dataclass(frozen=True)
class Command:
    """A stage at the command line."""

    render: Render
    sheet: Callable[[Any], Sheet] | None = None
    """The figures of the report for --csv; a command without it has no --csv."""
    options: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Options that are no settings: name -> (annotation, default), given to the stage by name."""
    instead: Callable[[Any, dict[str, Any], Ending], bool] | None = None
    """What may do the job in the stage's place, and says whether it did.

    It is given the settings, the values of `options`, and the command's Ending.
    """
    dry_run: Stage | None = None
    """What --dry-run runs in the stage's place."""


COMMANDS = {
    "download": Command(render.downloading, options=DOWNLOAD_OPTIONS, instead=list_catalog),
    "import-data": Command(
        import_table,
        options=IMPORT_OPTIONS,
        dry_run=Stage("dprkit.imports.preview:preview"),
    ),
    "select-data": Command(render.selection),
    "export-data": Command(render.exported_data),
    "train": Command(render.training),
    "train-reader": Command(render.training),
    "convert": Command(render.conversion),
    "push": Command(render.pushed),
    "encode-corpus": Command(
        render.encoding,
        options=ENCODE_OPTIONS,
        dry_run=Stage("dprkit.embeddings.estimate:estimate"),
    ),
    "import-embeddings": Command(render.importing),
    "export-embeddings": Command(render.exporting),
    "index": Command(render.indexing),
    "tune-index": Command(render.tuning, render.tuning_sheet),
    "update-index": Command(render.updating),
    "search": Command(render.searching, instead=prompt),
    "explain": Command(render.explanation, render.explanation_sheet),
    "mine-negatives": Command(mining_table, mining_sheet),
    "score-teacher": Command(teacher_table, teacher_sheet),
    "audit": Command(audit_table, audit_sheet),
    "evaluate": Command(metrics_table, metrics_sheet),
    "read": Command(answers_table),
    "compare": Command(comparison_tables, comparison_sheet),
    "report": Command(render.reporting),
    "convert-results": Command(render.converted_results),
}
