"""Exact search of the shards themselves, block by block, in bounded memory.

Each thread takes the next block, multiplies it with all questions in float32 and lays aside what
may be among the best; at the end those few are scored again in float64, and that decides. How far
float32 can be off is known (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
3.1: D * 2^-24 * |q| * |p| for D terms in any order), so nothing is laid aside too little. For a few
questions a sketch of the corpus tells sooner what to lay aside (dprkit.indexes.exact_sketch).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from dprkit.cores import thread_count
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.vector_blocks import Block, Blocks, Reader
from dprkit.errors import InputError
from dprkit.indexes.blas_threads import one_thread_each
from dprkit.indexes.exact_sketch import Piece, Sketch
from dprkit.indexes.hits import Hits

T = TypeVar("T")
RESIDENT = 320 << 20
"""Bytes of the corpus that stay mapped: 200,000 vectors of 384 float32 fit."""
_QUESTIONS, _CANDIDATES = 512, 1 << 20
"""At most so many questions, and so many of their candidates, are searched for at a time."""
_FEW = 3
"""For so many questions a block is passed once each, by the quicker product with one vector."""
_SPARSE = 8
"""Of so many rows less than one is allowed: then rows are picked, not blocks read."""
_PAIRS = 1024
"""Questions and passages that are scored in float64 at a time."""
_SAFE = 65536.0
"""Norms below this are surely of numbers: float16's infinity is as large, float32's larger."""


class _Work(NamedTuple):
    """Rows to be scored: a whole block, some rows of it, or rows from anywhere."""

    block: Block | None
    rows: np.ndarray | None


class ExactIndex:
    """An encoded corpus, searched as it lies on disk. Inner product; the manifest is the corpus's.

    What it promises: scores are the inner products in float64, rounded to float32, and the order is
    that of `Hits`, also of equal vectors and of ties beyond the cut. They depend neither on the
    other questions of the batch, nor on block sizes, nor on the number of threads.

    Memory: `resident_bytes` of the corpus, what the sketch may keep, and for each thread about
    20 MB; not the corpus's size.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        resident_bytes: int = RESIDENT,
        threads: int | None = None,
        sketch: Sketch | None = None,
    ) -> None:
        """`threads`: None is as many as `cores.thread_count` says. `sketch`: of these embeddings;
        with it a few questions are answered sooner. Raises InputError as Embeddings does."""
        self.directory, self.manifest = embeddings.directory, embeddings.manifest
        self.count = embeddings.count
        self.dim = embeddings.dim
        self.threads = threads or thread_count()
        self.sketch = sketch
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
        shape = len(questions), depth
        found = Hits(np.empty(shape, np.int64), np.empty(shape, np.float32))
        size = max(1, min(_QUESTIONS, _CANDIDATES // max(1, depth)))
        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(questions) if depth else 0, size):
                part = slice(start, start + size)
                best = self._by_sketch(questions[part], depth, pool) if allowed is None else None
                if best is None:
                    best = self._search(questions[part], depth, allowed, pool)
                found.rows[part], found.scores[part] = best
        return found

    def _by_sketch(
        self, questions: np.ndarray, depth: int, pool: ThreadPoolExecutor
    ) -> Hits | None:
        """The same as `_search`, sooner; None where the sketch does not help."""
        if self.sketch is None or len(questions) > _FEW or not self.sketch.helps(depth):
            return None
        running = _Running(questions, depth, self._blocks.take)
        pieces = iter(self.sketch.pieces)
        look = partial(self._look, self.sketch, pieces, questions, running)
        unseen = np.max(_together(look, pieces, self.threads, pool), axis=0)
        return running.best(pool) if running.settled(unseen) else None

    def _look(
        self, sketch: Sketch, pieces: Iterator[Piece], questions: np.ndarray, running: _Running
    ) -> np.ndarray:
        """What one thread does; the best (Q,) that rows may score which it did not lay aside."""
        unseen = np.full(len(questions), -np.inf, np.float32)
        with sketch.lens() as lens:
            for piece in pieces:
                assert piece.error is not None
                rows, scores = lens.near(piece, questions, running.depth)
                running.add(rows, scores, piece.error)
                if rows.shape[1] < piece.stop - piece.start:
                    unseen = np.maximum(unseen, scores[:, -1])
        return unseen

    def _search(
        self,
        questions: np.ndarray,
        depth: int,
        allowed: np.ndarray | None,
        pool: ThreadPoolExecutor,
    ) -> Hits:
        running = _Running(questions, depth, self._blocks.take)
        blocks = self._blocks.long if len(questions) <= _FEW else self._blocks.all
        longest = max(self._blocks.rows, *(block.stop - block.start for block in blocks))
        work = iter(self._work(blocks, allowed))
        with one_thread_each() as alone:
            # Several products at a time, each with threads of its own, wait for each other.
            threads = self.threads if alone or len(questions) <= _FEW else 1
            scan = partial(self._scan, work, questions, running, longest)
            _together(scan, work, threads, pool)
        return running.best(pool)

    def _work(self, blocks: list[Block], allowed: np.ndarray | None) -> list[_Work]:
        """All there is to do. The threads share one iterator of it, which a list's can be."""
        if allowed is None:
            return [_Work(block, None) for block in blocks]
        if len(allowed) * _SPARSE < self.count:
            size = self._blocks.rows
            return [_Work(None, allowed[i : i + size]) for i in range(0, len(allowed), size)]
        bounds = np.searchsorted(allowed, [block.start for block in blocks]).tolist()
        spans = zip(bounds, [*bounds[1:], len(allowed)], strict=True)
        return [
            _Work(block, allowed[begin:end])
            for block, (begin, end) in zip(blocks, spans, strict=True)
            if begin < end
        ]

    def _scan(
        self, work: Iterator[_Work], questions: np.ndarray, running: _Running, longest: int
    ) -> None:
        """What one thread does: score what is next, until nothing is."""
        reader = self._blocks.reader()
        memory = np.empty(len(questions) * longest, np.float32)
        for item in work:
            rows, vectors, norm = self._read(item, reader)
            scores = memory[: len(questions) * len(rows)].reshape(len(questions), len(rows))
            if norm * running.norms.max() >= np.finfo(np.float32).max:
                raise InputError(f"{self.directory}: a score is beyond what float32 can hold")
            error = (self.dim + 8) * 2.0**-24 * norm  # the rounding at the end is a term more
            running.add(rows, _products(questions, vectors, scores), error)

    def _read(self, work: _Work, reader: Reader) -> tuple[np.ndarray, np.ndarray, float]:
        """The rows of a piece of work (B,), their vectors (B, D), and a norm that none exceeds."""
        block, rows = work
        if block is None:
            assert rows is not None
            vectors = self._blocks.take(rows)
            norm = _largest_norm(vectors)
            if not norm < _SAFE and not np.isfinite(vectors).all():
                raise InputError(
                    f"{self.directory}: holds NaN or infinity in rows {rows[0]} to {rows[-1]}; "
                    "encode again"
                )
            return rows, vectors, norm
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


class _Running:
    """The candidates among the rows seen so far: a few more than the best K of each question.

    They are kept as triples (question, row, score) in flat arrays, and thinned out whenever there
    are twice as many as are needed: the lowest of each question's best K is then the bar to pass,
    less what float32 can be off.
    """

    def __init__(
        self, questions: np.ndarray, depth: int, take: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.questions, self.depth, self.take = questions, depth, take
        self.exact = questions.astype(np.float64)
        self.norms = np.linalg.norm(self.exact, axis=1)
        self.smallest = questions.shape[1] * 2.0**-149
        """What a score can be off where products are too small to be float32 numbers."""
        self.bar = np.full(len(questions), -np.inf, np.float32), 0.0
        """The K-th best of what was seen, -inf before K were, and the largest error of it."""
        self.held: list[_Triples] = []
        self.size = 0
        self.limit = 2 * len(questions) * depth + 4096
        self.lock = threading.Lock()

    def add(self, rows: np.ndarray, scores: np.ndarray, error: float) -> None:
        """Lay aside what may be among the best of (Q, B) scores of rows, (B,) or (Q, B).

        No score is further off than `error` times the norm of its question.
        """
        bar, largest = self.bar
        error = max(error, largest)
        if scores.shape[1] >= self.depth and bar.min() == -np.inf:
            bar = np.maximum(bar, np.partition(scores, -self.depth, axis=1)[:, -self.depth])
        passed = np.flatnonzero(scores >= self._passing(bar, error)[:, None])
        if not len(passed):
            return
        asked, at = np.divmod(passed, scores.shape[1])
        chosen = rows[at] if rows.ndim == 1 else rows.ravel()[passed]
        triples = _Triples(asked.astype(np.int32), chosen, scores.ravel()[passed])
        with self.lock:
            self.bar = np.maximum(self.bar[0], bar), max(self.bar[1], error)
            self.held.append(triples)
            self.size += len(passed)
            if self.size > self.limit:
                self._thin_out()

    def best(self, pool: ThreadPoolExecutor) -> Hits:
        """The best rows and their scores, (Q, K)."""
        best = self._cut(self._exactly(self._above_the_bar(), pool.map))
        shape = len(self.questions), self.depth
        return Hits(best.rows.reshape(shape), best.scores.reshape(shape))

    def settled(self, unseen: np.ndarray) -> bool:
        """Whether no row is among the best that was not laid aside: all score at most `unseen`.

        The K rows at or above the bar have true scores of at least the bar less their error, and
        a row that was not laid aside has at most `unseen` and its own error more.
        """
        if self.held:
            self._thin_out()
        return bool((unseen < self._passing(*self.bar)).all())

    def _passing(self, bar: np.ndarray, error: float) -> np.ndarray:
        """The lowest scores (Q,) that may be among the best: both they and the bar are off."""
        lowest: np.ndarray = bar - 2 * (self.norms * error + self.smallest)
        return lowest.astype(np.float32)

    def _thin_out(self) -> None:
        left = self._above_the_bar()
        if len(left.rows) > self.limit:  # so many are as good as equal: more exact scores decide
            left = self._cut(self._exactly(left, map))
        self.held, self.size = [left], len(left.rows)

    def _above_the_bar(self) -> _Triples:
        """What was laid aside, ordered by question, less what cannot be among the best K."""
        held = _Triples(*map(np.concatenate, zip(*self.held, strict=True)))
        held = held.at(np.argsort(held.asked, kind="stable"))
        bar, error = self.bar
        bar = bar.copy()
        ends = np.searchsorted(held.asked, np.arange(len(bar)), side="right").tolist()
        for question, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end - start >= self.depth:
                scores = held.scores[start:end]
                bar[question] = max(bar[question], np.partition(scores, -self.depth)[-self.depth])
        self.bar = bar, error
        return held.at(np.flatnonzero(held.scores >= self._passing(bar, error)[held.asked]))

    def _exactly(self, held: _Triples, each: Callable[..., Iterator[np.ndarray]]) -> _Triples:
        """The same with scores of float64, rounded to float32; in the order of rows."""
        held = held.at(np.argsort(held.rows, kind="stable"))
        parts = [
            held.at(slice(start, start + _PAIRS)) for start in range(0, len(held.rows), _PAIRS)
        ]
        each = each if len(parts) > 1 else map
        scores = np.concatenate(list(each(self._score, parts)))
        return held._replace(scores=scores)

    def _score(self, pairs: _Triples) -> np.ndarray:
        rows, where = np.unique(pairs.rows, return_inverse=True)
        vectors = self.take(rows).astype(np.float64)[where]
        # einsum adds up each line alone, in an order that depends on D only.
        scores = np.einsum("pd,pd->p", vectors, self.exact[pairs.asked])
        return np.asarray(scores, np.float32)

    def _cut(self, held: _Triples) -> _Triples:
        """The best K of each question that has as many, in the order of `Hits`."""
        held = held.at(np.lexsort((held.rows, -held.scores, held.asked)))
        first = np.searchsorted(held.asked, held.asked)
        return held.at(np.flatnonzero(np.arange(len(first)) - first < self.depth))


class _Triples(NamedTuple):
    """Candidates, (C,) each: whose question's, which row, and its score."""

    asked: np.ndarray
    rows: np.ndarray
    scores: np.ndarray

    def at(self, places: np.ndarray | slice) -> _Triples:
        return _Triples(self.asked[places], self.rows[places], self.scores[places])


def _together(
    look: Callable[[], T], work: Iterator[object], threads: int, pool: ThreadPoolExecutor
) -> list[T]:
    """What `look` gives on so many threads, this one among them, that share the `work`."""
    try:
        others = [pool.submit(look) for _ in range(threads - 1)]
        return [look(), *(other.result() for other in others)]
    finally:  # after an error, or Ctrl-C, nothing is left for the other threads
        deque(work, maxlen=0)


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
