"""How many bytes the token vectors of a corpus will take, by a sample of its passages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprkit.data.corpus_by_row import PassageFile
from dprkit.embeddings.token_pooling import PROTECTED
from dprkit.models.late_tokens import LateTokens
from dprkit.records import Passage
from dprkit.settings import EncodeSettings

SAMPLE = 256
"""Passages of a sample."""


def sample_of(corpus: PassageFile) -> list[Passage]:
    """Passages from all over a corpus."""
    return corpus.spread(SAMPLE)


def bytes_a_passage(
    passages: Sequence[Passage], tokens: LateTokens, settings: EncodeSettings
) -> float:
    """Bytes that a passage takes on disk, on average, by these passages and resolved settings."""
    dim, dtype = tokens.config.embedding_size, np.dtype(settings.dtype)
    counts = np.array([len(tokens.counted("passage", t)) for t in tokens.passages(passages)])
    pooled = PROTECTED + np.maximum(1, (counts - PROTECTED) // settings.pool_factor)
    kept = np.minimum(counts, pooled).mean()
    ids = sum(len(p.id.encode()) + 1 for p in passages) / len(passages)
    vector = dim * dtype.itemsize + 4 * (settings.dtype == "int8")
    mean, digest, length, cut = 2 * dim, 8, 4, 1
    return float(kept * vector + mean + ids + digest + length + cut)
