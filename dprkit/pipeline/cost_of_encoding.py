"""What encode-corpus will cost: encode-corpus --dry-run, less the shards that are there."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.passages import PASSAGES_HEADER, passage_line
from dprkit.embeddings.encode import encode_corpus
from dprkit.memory import peak_bytes, reset_peak
from dprkit.pipeline.costs import NOTHING, Cost, Range, about, exactly
from dprkit.pipeline.trial import StandIn, Trial, clock
from dprkit.settings import EncodeSettings
from dprkit.store.manifests import PARTS

FEW = 112
"""Passages of the stand-in: more than the 100 that a question usually asks for."""


def cost_of_encoding(settings: EncodeSettings, trial: Trial) -> Cost:
    """Loading the model, and the passages that are left."""
    corpus = trial.find(str(settings.passages))
    there = replace(settings, passages=corpus.path, retriever=trial.path(str(settings.retriever)))
    few = write_few(corpus.path, trial.folder("passages.tsv"), FEW)
    made = str(trial.folder("embeddings"))
    reset_peak()
    alone = replace(there, passages=str(few), output_dir=made, num_processes=1, engine="local")
    with clock() as seconds:
        encoded = encode_corpus(alone).passages
    from dprkit.embeddings.estimate import estimate  # it imports numpy

    found = estimate(there)
    rate = found.passages_per_second
    passages = corpus.rows or exactly(found.passages)
    trial.expect(str(settings.output_dir), StandIn(made, passages, corpus.path))
    done = _done(Path(str(settings.output_dir))) * settings.shard_size
    left = Range(*(max(0.0, count - done) for count in passages))
    loading = max(0.0, seconds() - encoded / rate)
    bytes_ = found.disk_bytes / found.passages
    return Cost(
        work=_work(left, done),
        seconds=about(loading).plus(about(1 / rate).times(left)),
        disk=Range(0.95, 1, 1.05).times(bytes_).times(left),
        memory=_memory(max(found.memory_bytes, peak_bytes()) * settings.num_processes),
        notes=("what other hosts of a Ray cluster do is not known",) * (settings.engine == "ray"),
    )


def write_few(corpus: str, path: Path, most: int) -> Path:
    """Passages from all over a corpus in a file of their own."""
    passages = PassageFile(corpus)
    rows = sorted({len(passages) * i // most for i in range(most)})
    path.write_bytes(PASSAGES_HEADER + b"".join(map(passage_line, passages.at(rows))))
    return path


def _done(output: Path) -> int:
    """Shards that an earlier run has made."""
    return sum(1 for _ in (output / PARTS).glob("*.json"))


def _memory(bytes_: float) -> Range:
    return Range(0.9, 1, 1.2).times(bytes_) if bytes_ else NOTHING


def _work(left: Range, done: int) -> str:
    more = f" left of {left.likely + done:,.0f}" if done else ""
    return f"{left.likely:,.0f} passages{more}"
