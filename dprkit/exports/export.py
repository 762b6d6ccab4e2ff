"""export-data: dprkit's passages, questions and examples -> the forms of other tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from dprkit.errors import InputError, need_extra
from dprkit.exports.beir import beir_tables
from dprkit.exports.sources import DataFiles, data_files
from dprkit.exports.tables import Table
from dprkit.exports.training_rows import training_tables
from dprkit.exports.whole_data import card, whole_tables
from dprkit.exports.written import write_tables
from dprkit.progress import Run
from dprkit.settings import ExportDataSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest

README = "README.md"
OF_ROWS = ("rows", "positives", "negatives", "titles", "form")
"""Settings of sentence-transformers' rows alone."""


class ExportDataReport(msgspec.Struct):
    """What was written: the rows of each table, and the records that made none, by reason."""

    to: str
    rows: dict[str, int]
    dropped: dict[str, int]
    files: list[str]
    outputs: list[str]
    notes: list[str] = []


def export_data(settings: ExportDataSettings, run: Run = Run()) -> ExportDataReport:
    """Write the data that the settings name in the form `settings.to`, a record at a time.

    Raises SettingsError where the form lacks a file that it needs, InputError where no row is
    written, and what the readers of the files raise.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    files = data_files(settings)
    tables = _tables(files, settings)
    unused = () if settings.to == "sentence-transformers" else OF_ROWS
    with draft(directory, "export", settings, files.named(), run, unused=unused) as work:
        manifest = work.done or _export(work, tables, settings)
    counts = manifest.counts
    made = (counts["to"], counts["rows"], counts["dropped"], list(manifest.files))
    return ExportDataReport(*made, [str(directory)], counts["notes"])


def _tables(files: DataFiles, settings: ExportDataSettings) -> list[Table]:
    if settings.to == "beir":
        return beir_tables(files)
    if settings.to == "sentence-transformers":
        tables = training_tables(files, settings)
    else:
        tables = whole_tables(files)
    if any(table.form == "parquet" for table in tables):
        need_extra("datasets", "pyarrow")
    return tables


def _export(work: Draft, tables: list[Table], settings: ExportDataSettings) -> Manifest:
    done = write_tables(work, tables)
    if not any(done.rows.values()):
        reasons = ", ".join(f"{count:,} {why}" for why, count in done.dropped.items())
        work.state.clear()  # there is nothing to go on with
        why = f"({reasons or 'it is empty'}){_advice(settings, done.dropped)}"
        raise InputError(f"{_named(settings)}: no row comes of it {why}")
    if settings.to == "parquet":
        with work.file(README) as file:
            file.write(card(tables).encode())
    advice = _advice(settings, done.dropped)
    notes = [f"{name}: no rows{advice}" for name, count in done.rows.items() if not count]
    for note in notes:
        work.run.progress.warn(note)
    return work.finish(
        {"to": settings.to, "rows": done.rows, "dropped": done.dropped, "notes": notes}
    )


def _advice(settings: ExportDataSettings, dropped: Iterable[str]) -> str:
    """What to do where rows lack negatives."""
    if settings.to == "sentence-transformers" and any("negative" in why for why in dropped):
        return "; --rows pairs needs no negatives, and mine-negatives finds some"
    return ""


def _named(settings: ExportDataSettings) -> str:
    return settings.data or settings.passages or ", ".join(settings.examples or settings.questions)
