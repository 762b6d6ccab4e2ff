"""late-exact: MaxSim of each question with all token vectors of a corpus, in bounded memory.

It holds nothing but the names of its inputs: a search reads the shards of token vectors, block by
block. Each thread takes the next block, scores all questions with all its passages at once, in 8
bits where the processor is fast at that, and keeps every passage that may be among the best. At the
end those are scored pair by pair, and these scores decide (dprkit.indexes.late_scores).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_shards import AnyTokens, TokenShards
from dprkit.indexes.blas_threads import one_thread_each, together
from dprkit.indexes.candidates import Candidates, Triples
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.late_scores import FirstPass, LateQuestions, pair_scores
from dprkit.indexes.made_from import identities
from dprkit.models.token_vectors import TokenVectors
from dprkit.settings import IndexSettings
from dprkit.store.drafts import Draft

CONTENT = "late.json"
"""What a late index is made from, which makes its identity."""
RESIDENT = 320 << 20
"""Bytes of the shards that stay mapped."""
_QUESTIONS, _CANDIDATES = 256, 1 << 18
"""At most so many questions, and so many of their best passages, are searched for at a time."""
_ROOM = 16
"""Times the best K passages that may be kept: 8 bits leave a few times K that may be the best."""
_PICKED = 256
"""Passages that are picked at a time where only some are allowed."""


class LateExactIndex:
    """The token vectors of an encoded corpus, searched as they lie on disk.

    What it promises: scores are those of `pair_scores`, and the order is the tie order. They depend
    neither on the other questions, nor on blocks, nor on the number of threads.

    Memory: `resident_bytes` of the shards, 8 bytes a passage, and for each thread some 20 MB and
    the token vectors of 1,024 passages, as they are kept.
    """

    def __init__(
        self, shards: TokenShards, resident_bytes: int = RESIDENT, threads: int | None = None
    ) -> None:
        """`threads`: None is as many as `cpu_cores.thread_count` says."""
        self.shards, self.count, self.dim = shards, shards.count, shards.dim
        self.resident_bytes, self.threads = resident_bytes, threads or thread_count()

    def search(self, asked: LateQuestions, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows (Q, K) by MaxSim with Q questions.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A. Raises
        InputError for a shard that is cut short.
        """
        depth = min(topk, self.count if allowed is None else len(allowed))
        hits = Hits.none(len(asked), depth)
        size = max(1, min(_QUESTIONS, _CANDIDATES // max(1, depth)))
        with ThreadPoolExecutor(self.threads) as pool, one_thread_each():
            for start in range(0, len(asked) if depth else 0, size):
                part = slice(start, start + size)
                some = asked.span(start, min(start + size, len(asked))).vectors
                hits.rows[part], hits.scores[part] = self._search(some, depth, allowed, pool)
        return hits

    def _search(
        self,
        questions: TokenVectors,
        depth: int,
        allowed: np.ndarray | None,
        pool: ThreadPoolExecutor,
    ) -> Hits:
        first = FirstPass(questions)
        score = partial(self._score, questions)
        candidates = Candidates(np.ones(len(questions)), depth, score, room=_ROOM)
        work: Iterator[Any] = iter(self.shards.spans if allowed is None else _pieces(allowed))
        scan = partial(self._scan, work, first, candidates)
        together(scan, work, self.threads, pool)
        return candidates.best(pool)

    def _scan(self, work: Iterator[Any], first: FirstPass, candidates: Candidates) -> None:
        """What one thread does: score what is next, until nothing is."""
        reader = self.shards.reader(self.resident_bytes)
        tokens: AnyTokens
        for item in work:
            if isinstance(item, np.ndarray):
                rows, tokens = item, self.shards.take(item)
            else:
                rows, tokens = np.arange(*item), reader.read(*item)
            scores, off = first.scores(tokens, threads=1)
            candidates.add(rows, scores, off)

    def _score(self, questions: TokenVectors, pairs: Triples) -> np.ndarray:
        """The scores (C,) of pairs of questions and rows."""
        rows, where = np.unique(pairs.rows, return_inverse=True)
        tokens = self.shards.take(rows)
        scores = np.empty(len(pairs.rows), np.float32)
        for question in np.unique(pairs.asked).tolist():
            own = np.flatnonzero(pairs.asked == question)
            scores[own] = pair_scores(questions[question], tokens, where[own])
        return scores


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    """A list, for threads may call next() on one list's iterator."""
    return [rows[begin : begin + _PICKED] for begin in range(0, len(rows), _PICKED)]


def open_folder(folder: IndexFolder, _depths: Mapping[str, int]) -> LateExactIndex:
    """The index in a folder: a search reads the token vectors that its manifest names."""
    return LateExactIndex(TokenShards(folder.embeddings()))


def build(work: Draft, embeddings: Embeddings, _settings: IndexSettings) -> dict[str, Any]:
    """Write the names of the inputs. Raises InputError for a shard that is cut short."""
    write_content(work, {"type": "late-exact"})
    return size_of(embeddings)


def size_of(embeddings: Embeddings) -> dict[str, Any]:
    """The counts of a late index. Raises InputError for a shard that is cut short."""
    shards = TokenShards(embeddings)
    return {"passages": shards.count, "dim": shards.dim, "tokens": shards.tokens}


def write_content(work: Draft, what: Mapping[str, Any]) -> None:
    """Write what a late index is and from what it is made."""
    with work.file(CONTENT) as file:
        file.write(msgspec.json.encode({**what, "made_from": identities(work.record.inputs)}))
