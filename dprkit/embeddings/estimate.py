"""encode-corpus --dry-run: an estimate of time, disk and memory from a sample of the corpus."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import msgspec

from dprkit.data.corpus_by_row import PassageFile
from dprkit.embeddings.encode import files_of
from dprkit.embeddings.local_processes import Ready, together
from dprkit.memory import peak_bytes
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import EncodeSettings
from dprkit.store.integrity import Verifier

SAMPLE = 256
"""Passages that each process encodes."""


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


def estimate(settings: EncodeSettings, run: Run = Run()) -> EncodeEstimate:
    """Encode passages from all over the corpus, and reckon what all of it takes.

    The processes that would share the shards encode the sample at the same time, for they share
    the cores or GPUs as well. What Ray adds from other hosts is not known here.
    """
    files_of(settings)
    Verifier(run.progress.note).artifact(str(settings.retriever), "retriever")
    corpus = PassageFile(str(settings.passages), run.progress.note)
    shards = -(-len(corpus) // settings.shard_size)
    size = 1 if settings.engine == "ray" else min(settings.num_processes, shards)
    speeds = together(partial(_speed, settings, run if size == 1 else Run()), size)
    sample = _sample(corpus)
    rate = sum(len(sample) / speed.seconds for speed in speeds)
    width = 2 if settings.dtype == "float16" else 4
    id_bytes = sum(len(p.id.encode()) + 1 for p in sample) / len(sample)
    dim = speeds[0].dim
    return EncodeEstimate(
        passages=len(corpus),
        dim=dim,
        sample=len(sample),
        passages_per_second=rate,
        tokens_per_second=rate * speeds[0].tokens / len(sample),
        whole_seconds=len(corpus) / rate,
        disk_bytes=round(len(corpus) * (dim * width + id_bytes + 8)),
        memory_bytes=max(speed.memory for speed in speeds),
    )


def _sample(corpus: PassageFile) -> list[Passage]:
    return corpus.at(sorted({len(corpus) * i // SAMPLE for i in range(SAMPLE)}))


def _speed(settings: EncodeSettings, run: Run, ready: Ready) -> _Speed:
    """Encode the sample, once all processes are `ready`."""
    from dprkit.models.retriever import load_bi_encoder_retriever

    s = settings
    retriever = load_bi_encoder_retriever(str(s.retriever), s.backend, s.int8, s.precision, run)
    ids = retriever.tokens.passages(_sample(PassageFile(str(settings.passages))))
    retriever.encode("passage", ids[:8], settings.batch_tokens)  # the first pass is slower
    ready()
    begin = time.perf_counter()
    retriever.encode("passage", ids, settings.batch_tokens)
    seconds = time.perf_counter() - begin
    return _Speed(seconds, sum(map(len, ids)), retriever.dim, peak_bytes())
