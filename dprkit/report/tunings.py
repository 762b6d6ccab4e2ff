"""Quality against latency and bytes, as tune-index measured it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import FormatError, reading
from dprkit.indexes.tuning_points import Point, recommend
from dprkit.report.lineage import lineage_of
from dprkit.settings import TuneSettings
from dprkit.store.integrity import Verifier

TUNING = "tuning.json"


def tuning_of(path: str, name: str) -> dict[str, Any]:
    """What a tuning artifact holds, as the page reads it."""
    manifest = Verifier().artifact(path, "tuning")
    file = Path(path) / TUNING
    try:
        with reading(file):
            points = msgspec.json.decode(file.read_bytes(), type=list[Point])
        settings = msgspec.convert(dict(manifest.settings), TuneSettings)
    except msgspec.MsgspecError as error:
        raise FormatError(file, 1, f"not what tune-index writes: {error}") from None
    best, passages = recommend(points, settings), manifest.counts["passages"]
    commands, provenance = lineage_of(path, manifest)
    return {
        "name": name,
        "command": commands,
        "provenance": provenance,
        "quality": f"recall@{settings.topk}",
        "target": settings.target_recall,
        "passages": passages,
        "points": [_point(point, passages, point == best) for point in points],
    }


def _point(point: Point, passages: int, recommended: bool) -> dict[str, Any]:
    depths = [(name, getattr(point, name)) for name in ("nprobe", "ef_search", "candidates")]
    return {
        "name": point.name,
        "depth": ", ".join(f"{name} {depth}" for name, depth in depths if depth),
        "quality": point.recall,
        "success": point.success,
        "p50_ms": point.p50_ms,
        "p95_ms": point.p95_ms,
        "per_second": point.per_second,
        "bytes": point.bytes,
        "bytes_per_passage": point.bytes / max(passages, 1),
        "memory": point.memory,
        "build_seconds": point.build_seconds,
        "recommended": recommended,
    }
