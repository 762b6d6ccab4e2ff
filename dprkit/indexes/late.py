"""late: a first stage finds candidates by one vector a passage, and MaxSim ranks them.

    late.json      what it is and what it is made from
    ...            the files of the first stage: those of its own kinds of index

The vector of a passage is the mean of its token vectors, and that of a question too; the encoder
gives both for nothing, and every kind of index that reads vectors takes them. The token vectors of
the candidates are read from the shards, which are mapped. They are compared in 8 bits where they
are kept so, and those that may be the best in float32 (dprkit.indexes.late_scores): the ranking of
the candidates is that of late-exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.data.corpus_by_row import PassageFile
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_shards import TokenShards
from dprkit.indexes.blas_threads import one_thread_each
from dprkit.indexes.find_inputs import input_path
from dprkit.indexes.fuse import fuse
from dprkit.indexes.hits_and_tie_order import DenseIndex, Hits, best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.kinds import first_kinds, kind_of
from dprkit.indexes.late_exact import size_of, write_content
from dprkit.indexes.late_scores import FirstPass, LateQuestions, pair_scores
from dprkit.indexes.late_settings import (
    VECTORS,
    WORDS,
    depths_for,
    named_first_stage,
    settings_of,
)
from dprkit.models.token_vectors import TokenVectors
from dprkit.settings import IndexSettings
from dprkit.settings.indexes import CANDIDATES
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier

_PIECE = 256
"""Candidates whose token vectors are read and scored at a time."""


# --- building -------------------------------------------------------------------------------------


def build(work: Draft, embeddings: Embeddings, settings: IndexSettings) -> dict[str, Any]:
    """Build the first stage; the counts of the manifest, with those of its parts.

    A run that was killed goes on as each kind does. Raises InputError for a shard cut short.
    """
    size = size_of(embeddings)
    vectors, *words = first_kinds(settings)
    corpus = _corpus(work, embeddings, settings.passages) if words else None
    parts = {VECTORS: _part(work, vectors, embeddings, settings)}
    for name in words:
        parts[WORDS] = _part(work, name, corpus, settings)
    write_content(work, {"type": settings.type, "first_stage": settings.first_stage})
    notes = [note for part in parts.values() for note in _notes(part)]
    counts = {**size, **parts}
    return {**counts, **depths_for(settings, counts), "notes": notes}


def _part(work: Draft, name: str, source: Any, settings: IndexSettings) -> dict[str, Any]:
    """The counts of a part of the first stage, which an earlier run may have built."""
    key = f"built {name}"
    if key not in work.state:
        with named_first_stage():
            counts = kind_of(name).load().build(work, source, settings_of(name, settings))
        work.state[key] = {"type": name, **counts}
        work.save()
    counts = work.state[key]
    return dict(counts)


def _corpus(work: Draft, embeddings: Embeddings, given: str | None) -> PassageFile:
    """The corpus that was encoded; `given`: where the user says that it lies."""
    corpus = work.record.inputs["passages"]
    path = input_path(embeddings.directory, "passages", corpus, Verifier(), given)
    return PassageFile(path, work.run.progress.note)


def _notes(counts: Mapping[str, Any]) -> Iterator[str]:
    if counts.get("reason"):
        yield counts["reason"]
    yield from counts.get("notes", [])


# --- searching ------------------------------------------------------------------------------------


class LateIndex:
    """A first stage over one vector a passage, and the token vectors that rank its candidates."""

    def __init__(
        self,
        shards: TokenShards,
        first: DenseIndex,
        words: Any = None,
        candidates: int = CANDIDATES,
        threads: int | None = None,
    ) -> None:
        """`words`: a BM25 index, whose scores count as much as those of `first` where the
        `candidates` are chosen. `threads`: None is as many as `cpu_cores.thread_count` says."""
        self.shards, self.first, self.words = shards, first, words
        self.candidates, self.threads = candidates, threads or thread_count()
        self.count, self.dim = shards.count, shards.dim

    def search(self, asked: LateQuestions, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows (Q, K) by MaxSim, of each question's candidates.

        There are as many candidates as the index looks at, or K where that is more. `allowed`:
        (A,) int64, ascending; no other rows are looked for, and K is at most A. A first stage that
        is not exact may find fewer than K: row -1, score -inf.
        """
        depth = min(topk, self.count if allowed is None else len(allowed))
        hits = Hits.none(len(asked), depth)
        if not depth or not len(asked):
            return hits
        candidates = self._candidates(asked, max(self.candidates, depth), allowed)
        with ThreadPoolExecutor(self.threads) as pool, one_thread_each():
            # One question is shared among the threads, several are dealt out to them.
            alone = len(asked) == 1
            outer, inner = (map, pool.map) if alone else (pool.map, map)

            def answer(question: int) -> Hits:
                vectors = asked.vectors.span(question, question + 1)
                return self._ranked(vectors, candidates[question], depth, inner)

            for number, (rows, scores) in enumerate(outer(answer, range(len(asked)))):
                found = rows.shape[1]
                hits.rows[number, :found], hits.scores[number, :found] = rows[0], scores[0]
        return hits

    def _candidates(
        self, asked: LateQuestions, count: int, allowed: np.ndarray | None
    ) -> list[np.ndarray]:
        """For each of Q questions `count` rows, ascending, or as many as the first stage finds."""
        found = self.first.search(asked.vectors.means(), count, allowed)
        if self.words is not None:
            worded = self.words.search(asked.texts, count, allowed)
            found = fuse([found, worded], count, method="weighted")
        return [np.sort(rows[rows >= 0]) for rows in found.rows]

    def _ranked(
        self, question: TokenVectors, rows: np.ndarray, depth: int, each: Callable[..., Any]
    ) -> Hits:
        """The best `depth` of a question's candidates (C,), Hits (1, K)."""
        if not len(rows):
            return Hits.none(1, 0)
        first, take = FirstPass(question), self.shards.take
        scored = each(lambda piece: first.scores(take(piece), threads=1), _pieces(rows))
        scores, off = (np.concatenate(found, axis=-1) for found in zip(*scored, strict=True))
        if len(rows) > depth:
            bar = np.partition(scores[0], -depth)[-depth]
            rows = rows[scores[0] >= bar - 2 * off.max()]
        exact = each(lambda p: pair_scores(question[0], take(p), np.arange(len(p))), _pieces(rows))
        return best(rows[None], np.concatenate(list(exact))[None], depth)


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    """Rows (R,) in pieces of _PIECE: of no more are the token vectors in memory at a time."""
    return [rows[begin : begin + _PIECE] for begin in range(0, len(rows), _PIECE)]


def open_folder(folder: IndexFolder, depths: Mapping[str, int]) -> LateIndex:
    """The late index in a folder: a search reads the token vectors that its manifest names."""
    counts = folder.counts
    words = folder.part(counts[WORDS]).open() if WORDS in counts else None
    return LateIndex(
        TokenShards(folder.embeddings()),
        folder.part(counts[VECTORS]).open_dense(depths),
        words,
        depths.get("candidates", counts["candidates"]),
    )
