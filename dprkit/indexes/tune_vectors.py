"""tune-index of embeddings with one vector a passage: each type built, measured, thrown away."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dprkit.embeddings.shards import Embeddings, write_shard
from dprkit.indexes.build import index
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.faiss_index import spread_sample
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.tuning_measures import (
    ENOUGH,
    SINGLES,
    Measured,
    alone,
    bytes_in,
    figures_of,
    memory_since,
    questions_of,
    retriever_of,
)
from dprkit.indexes.tuning_points import Point
from dprkit.memory import status_bytes
from dprkit.progress import Run
from dprkit.settings import IndexSettings, TuneSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft


def measure_vectors(work: Draft, settings: TuneSettings, scratch: Path) -> Measured:
    """Build and measure `settings.types` for embeddings of one vector a passage."""
    embeddings = Embeddings(str(settings.embeddings))
    asked = _vectors(embeddings, settings)
    if 0 < settings.sample < embeddings.count:
        embeddings = _sampled(embeddings, settings.sample, scratch)
    gold = ExactIndex(embeddings).search(asked, settings.topk).rows
    work.run.progress.start("trying", len(settings.types or ()), "types")
    points = msgspec.convert(work.state.get("points", []), list[Point])
    for name in settings.types or ():
        if name not in {point.type for point in points}:
            points += _try(name, embeddings, asked, gold, settings, scratch / "index")
            work.state["points"] = msgspec.to_builtins(points)
            work.save()
        work.run.progress.advance(1)
    work.run.progress.finish()
    return Measured(points, embeddings.count, len(asked))


def _vectors(embeddings: Embeddings, settings: TuneSettings) -> np.ndarray:
    """The questions' vectors (Q, D), by the retriever that made the embeddings."""
    from dprkit.models.retriever import load_for_questions

    path, size = retriever_of(embeddings, settings), embeddings.truncate_dim
    retriever = load_for_questions(path, truncate_dim=size)
    return retriever.encode_questions([q.question for q in questions_of(settings)])


def _sampled(embeddings: Embeddings, size: int, scratch: Path) -> Embeddings:
    """An embeddings folder with `size` of the vectors."""
    manifest = embeddings.manifest
    with draft(scratch / "sample", "embeddings", {}, manifest.inputs, Run()) as work:
        if not work.done:
            write_shard(work, 0, spread_sample(embeddings, size), [str(n) for n in range(size)])
            work.finish({"passages": size, "dim": embeddings.dim, "shards": 1})
    return Embeddings(scratch / "sample")


def _try(
    name: str,
    embeddings: Embeddings,
    asked: np.ndarray,
    gold: np.ndarray,
    settings: TuneSettings,
    folder: Path,
) -> list[Point]:
    """Build an index, and measure it at every depth in a process of its own, for its memory."""
    began = time.monotonic()
    wish = IndexSettings(
        embeddings=str(embeddings.directory),
        output_dir=str(folder),
        type=name,
        max_ram=settings.max_ram,
        target_recall=settings.target_recall,
    )
    index(wish)
    seconds = time.monotonic() - began
    measured = alone(name, measure, folder, asked, gold, settings.topk)
    shutil.rmtree(folder)
    return [Point(type=name, build_seconds=round(seconds, 2), **figures) for figures in measured]


def measure(folder: Path, asked: np.ndarray, gold: np.ndarray, topk: int) -> list[dict[str, Any]]:
    """An index at each depth its type has: recall of `gold` (Q, K), latency, speed, memory."""
    index = IndexFolder(folder)
    before, measured = status_bytes("VmRSS"), []
    about = {"factory": index.counts.get("factory", index.type), "bytes": bytes_in(folder)}
    singles = [vector[None] for vector in asked[:SINGLES]]
    for depths in _depths(index):
        search = partial(index.open_dense(depths).search, topk=topk)
        _, figures = figures_of(search, asked, singles, gold)
        measured.append({**about, **figures, "memory": memory_since(before), **depths})
        if figures["recall"] >= ENOUGH:
            break
    return measured


def _depths(index: IndexFolder) -> list[dict[str, int]]:
    """Depths of search to try, growing."""
    kind = index.kind
    return kind.load_rules().depths_to_try(index.counts) if kind.has_depths else [{}]
