"""curves.svg: the course of a training run."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit import svg

MARGINS = {"left": 0.07, "right": 0.98, "bottom": 0.08, "top": 0.95, "wspace": 0.18, "hspace": 0.32}
"""They hold the longest labels; to fit them to each figure takes as long as drawing it."""
SMOOTHED = 0.9
"""Weight of the past in the moving average of the loss."""


class View(NamedTuple):
    """Which figures of the validations are drawn, beside the loss."""

    shares: tuple[str, ...]
    """Beside the accuracy of the training."""
    last: str
    """In the last picture, alone."""
    title: str
    """Of the last picture."""


RETRIEVER_VIEW = View(
    ("accuracy", "accuracy@1", "mrr@10"), "average_rank", "average rank (1 is best)"
)
READER_VIEW = View(
    ("accuracy", "gold_exact_match"),
    "exact_match",
    "exact match",
)


def draw_curves(metrics: Path, view: View = RETRIEVER_VIEW) -> bytes:
    """An SVG of the loss, the learning rate and the validations in a metrics.jsonl.

    The same figures give the same bytes.
    """
    lines = [msgspec.json.decode(line) for line in metrics.read_bytes().splitlines()]
    steps = [line for line in lines if "loss" in line]
    valid = [line for line in lines if "valid" in line]
    figure = svg.blank(10, 7, MARGINS)
    from matplotlib.ticker import MaxNLocator

    axes: Any = list(figure.subplots(2, 2).flat)
    where = [line["step"] for line in steps]
    losses = [line["loss"] for line in steps]
    axes[0].plot(where, losses, linewidth=0.6, alpha=0.4, label="train, each step")
    axes[0].plot(where, _smooth(losses), label="train")
    axes[2].plot(where, [line["lr"] for line in steps])
    axes[1].plot(where, _smooth([line["accuracy"] for line in steps]), label="train, in batch")
    checks = [line["step"] for line in valid]
    for axis, names in ((0, ("loss",)), (1, view.shares)):
        for name in names:
            values = [line["valid"][name] for line in valid]
            axes[axis].plot(checks, values, marker="o", label=f"valid {name}")
    axes[3].plot(checks, [line["valid"][view.last] for line in valid], marker="o")
    titles = ("loss (nats a question)", "accuracy", "learning rate", view.title)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.set_xlabel("optimizer steps")
        axis.set_xlim(axes[0].get_xlim())  # an axis without validations has no steps of its own
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend()
    return svg.render(figure)


def _smooth(values: list[float]) -> list[float]:
    """A moving average that does not start at 0."""
    return list(accumulate(values, lambda mean, value: SMOOTHED * mean + (1 - SMOOTHED) * value))
