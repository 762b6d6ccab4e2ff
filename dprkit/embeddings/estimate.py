"""encode-corpus --dry-run: an estimate of time, disk and memory from a sample of the corpus."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from dprkit.data.corpus_by_row import PassageFile
from dprkit.embeddings.encode import files_of
from dprkit.embeddings.local_processes import Ready, together
from dprkit.embeddings.resolved_settings import resolved
from dprkit.embeddings.shard_contents import contents_of
from dprkit.embeddings.token_bytes import sample_of
from dprkit.memory import peak_bytes
from dprkit.progress import Run
from dprkit.settings import EncodeSettings
from dprkit.store.integrity import Verifier


class EncodeEstimate(msgspec.Struct):
    """What encoding a corpus takes, by a sample of it."""

    passages: int
    dim: int
    sample: int
    passages_per_second: float
    tokens_per_second: float
    whole_seconds: float
    disk_bytes: int
    memory_bytes: int
    outputs: list[str] = []


class _Speed(NamedTuple):
    """What one process measured."""

    seconds: float
    tokens: int
    dim: int
    memory: int
    bytes: float
    """On disk, of a passage."""


def estimate(settings: EncodeSettings, run: Run = Run()) -> EncodeEstimate:
    """Encode passages from all over the corpus, and reckon what all of it takes.

    The processes that would share the shards encode the sample at the same time, for they share
    the cores or GPUs as well. What Ray adds from other hosts is not known here.
    """
    files_of(settings)
    Verifier(run.progress.note).artifact(str(settings.retriever), "retriever")
    settings, _ = resolved(settings)
    corpus = PassageFile(str(settings.passages), run.progress.note)
    shards = -(-len(corpus) // settings.shard_size)
    size = 1 if settings.engine == "ray" else min(settings.num_processes, shards)
    speeds = together(partial(_speed, settings, run if size == 1 else Run()), size)
    sample = sample_of(corpus)
    rate = sum(len(sample) / speed.seconds for speed in speeds)
    dim = speeds[0].dim
    return EncodeEstimate(
        passages=len(corpus),
        dim=dim,
        sample=len(sample),
        passages_per_second=rate,
        tokens_per_second=rate * speeds[0].tokens / len(sample),
        whole_seconds=len(corpus) / rate,
        disk_bytes=round(len(corpus) * speeds[0].bytes),
        memory_bytes=max(speed.memory for speed in speeds),
    )


def _speed(settings: EncodeSettings, run: Run, ready: Ready) -> _Speed:
    """Encode the sample, once all processes are `ready`."""
    contents = contents_of(settings, run)
    passages = sample_of(PassageFile(str(settings.passages)))
    ids = contents.retriever.tokens.passages(passages)
    contents.encode(ids[:8])  # the first pass is slower
    ready()
    begin = time.perf_counter()
    made = contents.encode(ids)
    contents.whole(np.zeros(len(ids), bool), None, made, [False] * len(ids))
    seconds = time.perf_counter() - begin
    size, dim = contents.bytes_a_passage(passages), contents.retriever.dim
    return _Speed(seconds, sum(map(len, ids)), dim, peak_bytes(), size)
