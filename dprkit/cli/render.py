"""Reports as people read them. Data goes to stdout, what was done to stderr."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from dprkit.cli.display import say

BAR = 20
"""Characters of the bar that stands for a share of 1."""


def as_json(value: Any) -> None:
    """Print one JSON object, in UTF-8 whatever the terminal's encoding."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")


def outputs(report: Any) -> None:
    """Say where what was made lies."""
    for path in report.outputs:
        if path != "-":
            say(f"  -> {path}")


def selection(report: Any) -> None:
    dropped = "".join(f", {count:,} dropped: {why}" for why, count in report.dropped.items())
    say(f"kept {report.kept:,} of {report.read:,} rows read{dropped}")


def training(report: Any) -> None:
    course = f", loss {report.losses[0]:.4f} -> {report.losses[-1]:.4f}" if report.losses else ""
    say(f"trained {report.epochs} epochs, {report.steps} steps{course}")
    if report.valid:
        before = report.valid_before or {}
        say(f"kept step {report.best_step}; validation before -> after:")
        for name, value in report.valid.items():
            if name not in ("questions", "pool"):
                say(f"  {name:<13}{before.get(name, value):9.4f} -> {value:.4f}")


def conversion(report: Any) -> None:
    say(f"{report.kind} -> {report.to}, {report.dim} dimensions, {len(report.files)} files")
    for line in report.mapped:
        say(f"  {line}")


def encoding(report: Any) -> None:
    say(f"{report.passages:,} passages, {report.dim} dimensions, {report.shards} shards")


def indexing(report: Any) -> None:
    say(f"{report.type} index of {report.passages:,} passages, {report.dim} dimensions")


def searching(report: Any) -> None:
    say(f"{report.questions:,} questions, {report.topk} passages each")


def evaluation(report: Any) -> None:
    """The table of metrics on stdout, with a bar for each share."""
    lines = [f"{report.questions:,} questions"]
    for name, shares in report.metrics.items():
        lines.append(f"\n{name.replace('_', ' ')}")
        for k, share in shares.items():
            low, high = report.intervals[name][k]
            bar = "█" * round(share * BAR)
            lines.append(f"  @{k:<5}{share:7.4f}  95% [{low:.4f}, {high:.4f}]  {bar}")
    sys.stdout.write("\n".join(lines) + "\n")


evaluation.prints_data = True  # type: ignore[attr-defined]


def downloading(report: Any) -> None:
    for row in report.rows:
        size = f"{row.bytes:,} bytes" if row.bytes else "size unknown"
        say(f"{row.status}: {row.key} ({size})")
