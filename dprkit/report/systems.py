"""The systems of a report: their figures, and their rankings when these are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from dprkit.data.rankings import RESULTS, read_results
from dprkit.evaluation.asked import Asked, rankings_of_file, read_asked
from dprkit.evaluation.judging import with_flags
from dprkit.evaluation.systems import (
    System,
    names_of,
    read_system,
    refuse_idle_judging,
    with_same_questions,
)
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.report.columns import Ranks, ranks_of
from dprkit.report.lineage import lineage_of
from dprkit.settings import EvaluateSettings, ReportSettings

_FIGURES = ("metrics", "intervals", "counts", "missing", "unjudged", "tied", "notes")


class ShownSystem(NamedTuple):
    """A system with what the page needs of it."""

    system: System
    ranks: Ranks
    judge: EvaluateSettings
    """How it was judged, where it is a file of rankings."""

    @property
    def longest(self) -> int:
        """Passages of the longest ranking."""
        return int(self.ranks.hits.max(initial=0))

    def rankings(self) -> Iterator[Ranking]:
        """The rankings, with has_answer where somebody looked or the texts tell."""
        made = self.system.manifest
        if made and RESULTS not in made.files:  # of answers: they have figures alone
            return iter(())
        if not self.system.judged:
            return read_results(self.system.path)
        settings = replace(self.judge, results=self.system.path)
        asked = read_asked(settings)
        rankings = rankings_of_file(settings, asked, Run())  # what it warns of was said before
        return (self._judged(ranking, asked) for ranking in rankings)

    def _judged(self, ranking: Ranking, asked: Asked) -> Ranking:
        question = ranking.question
        if asked.qrels is not None:
            relevant = tuple(asked.relevant(question))
            ranking = replace(ranking, question=replace(question, gold=relevant))
        if question.answers and any(hit.text for hit in ranking.hits):
            return with_flags(ranking, self.system.match)
        return ranking


def read_systems(paths: Sequence[str], settings: ReportSettings, run: Run) -> list[ShownSystem]:
    """The systems at `paths`, with the same questions in the same order.

    Raises MismatchError where they differ, and what `read_system` raises.
    """
    if not paths:
        return []
    judge = EvaluateSettings(
        questions=settings.questions, qrels=settings.qrels, match=settings.match, output_dir=None
    )
    refuse_idle_judging(paths, judge)
    named = zip(paths, names_of(paths), strict=True)
    systems = [read_system(path, name, run, judge) for path, name in named]
    same = with_same_questions(systems)
    return [ShownSystem(one, ranks_of(one.questions), judge) for one in same]


def measures_of(systems: Sequence[ShownSystem]) -> list[str]:
    """The measures of all systems, such as nDCG@10."""
    return list(dict.fromkeys(name for one in systems for name in one.system.values))


def summary_of(shown: ShownSystem, texts: bool) -> dict[str, Any]:
    """What the page shows of a system before a question is opened."""
    system, ranks = shown.system, shown.ranks
    summary: dict[str, Any] = {
        "name": system.name,
        "ranks": {kind: ranks.has(kind) for kind in ("answer", "gold")},
        "hits": shown.longest,
        "texts": texts,
    }
    report = msgspec.to_builtins(system.report)
    summary |= {name: report[name] for name in _FIGURES}
    if system.judged:
        summary["notes"] = ["judged by the report, from its rankings", *summary["notes"]]
    if system.manifest is None:
        path = os.path.abspath(system.path)
        return summary | {"command": [], "provenance": [("file of rankings", path)]}
    commands, provenance = lineage_of(system.path, system.manifest)
    return summary | {"command": commands, "provenance": provenance}


def split(measure: str) -> tuple[str, int | str | None]:
    """The name and the depth of a measure: nDCG@10 is nDCG at 10, and AP has none."""
    name, at, depth = measure.rpartition("@")
    return (name, int(depth) if depth.isdecimal() else depth) if at else (measure, None)
