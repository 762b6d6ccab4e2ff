"""Audits in a report: their figures, and the tags of questions that it filters by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dprkit.audit.figures import FIGURES, Figure
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import open_stream
from dprkit.errors import FormatError, reading
from dprkit.report.lineage import lineage_of
from dprkit.store.integrity import Verifier

AUDIT, TAGS = "audit.json", "tags.jsonl"


class _Tagged(msgspec.Struct):
    id: str
    tags: list[str]


class _Audit(msgspec.Struct):
    """What the page tells of an audit.json."""

    figures: dict[str, Figure]
    ceiling: float | None = None
    not_measured: dict[str, str] = {}


def audit_of(path: str, name: str) -> dict[str, Any]:
    """The figures of an audit, as the page reads them."""
    manifest = Verifier().artifact(path, "audit")
    file = Path(path) / AUDIT
    try:
        with reading(file):
            audit = msgspec.json.decode(file.read_bytes(), type=_Audit)
    except msgspec.MsgspecError as error:
        raise FormatError(file, 1, f"not what audit writes: {error}") from None
    commands, provenance = lineage_of(path, manifest)
    return {"name": name, "command": commands, "provenance": provenance, "figures": _rows(audit)}


def _rows(audit: _Audit) -> list[tuple[str, str]]:
    """What was found, first how far answer recall can reach; then what was not, and why."""
    rows = []
    if audit.ceiling is not None:
        rows.append(("answer recall can reach", f"{audit.ceiling:.4f} at most"))
    for name, figure in audit.figures.items():
        if figure.count:
            share = "" if figure.share is None else f" ({figure.share:.2%})"
            meaning = FIGURES[name].meaning if name in FIGURES else ""
            told = f"{figure.count:,} of {figure.of:,}{share}"
            rows.append((_label(name), f"{told}: {meaning}" if meaning else told))
    nothing = [_label(name) for name, figure in audit.figures.items() if not figure.count]
    rows += [("not found", ", ".join(nothing))] if nothing else []
    unmeasured: dict[str, list[str]] = {}
    for name, why in audit.not_measured.items():
        unmeasured.setdefault(why, []).append(_label(name))
    rows += [("not measured", f"{', '.join(all_)} ({why})") for why, all_ in unmeasured.items()]
    return rows


def _label(name: str) -> str:
    return FIGURES[name].label if name in FIGURES else name.replace("_", " ")


def tags_of(path: str) -> dict[str, set[str]]:
    """Each tag that an audit gave, and the ids of the questions that have it."""
    file = Path(path) / TAGS
    decode, tags = decoder(_Tagged), dict[str, set[str]]()
    for row in read_json_rows(open_stream(file)):
        line = decode(row, file)
        for tag in line.tags:
            tags.setdefault(tag, set()).add(line.id)
    return tags
