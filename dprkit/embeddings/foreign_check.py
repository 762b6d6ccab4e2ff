"""import-embeddings: a few of the vectors compared with those that the retriever gives.

Vectors of another encoder than the one named are the commonest mistake, and nothing later would
tell: an index of them only finds the wrong passages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dprkit.embeddings.foreign_files import ForeignBlock
from dprkit.embeddings.foreign_rows import other_spelling
from dprkit.errors import MismatchError
from dprkit.records import Passage

SIZE = 8
COSINE = 0.99
LENGTH = 0.02
"""The share by which a vector may be longer or shorter; half precision takes 0.001 of it."""


class SampledVector(NamedTuple):
    """A vector (D,) and where it was taken from; `key`: its id, or its row of the corpus."""

    path: Path
    row: int
    key: str | int
    vector: np.ndarray


class VectorSample:
    """Vectors from the beginnings of some files, and the passages that they are to stand for."""

    def __init__(self, begun: Sequence[tuple[Path, ForeignBlock]]) -> None:
        """`begun`: files with their first blocks."""
        each = -(-SIZE // len(begun))
        self.taken = [vector for path, block in begun for vector in _take(path, block, each)]
        self._wanted = {vector.key for vector in self.taken}
        self._passages: dict[str | int, Passage] = {}

    def see(self, row: int, passage: Passage) -> None:
        """Keep the passage at `row` of the corpus where it is one of the sample's."""
        for key in (row, passage.id, other_spelling(passage.id)):
            if key in self._wanted:
                self._passages.setdefault(key, passage)

    def check(self, retriever: Path | str) -> float | None:
        """The smallest cosine between a sampled vector and that which `retriever` gives.

        None where no passage of the sample is in the corpus. Raises MismatchError where the
        vectors are not the retriever's: another width, direction or length.
        """
        from dprkit.models.retriever import load_retriever

        sampled = [vector for vector in self.taken if vector.key in self._passages]
        if not sampled:
            return None
        passages = [self._passages[vector.key] for vector in sampled]
        expected = load_retriever(retriever).encode_passages(passages)
        return min(map(_compare, sampled, expected, repeat(retriever)))


def _take(path: Path, block: ForeignBlock, count: int) -> Iterator[SampledVector]:
    """`count` rows of a block, as far apart as they can be."""
    with np.errstate(over="ignore"):  # infinity is refused where the vectors are placed
        vectors = block.vectors.astype(np.float32)
    for i in sorted({*np.linspace(0, len(block.vectors) - 1, count).astype(int).tolist()}):
        key = block.ids[i] if block.ids is not None else block.first + i
        yield SampledVector(path, block.first + i, key, vectors[i])


def _compare(sampled: SampledVector, encoded: Any, retriever: Path | str) -> float:
    """The cosine of a sampled vector and the retriever's own (D,)."""
    where = f"{sampled.path}:row {sampled.row}"
    if sampled.vector.shape != encoded.shape:
        raise MismatchError(
            f"{where}: a vector of {len(sampled.vector)} dimensions, but {retriever} gives "
            f"{len(encoded)}; "
            "name the retriever that made the vectors"
        )
    length, expected = float(np.linalg.norm(sampled.vector)), float(np.linalg.norm(encoded))
    cosine = float(sampled.vector @ encoded) / max(length * expected, 1e-30)
    if cosine < COSINE:
        problem = f"has a cosine of {cosine:.4f} with what {retriever} gives for that passage"
    elif abs(length / expected - 1) > LENGTH:
        problem = f"is {length / expected:.4f} times as long as what {retriever} gives"
    else:
        return cosine
    raise MismatchError(
        f"{where}: the vector {problem}; name the retriever that made the vectors, or take them "
        "as they are with --no-check"
    )
