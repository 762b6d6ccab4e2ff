"""The metrics of `evaluate` as tables: a line for each metric at each depth, and for each slice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from dprkit.cli.tables import Sheet, table

ASIDE = ("missing", "unjudged", "tied")
"""Numbers of questions that a table shows where any is above 0."""


class _Figure(NamedTuple):
    """A metric at a depth, of all questions or of a slice of them."""

    by: str
    slice: str
    metric: str
    k: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int | None
    unjudged: int | None
    tied: int | None


def metrics_table(report: Any) -> None:
    """The metrics on stdout, each under the name that per_question.jsonl has for it."""
    if getattr(report, "sizes", None):
        return _sizes_table(report.sizes)
    found = list(_figures(report))
    aside = [name for name in ASIDE if any(getattr(one, name) for one in found)]
    rows = [(*_cells(one), *(_counted(getattr(one, name)) for name in aside)) for one in found]
    shares = [one.value for one in found]
    _print(table(("metric", "value", "95 %", "n", *aside), rows, shares, words=1))
    for by, slices in report.slices.items():
        every = [_figures(own, by, value) for value, own in slices.items()]
        sliced = [one for of_metric in zip(*every, strict=True) for one in of_metric]
        lines = [(_label(one), one.slice, *_cells(one)[1:]) for one in sliced]
        own_shares = [one.value for one in sliced]
        _print(["", *table(("metric", by, "value", "95 %", "n"), lines, own_shares)])


def _sizes_table(sizes: dict[str, Any]) -> None:
    """A row for each metric at a depth, a column for each size of the vectors."""
    every = [list(_figures(one)) for one in sizes.values()]
    rows = [
        (_label(same[0]), *(_cells(one)[1] for one in same), f"{same[0].n:,}")
        for same in zip(*every, strict=True)
    ]
    header = ("metric", *(f"{size} dimensions" for size in sizes), "n")
    _print(table(header, rows, words=1))


def metrics_sheet(report: Any) -> Sheet:
    """The same for --csv; by and slice are empty in the rows of all questions."""
    if getattr(report, "sizes", None):
        sized = [(size, one) for size, own in report.sizes.items() for one in _figures(own)]
        return Sheet(("size", *_Figure._fields[2:8]), [(size, *one[2:8]) for size, one in sized])
    rows = list(_figures(report))
    for by, slices in report.slices.items():
        rows += [one for value, own in slices.items() for one in _figures(own, by, value)]
    first = 0 if report.slices else 2
    return Sheet(_Figure._fields[first:], [one[first:] for one in rows])


def label(name: str, k: str) -> str:
    """nDCG@10, or AP of a metric that looks at all of a ranking."""
    return f"{name}@{k}" if k else name


def _label(figure: _Figure) -> str:
    return label(figure.metric, figure.k)


def _figures(report: Any, by: str = "", value: str = "") -> Iterator[_Figure]:
    """The metrics of a report, or of one of its slices, which has no counts but its own."""
    for name, shares in report.metrics.items():
        for k, share in shares.items():
            low, high = report.intervals.get(name, {}).get(k) or (None, None)
            aside = [getattr(report, count, {}).get(name, {}).get(k) for count in ASIDE]
            yield _Figure(by, value, name, k, share, low, high, report.counts[name], *aside)


def _cells(one: _Figure) -> tuple[str, str, str, str]:
    spread = "" if one.low is None else f"[{one.low:.4f}, {one.high:.4f}]"
    return _label(one), "-" if one.value is None else f"{one.value:.4f}", spread, f"{one.n:,}"


def _counted(number: int | None) -> str:
    return f"{number:,}" if number else ""


def _print(lines: list[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
