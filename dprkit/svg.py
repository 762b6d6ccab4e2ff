"""Figures: SVG images of which the same figures give the same bytes."""

from __future__ import annotations

import io
import logging
from typing import Any


def blank(width: float, height: float, margins: dict[str, float] | None = None) -> Any:
    """An empty figure (matplotlib.figure.Figure) of so many inches.

    `margins` are those of its subplots_adjust; without them they are made to fit the labels, which
    takes as long as drawing.
    """
    # Without a home folder matplotlib warns about its cache, which an SVG does not need.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=None if margins else "constrained")
    if margins:
        figure.subplots_adjust(**margins)
    return figure


def render(figure: Any) -> bytes:
    import matplotlib

    image = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "dprkit"}):
        figure.savefig(image, format="svg", metadata={"Date": None})
    return image.getvalue()
