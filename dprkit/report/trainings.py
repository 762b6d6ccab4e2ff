"""The training view: what metrics.jsonl tells of a training that has ended, or goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.errors import FormatError, InputError, reading
from dprkit.report.lineage import lineage_of
from dprkit.store.manifests import is_artifact, read_manifest, read_progress

METRICS = "metrics.jsonl"
POINTS = 1000
"""Points of a series that are kept."""


class Shown(NamedTuple):
    """How a figure of metrics.jsonl is shown."""

    label: str
    group: str
    """The chart that it is in."""
    unit: str = ""


STEPS = {
    "loss": Shown("loss", "loss", "nats a question"),
    "accuracy": Shown("accuracy in the batch", "accuracy", "share"),
    "lr": Shown("learning rate", "lr"),
    "questions_per_second": Shown("questions a second", "throughput", "questions a second"),
}
"""Figures of a step, in the order of the charts."""
VALIDATIONS = {
    "loss": Shown("validation loss", "loss", "nats a question"),
    "average_rank": Shown("average rank", "rank", "1 is best"),
    "gold_f1": Shown("validation gold_f1", "accuracy", "0 to 1"),
    "f1": Shown("validation f1", "accuracy", "0 to 1"),
}
"""Figures of a validation; those not named here are shares."""
LOWER_IS_BETTER = ("loss", "average_rank")
_NO_FIGURES = ("questions", "pool", "with_answer", "step")


def training_of(path: str, name: str) -> dict[str, Any]:
    """A training as the page reads it. Raises InputError where the model was not trained."""
    lines = read_metrics(Path(path) / METRICS)
    finished = is_artifact(path)
    steps = [line for line in lines if "loss" in line]
    last = max((line["step"] for line in lines), default=0)
    shown: dict[str, Any] = {"name": name, "finished": finished, "last_step": last}
    notes = []
    if finished:
        manifest = read_manifest(path)
        commands, provenance = lineage_of(path, manifest)
        shown |= {"best_step": manifest.counts.get("best_step", last)}
        settings = manifest.settings
        notes += manifest.counts.get("notes", [])
    else:
        begun = read_progress(path)
        settings = begun.settings if begun else {}
        commands, provenance = (
            [],
            [(begun.kind if begun else "retriever", path), ("state", "in training")],
        )
        shown["best_step"] = best_step(lines, settings.get("best_by", ""))
        total = settings.get("max_steps")
        notes.append(f"in training: step {last:,}" + (f" of at most {total:,}" if total else ""))
    if len(steps) > POINTS:
        notes.append(f"each point is the mean of {-(-len(steps) // POINTS):,} steps or fewer")
    return shown | {
        "best": settings.get("best_by", ""),
        "command": commands,
        "provenance": provenance,
        "notes": notes,
        "series": [*_of_steps(steps), *_of_validations(lines)],
    }


def best_step(lines: Sequence[dict[str, Any]], by: str) -> int | None:
    """The step of the best validation so far, the first of equal ones; None: there is none."""
    checks = [line for line in lines if line.get("valid", {}).get(by) is not None]
    sign = -1 if by in LOWER_IS_BETTER else 1
    best = max(checks, key=lambda line: float(sign * line["valid"][by]), default=None)
    return None if best is None else int(best["step"])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, but for a last one that is being written just now."""
    if not path.is_file():
        raise InputError(
            f"{path.parent}: has no {METRICS}: it was not trained here, or has not begun"
        )
    with reading(path):
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    lines = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            lines.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.MsgspecError as error:
            raise FormatError(path, number, f"not a line of {METRICS}: {error}") from None
    return lines


def _of_steps(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    series = []
    for key, shown in STEPS.items():
        having = [line for line in lines if line.get(key) is not None]
        if having:
            x, y = thinned([line["step"] for line in having], [line[key] for line in having])
            series.append(_series(key, shown, "train", x, y))
    return series


def _of_validations(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    checks = [(line["step"], line["valid"]) for line in lines if line.get("valid")]
    series = []
    for key in dict.fromkeys(key for _, valid in checks for key in valid):
        if key in _NO_FIGURES:
            continue
        shown = VALIDATIONS.get(key) or Shown(f"validation {key}", "accuracy", "share")
        having = [(step, valid[key]) for step, valid in checks if valid.get(key) is not None]
        x, y = [step for step, _ in having], [value for _, value in having]
        series.append(_series(f"valid.{key}", shown, "valid", x, y))
    return series


def _series(id_: str, shown: Shown, kind: str, x: list[int], y: list[float]) -> dict[str, Any]:
    return {"id": id_, **shown._asdict(), "kind": kind, "x": x, "y": y}


def thinned(x: list[int], y: list[float]) -> tuple[list[int], list[float]]:
    """At most POINTS points: the last step of some neighbours, and their mean."""
    size = -(-len(x) // POINTS) or 1
    parts = [y[at : at + size] for at in range(0, len(y), size)]
    ends = [x[min(at + size, len(x)) - 1] for at in range(0, len(x), size)]
    return ends, [float(f"{sum(part) / len(part):.6g}") for part in parts]
