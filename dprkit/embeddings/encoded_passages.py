"""Vectors of passages that were encoded before, found by what the passages are.

A passage is found where its title and text are those that were encoded, so that a file whose ids
are of another corpus gets no wrong vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from dprkit.data.npy import mapped
from dprkit.embeddings.append_and_repair import KnownPassages
from dprkit.embeddings.shards import Embeddings, shard_names
from dprkit.embeddings.token_shards import TokenShards, is_tokens
from dprkit.errors import InputError
from dprkit.models.token_vectors import TokenVectors
from dprkit.records import Passage
from dprkit.store.manifests import Manifest


class EncodedPassages:
    """The encoded corpus in a folder, by passages. Memory is 16 bytes a passage of it."""

    def __init__(self, directory: Path | str, manifest: Manifest | None = None) -> None:
        """Raises InputError for embeddings that were not made from passages."""
        self.embeddings = Embeddings(directory, manifest)
        names = [shard_names(number)[2] for number in range(self.embeddings.shards)]
        if lacking := [name for name in names if not (Path(directory) / name).is_file()]:
            raise InputError(
                f"{directory}: has no {lacking[0]}, so its passages cannot be found; encode the "
                "corpus with dprkit encode-corpus"
            )
        known = np.concatenate([np.empty(0, "<u8"), *(mapped(Path(directory) / n) for n in names)])
        self._known = KnownPassages(known)

    @cached_property
    def _tokens(self) -> TokenShards:
        return TokenShards(self.embeddings)

    def rows_of(self, passages: Sequence[Passage]) -> np.ndarray:
        """(N,) int64: the row of each of N passages; -1 where it is not there."""
        return self._known.rows_of(passages)

    def completed(
        self, passages: Sequence[Passage], make: Callable[[Sequence[Passage]], TokenVectors]
    ) -> TokenVectors:
        """The vectors of N passages; `make` gives those of passages that are not there.

        Of a bi-encoder each has one vector.
        """
        rows = self.rows_of(passages)
        there, lacking = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        texts = list(self._taken(rows[there]))
        if len(lacking):
            texts += make([passages[place] for place in lacking.tolist()])
        order = np.argsort(np.concatenate([there, lacking]))
        return TokenVectors.of([texts[place] for place in order.tolist()], self.embeddings.dim)

    def _taken(self, rows: np.ndarray) -> TokenVectors:
        """The vectors of rows (N,) in any order, as float32."""
        if is_tokens(self.embeddings.manifest):
            return self._tokens.take_float(rows)
        order = np.argsort(rows, kind="stable")
        vectors = np.empty((len(rows), self.embeddings.dim), np.float32)
        vectors[order] = self.embeddings.take(rows[order])
        return TokenVectors.of_counts(vectors, np.ones(len(rows), np.int64))
