"""binary: a bit for each number finds candidates, and the vectors of the embeddings rank them.

    bits-00000.faiss    rows of the corpus from 0 on, a FAISS index (IndexPQFastScan) that is kept
                        in memory: 1/32 of what the vectors take as float32
    made_from.json      the identities of its inputs

A bit says whether a number is above the mean of its dimension, and stands for the mean of all that
are above it, or below. The question stays as it is: compared with its own bits (Hamming distance)
it would find fewer of the best. Four dimensions are a code of 4 bits, whose 16 inner products with
the question fit one register of the processor; so a core compares some 800 million bytes of
vectors as float32 in a millisecond (Andre, Kermarrec and Le Scouarnec, Quicker ADC, 2018).

The candidates are compared by the vectors of the embeddings, which are mapped from the disk. Scores
are those of exact search. That none of the best is missed cannot be proven: one bit is off by more
than the best and the others differ (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.vector_blocks import Blocks
from dprkit.errors import InputError
from dprkit.indexes.binary_settings import depths_for
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.faiss_index import spread_sample
from dprkit.indexes.hits_and_tie_order import Hits, best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.made_from import write_made_from
from dprkit.settings import IndexSettings
from dprkit.settings.indexes import CANDIDATES
from dprkit.store.drafts import Draft

PART_ROWS = 1 << 20
"""Rows of a FAISS index: what a thread compares at a time, and what is built at a time."""
SAMPLE = 1 << 16
"""Vectors, spread over the corpus, that the means of each dimension are taken of."""
BITE = 4096
"""Vectors that are read at a time."""
_QUESTIONS = 256
"""Questions that candidates are found for at a time."""
_SPARSE = 8
"""Of so many rows less than one is allowed: then all that are allowed are compared."""


# --- building -------------------------------------------------------------------------------------


def build(work: Draft, embeddings: Embeddings, settings: IndexSettings) -> dict[str, Any]:
    """Write the bits part by part; a killed run goes on after its last part."""
    write_made_from(work)
    levels = _levels(spread_sample(embeddings, min(SAMPLE, embeddings.count)), embeddings)
    work.run.progress.start("taking bits", embeddings.count, "passages")
    for number, begin in enumerate(range(0, embeddings.count, PART_ROWS)):
        end = min(begin + PART_ROWS, embeddings.count)
        name = f"bits-{number:05d}.faiss"
        if work.state.get(name) != end:
            _write_part(work, name, _bits(embeddings, begin, end, levels.middle), levels)
            work.state[name] = end
            work.save()
        work.run.progress.advance(end - begin)
    work.run.progress.finish()
    counts = {"passages": embeddings.count, "dim": embeddings.dim}
    return {**counts, **depths_for(settings, counts)}


class _Levels(NamedTuple):
    """Of each dimension, (D,) float32: its mean, the mean of what is below it, and above it."""

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _levels(sample: np.ndarray, embeddings: Embeddings) -> _Levels:
    if not np.isfinite(sample).all():
        raise _no_number(embeddings)
    middle = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    above = sample > middle
    counts = above.sum(axis=0)
    high = np.where(above, sample, 0).sum(axis=0, dtype=np.float64) / np.maximum(counts, 1)
    below = sample.sum(axis=0, dtype=np.float64) - high * counts
    low = below / np.maximum(len(sample) - counts, 1)
    # Where all numbers of a dimension are equal, none is above their mean.
    return _Levels(middle, low.astype(np.float32), np.where(counts, high, low).astype(np.float32))


def _bits(embeddings: Embeddings, begin: int, end: int, middle: np.ndarray) -> np.ndarray:
    """The bits of rows `begin` to `end`, (N, B) uint8 with the first in the lowest bit."""
    bits = np.empty((end - begin, -(-embeddings.dim // 8)), np.uint8)
    for start in range(begin, end, BITE):
        vectors = embeddings.read(start, min(start + BITE, end))
        if not np.isfinite(vectors).all():
            raise _no_number(embeddings)
        packed = np.packbits(vectors > middle, axis=1, bitorder="little")
        bits[start - begin : start - begin + len(packed)] = packed
    return bits


def _no_number(embeddings: Embeddings) -> InputError:
    return InputError(f"{embeddings.directory}: holds NaN or infinity; encode again")


def _write_part(work: Draft, name: str, bits: np.ndarray, levels: _Levels) -> None:
    """Write a FAISS index of bits (N, B): a code of 4 bits for every four dimensions."""
    import faiss

    dim = -(-len(levels.middle) // 4) * 4
    low, high = (np.pad(level, (0, dim - len(level))) for level in (levels.low, levels.high))
    pattern = np.arange(16)[:, None] >> np.arange(4) & 1
    codes = np.where(pattern, high.reshape(-1, 1, 4), low.reshape(-1, 1, 4))
    plain = faiss.IndexPQ(dim, dim // 4, 4, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(codes.astype(np.float32).ravel(), plain.pq.centroids)
    plain.is_trained = True
    plain.add_sa_codes(bits[:, : plain.sa_code_size()])
    with work.file(name) as file:
        file.write(faiss.serialize_index(faiss.IndexPQFastScan(plain)).data)


# --- searching ------------------------------------------------------------------------------------


class BinaryIndex:
    """The bits of an encoded corpus, in memory, and its vectors on disk. Inner product.

    Scores are those of exact search; rows that the bits do not find are missing.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        parts: list[Any],
        candidates: int = CANDIDATES,
        threads: int | None = None,
    ) -> None:
        """`parts`: FAISS indexes of the rows, in order. `threads`: None is as many as
        `cpu_cores.thread_count` says."""
        self.embeddings, self.candidates = embeddings, candidates
        self.count, self.dim = embeddings.count, embeddings.dim
        self.threads = threads or thread_count()
        self._parts = parts
        self._starts = np.cumsum([0, *(part.ntotal for part in parts[:-1])]).tolist()
        everything = 4 * embeddings.count * embeddings.dim
        self._blocks = Blocks(embeddings, everything)

    @cached_property
    def _exact(self) -> ExactIndex:
        return ExactIndex(self.embeddings, threads=self.threads)

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows of the candidates of (Q, D) question vectors.

        There are as many candidates as the index looks at, or K where that is more. `allowed`:
        (A,) int64, ascending; no other rows are looked for, and K is at most A. Raises ValueError
        for vectors that are not finite.
        """
        questions = np.ascontiguousarray(vectors, np.float32)
        if not np.isfinite(questions).all():
            raise ValueError("a question vector holds NaN or infinity")
        depth = min(topk, self.count if allowed is None else len(allowed))
        if allowed is not None and len(allowed) < self.count / _SPARSE:
            return self._exact.search(questions, topk, allowed)
        hits = Hits.none(len(questions), depth)
        with ThreadPoolExecutor(self.threads) as pool:
            for begin in range(0, len(questions) if depth else 0, _QUESTIONS):
                some = questions[begin : begin + _QUESTIONS]
                found = self._found(some, depth, allowed, pool)
                each = pool.map if len(some) > 1 else map
                ranked = each(partial(self._ranked, depth=depth), some, found)
                for number, (rows, scores) in enumerate(ranked, begin):
                    hits.rows[number], hits.scores[number] = rows, scores
        return hits

    def _found(
        self,
        questions: np.ndarray,
        depth: int,
        allowed: np.ndarray | None,
        pool: ThreadPoolExecutor,
    ) -> list[np.ndarray]:
        """For each of Q questions the rows of its candidates, at least `depth`, ascending."""
        wanted = min(max(self.candidates, depth), self.count)
        if allowed is None:
            return list(np.sort(self._nearest(questions, wanted, pool)))
        # Of twice as many as have to be passed over on average enough are allowed, nearly always.
        asked = min(2 * wanted * -(-self.count // len(allowed)), self.count)
        rows = self._nearest(questions, asked, pool)
        fit = [line[ok][:wanted] for line, ok in zip(rows, np.isin(rows, allowed), strict=True)]
        return [np.sort(line) if len(line) >= depth else allowed for line in fit]

    def _nearest(self, questions: np.ndarray, count: int, pool: ThreadPoolExecutor) -> np.ndarray:
        """The rows (Q, count) whose bits score best, best first."""
        padded = np.pad(questions, ((0, 0), (0, self._parts[0].d - self.dim)))
        several = len(self._parts) > 1
        with _one_thread(several):
            scan = partial(_scan, padded, count)
            found = list((pool.map if several else map)(scan, self._parts, self._starts))
        rows, scores = map(np.hstack, zip(*found, strict=True))
        if several:
            order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
            rows = np.take_along_axis(rows, order, 1)
        # FAISS gives -1 in the place of rows that score the least there is, as all do for zeros.
        for at in np.flatnonzero((rows < 0).any(axis=1)):
            lacking = rows[at] < 0
            rows[at, lacking] = np.setdiff1d(np.arange(count), rows[at])[: lacking.sum()]
        return rows

    def _ranked(self, question: np.ndarray, rows: np.ndarray, depth: int) -> Hits:
        """The best `depth` of rows (C,), ascending, by their vectors: rows and scores, (K,)."""
        exact = question.astype(np.float64)
        # einsum adds up each line alone, in an order that depends on D only: as exact search does.
        scores = np.einsum("pd,d->p", self._blocks.take(rows).astype(np.float64), exact)
        hits = best(rows[None], scores[None].astype(np.float32), depth)
        return Hits(hits.rows[0], hits.scores[0])


def _scan(questions: np.ndarray, count: int, part: Any, start: int) -> tuple[np.ndarray, ...]:
    """The best rows of a part by their bits, -1 for none, and their scores: (Q, K) each."""
    scores, rows = part.search(questions, min(count, part.ntotal))
    rows[rows >= 0] += start
    return rows, scores


@contextmanager
def _one_thread(held: bool) -> Iterator[None]:
    """Within it FAISS starts no threads of its own, where that is to be."""
    import faiss

    threads = faiss.omp_get_max_threads()
    if held:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def open_folder(folder: IndexFolder, depths: Mapping[str, int]) -> BinaryIndex:
    """The binary index in a folder: a search reads the embeddings that its manifest names."""
    names = sorted(name for name in folder.manifest.files if name.startswith("bits-"))
    parts = [_part(folder.file(name)) for name in names]
    candidates = depths.get("candidates", folder.counts["candidates"])
    return BinaryIndex(folder.embeddings(), parts, candidates)


def _part(path: Path) -> Any:
    import faiss

    try:
        return faiss.read_index(str(path))
    except (RuntimeError, MemoryError):
        raise InputError(f"{path}: damaged; run dprkit index --restart") from None
