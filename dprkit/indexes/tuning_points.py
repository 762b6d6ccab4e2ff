"""What tune-index measures of an index, which of them it recommends, and how it shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from dprkit import svg
from dprkit.indexes.faiss_types import size_of
from dprkit.settings import TuneSettings


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """An index at one depth of search. Seconds, bytes, milliseconds, questions a second.

    Of an index of token vectors `bytes` are those of the embeddings too, which a search reads.
    """

    type: str
    factory: str
    first_stage: str = ""
    """Of a late index."""
    pool_factor: int = 0
    dtype: str = ""
    """Of token vectors."""
    nprobe: int = 0
    ef_search: int = 0
    candidates: int = 0
    recall: float
    success: float | None = None
    """The share of the questions of which a gold passage is found; None where none is named."""
    build_seconds: float
    bytes: int
    memory: int
    p50_ms: float
    p95_ms: float
    per_second: float

    @property
    def name(self) -> str:
        """What was built: all that a point has but its depth."""
        pooled = f"pool {self.pool_factor}" if self.pool_factor > 1 else ""
        parts = self.type, self.first_stage, pooled, self.dtype
        return " ".join(part for part in parts if part)


def recommend(points: list[Point], settings: TuneSettings) -> Point | None:
    """Of the points that keep to all limits the one with the lowest median latency."""
    memory = size_of(settings.max_ram, "--max-ram") or float("inf")
    latency = settings.max_latency or float("inf")
    fit = [
        point
        for point in points
        if point.recall >= settings.target_recall
        and point.memory <= memory
        and point.p95_ms <= latency
    ]
    return min(fit, key=lambda point: (point.p50_ms, point.bytes), default=None)


def shown(points: list[Point], target: float) -> list[Point]:
    """For each index its quickest depth that finds enough, or the one that finds most."""
    return [_best(points, name, target) for name in {point.name: 0 for point in points}]


def _best(points: list[Point], name: str, target: float) -> Point:
    of_name = [point for point in points if point.name == name]
    enough = [point for point in of_name if point.recall >= target]
    if enough:
        return min(enough, key=lambda point: point.p50_ms)
    return max(of_name, key=lambda point: point.recall)


def draw(points: list[Point], target: float) -> bytes:
    """An SVG: recall against the median latency, and the size on disk of each type."""
    figure = svg.blank(10, 4.5)
    left, right = figure.subplots(1, 2)
    best = shown(points, target)
    for name in (point.name for point in best):
        of_name = [p for p in points if p.name == name]
        left.plot([p.p50_ms for p in of_name], [p.recall for p in of_name], marker="o", label=name)
    left.axhline(target, linestyle=":", color="grey")
    left.set(xlabel="median latency of one question (ms)", ylabel="recall")
    _few_labels(left, [point.p50_ms for point in points])
    left.legend()
    left.grid(alpha=0.3)
    right.barh([point.name for point in best], [point.bytes / 1e6 for point in best])
    right.set(xlabel="size on disk (MB)")
    return svg.render(figure)


def _few_labels(axis: Any, values: list[float]) -> None:
    """Scale the x axis for `values`, with labels that leave room between them."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    spread = max(values) / max(min(values), 1e-9)
    if spread < 10:
        return  # as it is, from one end to the other
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3) if spread < 1000 else (1,)))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(NullFormatter())
