"""Exact search of the shards themselves, block by block, in bounded memory.

Each thread takes the next block, multiplies it with all questions in float32 and keeps every row
that may be among the best. At the end the kept rows are scored again in float64, and these scores
decide. The error of a float32 product is bounded (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 3.1: D * 2^-24 * |q| * |p| for D terms in any order), so no true top-K row
is lost. For a few questions the 8-bit copy of the vectors tells sooner which rows to keep
(dprkit.indexes.exact_int8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.vector_blocks import Block, Blocks, Reader
from dprkit.errors import InputError
from dprkit.indexes.blas_threads import one_thread_each, together
from dprkit.indexes.candidates import Candidates, Triples
from dprkit.indexes.exact_int8 import Int8Copy, Part, open_int8, worth_a_copy, write_int8
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.made_from import write_made_from
from dprkit.settings import IndexSettings
from dprkit.store.drafts import Draft

RESIDENT = 320 << 20
"""Bytes of the corpus that stay mapped: 200,000 vectors of 384 float32 fit."""
_QUESTIONS, _CANDIDATES = 512, 1 << 20
"""At most so many questions, and so many of their candidates, are searched for at a time."""
_FEW = 3
"""For so many questions a block is passed once each, by the quicker product with one vector."""
_SPARSE = 8
"""Of so many rows less than one is allowed: then rows are picked, not blocks read."""
_SAFE = 65536.0
"""Norms below this are surely of numbers: float16's infinity is as large, float32's larger."""


class _BlockRows(NamedTuple):
    """Rows of a block: all of them (None), or some."""

    block: Block
    rows: np.ndarray | None


_Work = _BlockRows | np.ndarray
"""Rows to be scored: those of a block, or any."""


class ExactIndex:
    """An encoded corpus, searched as it lies on disk. Inner product.

    What it promises: scores are the inner products in float64, rounded to float32, and the order is
    the tie order, also of equal vectors and of ties beyond the cut. They depend neither on the
    other questions of the batch, nor on block sizes, nor on the number of threads.

    Memory: `resident_bytes` of the corpus, what the 8-bit copy may keep, and for each thread about
    20 MB; not the corpus's size.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        resident_bytes: int = RESIDENT,
        threads: int | None = None,
        int8: Int8Copy | None = None,
    ) -> None:
        """`threads`: None is as many as `cores.thread_count` says. `int8`: the 8-bit copy of these
        vectors; with it a few questions are answered sooner. Raises InputError as Embeddings does.
        """
        self.directory = embeddings.directory
        self.count = embeddings.count
        self.dim = embeddings.dim
        self.threads = threads or thread_count()
        self.int8 = int8
        self._blocks = Blocks(embeddings, resident_bytes)
        self._norms: dict[Block, float] = {}
        """The largest norm in each block that was searched."""

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows by inner product with (Q, D) question vectors.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A. Raises
        ValueError for vectors that are not finite, InputError for a shard that is not, or is cut
        short. Of several searches at a time each takes all its threads.
        """
        questions = np.ascontiguousarray(vectors, np.float32)
        if not np.isfinite(questions).all():
            raise ValueError("a question vector holds NaN or infinity")
        depth = min(topk, self.count if allowed is None else len(allowed))
        hits = Hits.none(len(questions), depth)
        size = max(1, min(_QUESTIONS, _CANDIDATES // max(1, depth)))
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(questions) if depth else 0, size):
                part = slice(start, start + size)
                best = self._by_int8(questions[part], depth, pool) if allowed is None else None
                if best is None:
                    best = self._search(questions[part], depth, allowed, pool)
                hits.rows[part], hits.scores[part] = best
        return hits

    def _by_int8(self, questions: np.ndarray, depth: int, pool: ThreadPoolExecutor) -> Hits | None:
        """The same as `_search`, sooner; None where the 8-bit copy does not help."""
        if self.int8 is None or len(questions) > _FEW or not self.int8.helps(depth):
            return None
        candidates = self._candidates(questions, depth)
        parts = iter(self.int8.parts)
        scan = partial(self._scan_int8, self.int8, parts, questions, candidates)
        unseen = np.max(together(scan, parts, self.threads, pool), axis=0)
        return candidates.best(pool) if candidates.complete(unseen) else None

    def _scan_int8(
        self, int8: Int8Copy, parts: Iterator[Part], questions: np.ndarray, candidates: Candidates
    ) -> np.ndarray:
        """What one thread does; (Q,) the highest 8-bit scores of rows that it was not shown."""
        unseen = np.full(len(questions), -np.inf, np.float32)
        with int8.memory() as memory:
            for part in parts:
                assert part.error is not None
                rows, scores = int8.nearest(part, questions, candidates.depth, memory)
                candidates.add(rows, scores, part.error)
                # FAISS gives the best rows of a part: no other one scores above the last of them.
                if rows.shape[1] < part.stop - part.start:
                    unseen = np.maximum(unseen, scores[:, -1])
        return unseen

    def _candidates(self, questions: np.ndarray, depth: int) -> Candidates:
        """What keeps rows for questions (Q, D): the scores that count are those of float64."""
        exact = questions.astype(np.float64)

        def score(pairs: Triples) -> np.ndarray:
            rows, where = np.unique(pairs.rows, return_inverse=True)
            vectors = self._blocks.take(rows).astype(np.float64)[where]
            # einsum adds up each line alone, in an order that depends on D only.
            scores = np.einsum("pd,pd->p", vectors, exact[pairs.asked])
            return np.asarray(scores, np.float32)

        # Products below float32's smallest number, 2^-149, are off by that much.
        smallest = questions.shape[1] * 2.0**-149
        return Candidates(np.linalg.norm(exact, axis=1), depth, score, smallest)

    def _search(
        self,
        questions: np.ndarray,
        depth: int,
        allowed: np.ndarray | None,
        pool: ThreadPoolExecutor,
    ) -> Hits:
        candidates = self._candidates(questions, depth)
        blocks = self._blocks.long if len(questions) <= _FEW else self._blocks.all
        longest = max(self._blocks.rows, *(block.stop - block.start for block in blocks))
        work = iter(self._work(blocks, allowed))
        with one_thread_each() as alone:
            # Several products at a time, each with threads of its own, wait for each other.
            threads = self.threads if alone or len(questions) <= _FEW else 1
            scan = partial(self._scan, work, questions, candidates, longest)
            together(scan, work, threads, pool)
        return candidates.best(pool)

    def _work(self, blocks: list[Block], allowed: np.ndarray | None) -> list[_Work]:
        """All there is to score: a list, for threads may call next() on one list's iterator."""
        if allowed is None:
            return [_BlockRows(block, None) for block in blocks]
        if len(allowed) * _SPARSE < self.count:
            size = self._blocks.rows
            return [allowed[i : i + size] for i in range(0, len(allowed), size)]
        bounds = np.searchsorted(allowed, [block.start for block in blocks]).tolist()
        spans = zip(bounds, [*bounds[1:], len(allowed)], strict=True)
        return [
            _BlockRows(block, allowed[begin:end])
            for block, (begin, end) in zip(blocks, spans, strict=True)
            if begin < end
        ]

    def _scan(
        self, work: Iterator[_Work], questions: np.ndarray, candidates: Candidates, longest: int
    ) -> None:
        """What one thread does: score what is next, until nothing is."""
        reader = self._blocks.reader()
        memory = np.empty(len(questions) * longest, np.float32)
        for item in work:
            if isinstance(item, np.ndarray):
                rows, vectors, norm = self._read_rows(item)
            else:
                rows, vectors, norm = self._read_block(*item, reader)
            scores = memory[: len(questions) * len(rows)].reshape(len(questions), len(rows))
            # |q| * |p| bounds every partial sum (Cauchy-Schwarz), so below this none overflows.
            if norm * candidates.norms.max() >= np.finfo(np.float32).max:
                raise InputError(f"{self.directory}: a score is beyond what float32 can hold")
            # D terms are off by at most D roundings of |q| * |p|; the rounding of the float64 score
            # to float32 is one more, and the other 7 are room for second-order terms.
            error = (self.dim + 8) * 2.0**-24 * norm
            candidates.add(rows, _products(questions, vectors, scores), error)

    def _read_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows (B,), their vectors (B, D), and the largest norm."""
        vectors = self._blocks.take(rows)
        norm = _largest_norm(vectors)
        if not norm < _SAFE and not np.isfinite(vectors).all():
            raise InputError(
                f"{self.directory}: holds NaN or infinity in rows {rows[0]} to {rows[-1]}; "
                "encode again"
            )
        return rows, vectors, norm

    def _read_block(
        self, block: Block, rows: np.ndarray | None, reader: Reader
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows of a block (B,), all or `rows`, their vectors (B, D), and the block's norm."""
        vectors = reader.read(block)
        if block not in self._norms:
            norm = _largest_norm(vectors)
            if not norm < _SAFE:
                reader.check(block)
            self._norms[block] = norm
        if rows is None:
            rows = np.arange(block.start, block.stop)
        elif len(rows) < len(vectors):
            vectors = vectors[rows - block.start]
        return rows, vectors, self._norms[block]


def open_folder(folder: IndexFolder, _depths: Mapping[str, int]) -> ExactIndex:
    """The exact index in a folder: a search reads the embeddings that its manifest names."""
    return ExactIndex(folder.embeddings(), int8=open_int8(folder))


def build(work: Draft, embeddings: Embeddings, _settings: IndexSettings) -> dict[str, Any]:
    """Write an exact index: the names of its inputs, and the 8-bit copy where that saves time."""
    write_made_from(work)
    if worth_a_copy(embeddings):
        write_int8(work, embeddings)
    return {"passages": embeddings.count, "dim": embeddings.dim}


def _products(questions: np.ndarray, vectors: np.ndarray, into: np.ndarray) -> np.ndarray:
    if len(questions) > _FEW:
        return np.matmul(questions, vectors.T, out=into)
    for question, scores in zip(questions, into, strict=True):
        np.einsum("pd,d->p", vectors, question, out=scores)
    return into


def _largest_norm(vectors: np.ndarray) -> float:
    """NaN if one of them holds NaN, infinity if one does."""
    norm = float(np.sqrt(np.einsum("pd,pd->p", vectors, vectors).max()))
    # The square of a float32 may be none: beyond 1e19 it is.
    return (
        norm if norm < np.inf else float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
    )
