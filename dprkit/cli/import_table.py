"""The report of import-data for people: what was read and left out, or with --dry-run would be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from dprkit.cli.display import say

WIDTH = 100
"""Characters of a field that are shown."""


def import_table(report: Any) -> None:
    """A line of counts, and one for each reason to leave items out."""
    if hasattr(report, "sources"):
        return _preview(report)
    for source, sentence in report.understood.items():
        say(f"{source}: {sentence}")
    written = ", ".join(f"{count:,} {sort}" for sort, count in report.written.items())
    say(f"read {report.read:,} items, written: {written}")
    _dropped(report.dropped)


def _dropped(dropped: Any) -> None:
    for reason, one in dropped.items():
        say(f"  {one.count:,} dropped: {reason} (first at {one.first})")


def _preview(report: Any) -> None:
    """How each source is understood, with its first items, on stdout."""
    for source in report.sources:
        sys.stdout.write(f"{source.source}: {source.kind}: {source.understood}\n")
        for item in source.items:
            sys.stdout.writelines(f"  {line}\n" for line in _lines(dict(item)))
        _dropped(source.dropped)
        for note in source.notes:
            say(note)


def _lines(fields: dict[str, Any]) -> Iterator[str]:
    """An item: its sort, and below it the fields that it has."""
    yield fields.pop("sort")
    for name, value in fields.items():
        if value not in ("", None, [], ()):
            yield f"  {name:<15} {_short(value)}"


def _short(value: Any) -> str:
    several = isinstance(value, list | tuple)
    line = " ".join((" | ".join(map(_one, value)) if several else str(value)).split())
    return line if len(line) <= WIDTH else f"{line[:WIDTH]}..."


def _one(value: Any) -> str:
    """One of several: a text, or a passage with the score of a teacher."""
    if not isinstance(value, dict):
        return str(value)
    score = value.get("teacher_score")
    tail = "" if score is None else f" ({score:g})"
    return f"{value.get('title') or ''} {value['text'][: WIDTH // 2]}{tail}".strip()
