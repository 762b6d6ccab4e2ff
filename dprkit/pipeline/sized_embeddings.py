"""Embeddings of as many passages as a trial wants, made from those that are there.

Where there are too few vectors they are taken several times, each time a little moved. The
passages beside them are real ones, different from each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dprkit.pipeline.cost_of_encoding import write_few
from dprkit.pipeline.trial import Trial
from dprkit.progress import Run
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import Input

if TYPE_CHECKING:
    import numpy as np

    from dprkit.embeddings.shards import Embeddings

MOVED = 0.1
"""By how much a vector that is taken again is moved, as a share of its length."""


def sized(embeddings: Embeddings, corpus: str, size: int, trial: Trial) -> Path:
    """An embeddings folder of `size` passages of `corpus`, or of all where there are fewer."""
    from dprkit.data.corpus_by_row import PassageFile
    from dprkit.embeddings.shards import write_shard
    from dprkit.embeddings.token_shards import is_tokens

    passages = write_few(corpus, trial.folder("passages.tsv"), size)
    ids = [passage.id for passage in PassageFile(passages).passages()]
    folder = trial.folder("embeddings")
    retriever = embeddings.manifest.inputs["retriever"]
    inputs: dict[str, str | Input] = {"retriever": retriever, "passages": str(passages)}
    settings = dict(embeddings.manifest.settings)
    counts: dict[str, Any] = {"passages": len(ids), "dim": embeddings.dim, "shards": 1}
    with draft(folder, "embeddings", settings, inputs, Run()) as work:
        if is_tokens(embeddings.manifest):
            counts |= _write_tokens(work, embeddings, ids)
        else:
            write_shard(work, 0, _vectors(embeddings, len(ids)), ids)
        work.finish(counts)
    return folder


def _rows(count: int, size: int) -> np.ndarray:
    """(size,) rows of `count`, spread over them where there are enough, else taken in turns."""
    import numpy as np

    rows = np.arange(size)
    return rows * count // size if count >= size else rows % count


def _vectors(embeddings: Embeddings, size: int) -> np.ndarray:
    """(size, D) float32."""
    import numpy as np

    rows = np.sort(_rows(embeddings.count, size))
    vectors = embeddings.take(rows)
    if size <= embeddings.count:
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    noise = np.random.default_rng(0).standard_normal(vectors.shape, np.float32)
    vectors += MOVED * lengths * noise / np.sqrt(vectors.shape[1], dtype=np.float32)
    return np.asarray(vectors * (lengths / np.linalg.norm(vectors, axis=1, keepdims=True)))


def _write_tokens(work: Any, embeddings: Embeddings, ids: list[str]) -> dict[str, Any]:
    """Write the token vectors; the counts of the manifest beside those of all embeddings."""
    import numpy as np

    from dprkit.embeddings.token_shards import (
        TOKENS,
        PassageTokens,
        TokenShards,
        growing_token_shard,
    )

    shards, rows = TokenShards(embeddings), _rows(embeddings.count, len(ids))
    means = _vectors(embeddings, len(ids)).astype(np.float16)
    kept = PassageTokens(means, shards.take(rows), np.zeros(len(ids), bool))
    with growing_token_shard(work, 0, len(ids), shards.dim, shards.dtype) as write:
        write(kept, ids, np.zeros(len(ids), np.uint64))
    return {"kind": TOKENS, "tokens": int(kept.tokens.bounds[-1]), "cut": 0}
