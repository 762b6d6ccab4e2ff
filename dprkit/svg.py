"""Figures: SVG images of which the same figures give the same bytes."""

from __future__ import annotations

import io
import logging
from typing import Any


def blank(width: float, height: float) -> Any:
    """An empty figure (matplotlib.figure.Figure) of so many inches."""
    # Without a home folder matplotlib warns about its cache, which an SVG does not need.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def render(figure: Any) -> bytes:
    import matplotlib

    image = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "dprkit"}):
        figure.savefig(image, format="svg", metadata={"Date": None})
    return image.getvalue()
