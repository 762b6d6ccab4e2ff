"""Engine, the interface of search: questions in, hits out, for vectors, words or both together.

A BM25 index is an engine by itself; `DenseEngine` makes one of an index of vectors, LateEngine
(late_engine.py) one of token vectors; `HybridEngine` fuses several. What reranks or reads the hits
of a first stage takes an Engine and is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dprkit.errors import InputError, MismatchError
from dprkit.indexes.hits_and_tie_order import DenseIndex, Hits
from dprkit.search.fusion import Fusion
from dprkit.store.integrity import Verifier

if TYPE_CHECKING:
    from dprkit.models.retriever import Retriever

DEPTH = 100
"""Passages that are asked of each engine whose hits are fused, at least."""


class Engine(Protocol):
    """What finds passages for questions."""

    count: int
    """Passages in it."""

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows for each of Q questions, Hits (Q, K), of all or of those `allowed`.

        `allowed`: (A,) int64, ascending.
        """
        ...


class DenseEngine:
    """An index of vectors, with the retriever that makes vectors of questions."""

    def __init__(
        self,
        index: DenseIndex,
        retriever: Path,
        check: Verifier | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
    ) -> None:
        """`check` sees that the ONNX copy of the question encoder was not changed.

        `truncate_dim`: what the vectors of the index were cut to. `prompt`: the name of the
        retriever's prompt that questions begin with.
        """
        self.index, self.count = index, index.count
        self.retriever_path, self.check = retriever, check or Verifier()
        self.truncate_dim, self.prompt = truncate_dim, prompt

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever, loaded when the first question comes."""
        from dprkit.models.retriever import load_for_questions

        retriever = load_for_questions(self.retriever_path, self.check, self.truncate_dim)
        self.check.tell()
        if self.prompt is not None:
            retriever.tokens.ask_with(self.prompt, self.retriever_path)
        return retriever

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows (Q, K) for each of Q questions, by their vectors."""
        vectors = self.retriever.encode_questions(questions)
        askers = np.arange(len(questions))
        refuse_vectors(vectors, askers, questions, self.retriever_path, self.index.dim)
        return self.index.search(vectors, topk, allowed)


def refuse_vectors(
    vectors: np.ndarray, askers: np.ndarray, questions: Sequence[str], retriever: Path, dim: int
) -> None:
    """Raise an error for vectors (T, D) that no index of `dim` dimensions can be asked by.

    `askers`: (T,), whose question each of them is.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise InputError(
            f"{retriever}: the vector of {questions[askers[bad[0]]]!r} is no number (NaN); "
            "its training has diverged: train again with a lower --lr"
        )
    if vectors.shape[1] != dim:
        raise MismatchError(
            f"{retriever}: gives vectors of {vectors.shape[1]} dimensions, and the "
            f"index is of {dim}; name the retriever that made it with --retriever"
        )


class HybridEngine:
    """Several engines for one corpus, whose hits are fused."""

    def __init__(self, engines: Sequence[Engine], fusion: Fusion) -> None:
        self.engines, self.fusion = engines, fusion
        self.count = max(engine.count for engine in engines)

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best rows (Q, K) for each of Q questions, fused."""
        depth = max(topk, DEPTH)
        each = [engine.search(questions, depth, allowed) for engine in self.engines]
        return self.fusion.of(each, topk)
