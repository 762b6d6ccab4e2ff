"""Whether a FAISS index compares by inner products of the vectors it was given.

A factory string may put transforms before the index: rotations, paddings, projections, but also a
PCA that subtracts the mean and a scaling to length 1. After these two a score is another number,
and the best passages are others. Codes may be made for numbers of one size only (SQ8_direct: from 0
to 255). FAISS does not say so; it is asked by what a transform, and a code, does to vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from dprkit.errors import InputError, SettingsError

CLOSE = 1e-3
"""How far off float32 may be, as a share."""
SCALES = (0.5, 2.0)
"""What decoded vectors may be multiplied by to be nearest to the true ones; 1 where codes fit."""


def refuse_distorting(index: Any, factory: str, flag: str) -> None:
    """Raise SettingsError where `index` moves or scales vectors before it compares them.

    To approximate them is no fault. Of a matrix that is not trained yet only the shift is known;
    it is asked again when it is.
    """
    for transform in transforms(index):
        if not _keeps_inner_products(transform):
            raise SettingsError(
                f"{flag}: {factory!r} moves or scales the vectors before it compares them "
                f"({type(transform).__name__}), so its scores would be no inner products and its "
                "rankings others; leave that out (OPQ and RR rotate without harm)"
            )


def refuse_distorted(index: Any, path: object) -> None:
    """Raise InputError where `index`, which an earlier dprkit built, moves or scales vectors."""
    for transform in transforms(index):
        if not _is_linear(transform):
            raise InputError(
                f"{path}: moves or scales the vectors before it compares them "
                f"({type(transform).__name__}), so it does not rank by inner product; "
                "build it again with another --type"
            )


def refuse_misfit(index: Any, factory: str, sample: np.ndarray) -> None:
    """Raise SettingsError where the codes of a trained `index` do not hold vectors of this size.

    `sample`: (S, D) float32. Good codes, however coarse, are the mean of what they stand for, so
    the best multiple of a decoded vector is the vector itself.
    """
    coder = getattr(index, "storage", index)  # a graph has its vectors there
    try:
        decoded = coder.sa_decode(coder.sa_encode(sample))
    except RuntimeError:  # this type cannot encode a vector by itself
        return
    scale = float(np.vdot(decoded, sample)) / max(float(np.vdot(decoded, decoded)), 1e-30)
    if not SCALES[0] < scale < SCALES[1]:
        raise SettingsError(
            f"--type: {factory!r} is made for numbers of another size than these vectors have, "
            "so its scores would be no inner products; take another"
        )


def transforms(index: Any) -> Iterator[Any]:
    """The transforms that `index` puts a question through, wherever they are in it."""
    for part in nested(index):
        if isinstance(part, faiss.IndexPreTransform):
            for number in range(part.chain.size()):
                yield faiss.downcast_VectorTransform(part.chain.at(number))


def nested(index: Any) -> Iterator[Any]:
    """`index` and the indexes that it is made of."""
    index = faiss.downcast_index(index)
    yield index
    for name in ("index", "base_index", "refine_index"):
        if hasattr(index, name):
            yield from nested(getattr(index, name))


def _keeps_inner_products(transform: Any) -> bool:
    """Whether the transform is linear, and only turns, pads or leaves out dimensions."""
    if not transform.is_trained and isinstance(transform, faiss.LinearTransform):
        return not transform.have_bias  # of the matrix nothing is known yet
    if not transform.is_trained:
        if hasattr(transform, "itq"):
            transform.itq.max_iter = 1  # only its kind is asked: a rough training will do
        sample = (2 * transform.d_in, transform.d_in)
        transform.train(np.random.default_rng(0).random(sample, np.float32))
    matrix = transform.apply(np.eye(transform.d_in, dtype=np.float32))
    # The transpose of a matrix that turns, and may leave out dimensions, undoes what it does.
    turns = np.allclose(matrix @ (matrix.T @ matrix), matrix, atol=CLOSE)
    return bool(turns and _is_linear(transform))


def _is_linear(transform: Any) -> bool:
    """Whether 0 stays 0, and twice a vector becomes twice what it became."""
    vector = np.linspace(1, 3, transform.d_in, dtype=np.float32)
    zero, once, twice = transform.apply(np.stack([0 * vector, vector, 2 * vector]))
    allowed = CLOSE * np.abs(once).max()
    return bool(np.abs(zero).max() <= allowed and np.abs(twice - 2 * once).max() <= allowed)
