"""Figures: SVG images of which the same figures give the same bytes."""

from __future__ import annotations

import io
import logging
from typing import Any


def blank(width: float, height: float) -> Any:
    """An empty figure (matplotlib.figure.Figure) of so many inches."""
    # Where there is no home, matplotlib has advice on it that concerns nobody who reads an SVG.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def render(figure: Any) -> bytes:
    import matplotlib

    image = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "dprkit"}):
        figure.savefig(image, format="svg", metadata={"Date": None})
    return image.getvalue()
