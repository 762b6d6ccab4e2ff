"""The summary of a report: all that its page shows before a question is opened."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dprkit import __version__
from dprkit.evaluation.systems import names_of
from dprkit.progress import Run
from dprkit.report import systems as of_systems
from dprkit.report.audits import audit_of, tags_of
from dprkit.report.blocks import FORMAT
from dprkit.report.columns import columns_of, curve, curve_depths
from dprkit.report.filters import filters_of
from dprkit.report.rankings import QUESTIONS, Packed
from dprkit.report.sources import Sources
from dprkit.report.systems import ShownSystem
from dprkit.report.texts import PASSAGES
from dprkit.report.trainings import training_of
from dprkit.report.tunings import tuning_of
from dprkit.settings import ReportSettings

if TYPE_CHECKING:
    import numpy as np

DEPTHS = (1, 5, 20, 100)
"""Depths of hits and misses that a reader chooses from, besides those that were measured."""


def summary_of(
    sources: Sources,
    systems: Sequence[ShownSystem],
    packed: Packed | None,
    settings: ReportSettings,
    run: Run,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The summary, and the columns of the questions that it names."""
    shown = {
        "format": FORMAT,
        "title": settings.title or _title(sources, systems),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "command": _command(run.command, settings),
        "questions": {"count": 0, "block": QUESTIONS, "blocks": 0},
        "passages": {"count": 0, "texts": 0, "block": PASSAGES, "blocks": 0, "depth": 0},
        "systems": [],
        "measures": [],
        "rank": None,
        "depths": [],
        "curves": [],
        "filters": [],
        "tags": [],
        "datasets": [],
        "tuning": _named(tuning_of, sources.tunings),
        "runs": _named(training_of, sources.trainings),
        "audits": _named(audit_of, sources.audits),
    }
    if packed is None:
        return shown, {}
    of_questions, columns = _of_questions(sources, systems, packed, run)
    return shown | of_questions, columns


def _named(read: Any, paths: Sequence[str]) -> list[dict[str, Any]]:
    return [read(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths: Sequence[str]) -> list[str]:
    return names_of(paths) if paths else []


def _title(sources: Sources, systems: Sequence[ShownSystem]) -> str:
    if systems:
        return " against ".join(one.system.name for one in systems)
    if sources.trainings:
        return f"training of {', '.join(_names(sources.trainings))}"
    return ", ".join(_names([*sources.tunings, *sources.audits]))


def _command(words: Sequence[str], settings: ReportSettings) -> str:
    """The command that makes the page, as it is typed."""
    if words:
        return shlex.join(["dprkit", *words[1:]])
    return shlex.join(["dprkit", "report", *settings.sources, "-o", settings.output])


def _of_questions(
    sources: Sources, systems: Sequence[ShownSystem], packed: Packed, run: Run
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    plain, ranks = [one.system for one in systems], [one.ranks for one in systems]
    measures, tags = of_systems.measures_of(systems), _tags(sources, systems, run)
    columns, datasets = columns_of(plain, ranks, measures, tags)
    summaries = [
        of_systems.summary_of(one, texts)
        for one, texts in zip(systems, packed.with_texts, strict=True)
    ]
    rank = next(
        (kind for kind in ("answer", "gold") if any(s["ranks"][kind] for s in summaries)), None
    )
    parts = [(*of_systems.split(measure), measure) for measure in measures]
    longest = max(one.longest for one in systems)
    measured = {k for name, k, _ in parts if isinstance(k, int) and name in _HITS}
    return {
        "questions": {"count": len(packed.questions), "block": QUESTIONS, "blocks": packed.blocks},
        "passages": packed.passages | {"block": PASSAGES},
        "systems": summaries,
        "measures": [{"id": id_, "name": name, "depth": depth} for name, depth, id_ in parts],
        "rank": rank,
        "depths": sorted(k for k in measured | set(DEPTHS) if k <= longest) or [1],
        "curves": _curves(systems, longest),
        "filters": filters_of(rank, len(systems), columns["words"], list(tags), datasets),
        "tags": list(tags),
        "datasets": datasets,
    }, columns


_HITS = ("answer_recall", "passage_recall", "passage_success", "R", "Success")
"""Measures whose depths a reader chooses from too."""


def _tags(sources: Sources, systems: Sequence[ShownSystem], run: Run) -> dict[str, set[str]]:
    """The tags of audits and those of the questions themselves, with the ids that have them."""
    ids = {one.id for one in systems[0].system.questions}
    tags: dict[str, set[str]] = {}
    for path in sources.audits:
        found = tags_of(path)
        unknown = set().union(*found.values()) - ids
        if unknown:
            run.progress.warn(
                f"{path}: {len(unknown):,} tagged questions are in none of the results, such as "
                f"{min(unknown)}"
            )
        for tag, having in found.items():
            tags.setdefault(tag, set()).update(having)
    for one in systems[0].system.questions:
        for tag in one.tags or ():
            tags.setdefault(tag, set()).add(one.id)
    return tags


def _curves(systems: Sequence[ShownSystem], longest: int) -> list[dict[str, Any]]:
    """Recall by depth of the first passage with an answer, and of the first gold passage."""
    depths = curve_depths(longest)
    several = any(len(one.gold_ranks) > 1 for own in systems for one in own.system.questions)
    gold = "passage_success" if several else "passage_recall"
    kinds = (
        ("answer_recall", "Answer recall@k", "an answer", "answer"),
        (gold, "Gold passage among the best k", "a gold passage", "gold"),
    )
    curves = []
    for id_, label, what, column in kinds:
        own = [curve(getattr(one.ranks, column), depths, one.longest) for one in systems]
        if any(own):
            about = f"share of the questions with {what} among the best k"
            curves.append({"id": id_, "label": label, "about": about, "k": depths, "systems": own})
    return curves
