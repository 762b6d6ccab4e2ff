"""The figures of `audit` for people: how many, what it means, what to do."""

from __future__ import annotations

import sys
from typing import Any

from dprkit.audit.figures import FIGURES
from dprkit.cli.tables import Sheet, table


def audit_table(report: Any) -> None:
    """The figures on stdout, and below them what those that are not 0 mean."""
    rows = [
        (FIGURES[name].label, f"{found.count:,}", f"{found.of:,}", _percent(found.share))
        for name, found in report.figures.items()
    ]
    shares = [found.share for found in report.figures.values()]
    lines = table(("", "count", "of", "share"), rows, shares, words=1)
    if report.ceiling is not None:
        lines += ["", f"answer recall can reach {report.ceiling:.4f} at most"]
    for name, found in report.figures.items():
        if found.count:
            about = FIGURES[name]
            lines += ["", f"{about.label}: {about.meaning}.", f"  -> {about.advice}."]
            lines += [f"  such as: {example}" for example in found.examples]
    unmeasured: dict[str, list[str]] = {}
    for name, why in report.not_measured.items():
        unmeasured.setdefault(why, []).append(FIGURES[name].label)
    lines += [""] if unmeasured else []
    lines += [f"not measured: {', '.join(names)} ({why})" for why, names in unmeasured.items()]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def audit_sheet(report: Any) -> Sheet:
    """The same for --csv."""
    rows = [(name, one.count, one.of, one.share) for name, one in report.figures.items()]
    return Sheet(("figure", "count", "of", "share"), rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
