"""Audits in a report: their figures, and the tags of questions that it filters by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import open_stream
from dprkit.errors import FormatError, reading
from dprkit.report.lineage import lineage_of
from dprkit.store.integrity import Verifier

FIGURES, TAGS = "audit.json", "tags.jsonl"


class _Tagged(msgspec.Struct):
    id: str
    tags: list[str]


def audit_of(path: str, name: str) -> dict[str, Any]:
    """The figures of an audit, as the page reads them."""
    manifest = Verifier().artifact(path, "audit")
    file = Path(path) / FIGURES
    try:
        with reading(file):
            figures = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise FormatError(file, 1, f"not what audit writes: {error}") from None
    commands, provenance = lineage_of(path, manifest)
    rows = [(key, value) for key, value in _flat(figures)]
    return {"name": name, "command": commands, "provenance": provenance, "figures": rows}


def _flat(figures: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Figures of figures in one list; what is a list is told by its length."""
    rows = []
    for key, value in figures.items():
        label = f"{above}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _flat(value, f"{label}: ")
        elif isinstance(value, list):
            rows.append((label, f"{len(value):,}"))
        elif value is not None:
            rows.append((label, _told(value)))
    return rows


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tags_of(path: str) -> dict[str, set[str]]:
    """Each tag that an audit gave, and the ids of the questions that have it."""
    file = Path(path) / TAGS
    decode, tags = decoder(_Tagged), dict[str, set[str]]()
    for row in read_json_rows(open_stream(file)):
        line = decode(row, file)
        for tag in line.tags:
            tags.setdefault(tag, set()).add(line.id)
    return tags
