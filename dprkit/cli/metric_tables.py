"""The metrics of `evaluate` as a table: a line for each metric at each depth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from dprkit.cli.tables import Sheet, table


def metrics_table(report: Any) -> None:
    """The metrics on stdout, each under the name that per_question.jsonl has for it."""
    rows, shares = [], []
    for name, k, value, low, high, count in _figures(report):
        spread = "" if low is None else f"[{low:.4f}, {high:.4f}]"
        shown = "-" if value is None else f"{value:.4f}"
        rows.append((label(name, k), shown, spread, f"{count:,}"))
        shares.append(value)
    lines = table(("metric", "value", "95 %", "n"), rows, shares, words=1)
    sys.stdout.writelines(f"{line}\n" for line in lines)


def metrics_sheet(report: Any) -> Sheet:
    """The same for --csv."""
    return Sheet(("metric", "k", "value", "low", "high", "n"), list(_figures(report)))


def label(name: str, k: str) -> str:
    """nDCG@10, or AP of a metric that looks at all of a ranking."""
    return f"{name}@{k}" if k else name


def _figures(report: Any) -> Iterator[tuple[str, str, float | None, Any, Any, int]]:
    """Name, depth, value, ends of the interval, questions that it is the mean of."""
    for name, shares in report.metrics.items():
        for k, share in shares.items():
            low, high = report.intervals.get(name, {}).get(k) or (None, None)
            yield name, k, share, low, high, report.counts[name]
