"""Vectors cut to their first numbers, as models are trained for that give the gist first.

Kusupati et al. 2022, "Matryoshka Representation Learning": the first m numbers of a vector are a
vector of their own. Where vectors are compared by cosine they are brought to length 1 again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dprkit.errors import MismatchError, loading, reading
from dprkit.models.config import RetrieverConfig

if TYPE_CHECKING:
    import numpy as np


def cut(vectors: np.ndarray, size: int | None, unit_length: bool) -> np.ndarray:
    """The first `size` numbers (N, size), float32, of vectors (N, D); None: all, as they are.

    `unit_length`: whether they are brought to length 1 again; zeros stay zeros.
    """
    import numpy as np

    if size is None or size == vectors.shape[1]:
        return vectors
    first = np.array(vectors[:, :size], np.float32)  # a copy, without the rest
    if unit_length:
        first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    return first


def refuse_misfit(size: int, width: int, where: Path | str, flag: str = "--truncate-dim") -> None:
    """Raise MismatchError where vectors of `width` dimensions cannot be cut to `size`."""
    if size > width:
        raise MismatchError(
            f"{flag} {size}: {where} gives vectors of {width} dimensions; give {width} or less"
        )


def width_of(retriever: Path | str) -> int | None:
    """The width of a retriever's vectors, by the probes that were kept; None: there are none."""
    from safetensors import safe_open

    path = Path(retriever) / "probes.safetensors"
    if not path.is_file():
        return None
    with reading(path), loading(path, "damaged"), safe_open(path, "np") as probes:
        return int(probes.get_slice("passages").get_shape()[1])


def untrained(sizes: Iterable[int], config: RetrieverConfig, where: Path | str) -> str | None:
    """What to tell of sizes that a retriever was not trained to be cut to; None: it was.

    Its whole width is no such size.
    """
    known = (width_of(where), *config.matryoshka)
    others = ", ".join(str(size) for size in sizes if size not in known)
    if not others:
        return None
    if not config.matryoshka:
        return (
            f"{where}: names no sizes that it was trained to be cut to (train --matryoshka), so at "
            f"{others} dimensions it may find less"
        )
    trained = ", ".join(map(str, config.matryoshka))
    return f"{where}: was trained to be cut to {trained} dimensions, and not to {others}"
