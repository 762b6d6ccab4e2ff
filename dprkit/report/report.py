"""report: one page of results, trainings, index tuning and audits.

folders and files       -> what they are       sources.py
systems                 -> figures, rankings   systems.py
rankings, side by side  -> blocks of a page    rankings.py, texts.py, spool.py
texts                   -> codes of words      vocabulary.py, word_classes.py, word_codes.py
all that is shown       -> the summary         summary.py, from columns.py, filters.py, lineage.py,
                                               trainings.py, tunings.py, audits.py
the page                                       page.py, web/
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import OutputError, writing
from dprkit.progress import Run
from dprkit.report.sources import sources_of
from dprkit.settings import ReportSettings
from dprkit.store.atomic_files import write_file


class ReportReport(msgspec.Struct):
    """What is in a page, and where it is."""

    systems: list[str]
    questions: int
    passages: int
    """Different passages in the rankings that are shown."""
    texts: int
    """Passages of these that have a text."""
    depth: int | None
    """Passages of each ranking that are shown; None: all."""
    trainings: int
    tunings: int
    audits: int
    bytes: int
    """Of the page."""
    outputs: list[str] = []
    notes: list[str] = []


def report(settings: ReportSettings, run: Run = Run()) -> ReportReport:
    """Write a page about all that `settings.sources` name.

    Memory is the figures of all questions, and for each passage its id: 250 MB for two systems of
    10,000 questions and 100 passages, however long the texts are. Raises InputError for what no
    page shows, MismatchError for systems with different questions, FormatError, OutputError.
    """
    from dprkit.report.blocks import columns_block, json_block, summary_element
    from dprkit.report.page import frame
    from dprkit.report.rankings import pack
    from dprkit.report.spool import Spool
    from dprkit.report.summary import summary_of
    from dprkit.report.systems import read_systems

    sources = sources_of(settings.sources)
    folder = _folder(settings.output)
    systems = read_systems(sources.systems, settings, run)
    with closing(Spool(folder)) as spool:
        packed = pack(systems, settings.depth, spool, run) if systems else None
        summary, columns = summary_of(sources, systems, packed, settings, run)
        page = frame(summary["title"])
        parts = [page.head, summary_element(summary)]
        if packed:
            parts += [columns_block("columns", columns), json_block("questions", packed.questions)]
        parts.append(page.middle)
        with write_file(settings.output) as file:
            file.writelines(parts)
            spool.write_to(file)
            file.write(page.tail)
    return _told(summary, settings, spool.bytes + sum(map(len, parts)) + len(page.tail))


def _folder(output: str) -> Path | None:
    """Where the page will be, which is where its blocks wait; None: it goes to stdout."""
    if output == "-":
        return None
    if os.path.isdir(output):
        raise OutputError(f"{output}: is a directory; name a file in it")
    folder = Path(output).parent
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _told(summary: dict[str, Any], settings: ReportSettings, size: int) -> ReportReport:
    passages = summary["passages"]
    return ReportReport(
        systems=[system["name"] for system in summary["systems"]],
        questions=summary["questions"]["count"],
        passages=passages["count"],
        texts=passages["texts"],
        depth=settings.depth,
        trainings=len(summary["runs"]),
        tunings=len(summary["tuning"]),
        audits=len(summary["audits"]),
        bytes=size,
        outputs=[settings.output],
    )
