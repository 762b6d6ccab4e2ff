"""The figures of `score-teacher` for people: where the scores lie, and how sharp the lists are."""

from __future__ import annotations

import sys
from typing import Any

from dprkit.cli.tables import Sheet, table

FIGURES = ("mean", "quartile_1", "median", "quartile_3")
HEADER = ("", "scores", "mean", "lower quartile", "median", "upper quartile")


def teacher_table(report: Any) -> None:
    """The figures on stdout."""
    figures = report.figures
    rows = [
        (name, f"{one.count:,}", *(_shown(getattr(one, figure)) for figure in FIGURES))
        for name, one in _spreads(figures)
    ]
    lines = [*table(HEADER, rows, words=1), ""]
    if figures.gold_first is not None:
        lines.append(f"the highest score is a positive's for {figures.gold_first:.2%} of questions")
    if figures.entropy is not None:
        lines.append(
            f"the lists have {figures.entropy:.3f} bits on average at temperature 1 (0: one "
            "passage has all; log2 of their number: all have the same)"
        )
    if figures.short:
        lines.append(f"questions with fewer than two scores: {figures.short:,}")
    if report.unscored:
        lines.append(f"passages without a score: {report.unscored:,}")
    speed = f", {report.pairs_per_second:,.0f} a second" if report.pairs_per_second else ""
    lines.append(f"{report.pairs:,} pairs of {report.questions:,} questions{speed}")
    sys.stdout.writelines(f"{line}\n" for line in lines)


def teacher_sheet(report: Any) -> Sheet:
    """The spreads for --csv."""
    rows = [
        (name, one.count, *(getattr(one, figure) for figure in FIGURES))
        for name, one in _spreads(report.figures)
    ]
    return Sheet(("passages", "scores", *FIGURES), rows)


def _spreads(figures: Any) -> list[tuple[str, Any]]:
    named = (("positives", figures.positives), ("others", figures.others))
    return [(name, one) for name, one in named if one and one.count]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
