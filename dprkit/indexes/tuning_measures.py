"""How tune-index measures: in a process of its own, a question at a time, against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dprkit.data.questions import read_questions
from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError, ProcessError
from dprkit.indexes.find_inputs import input_path
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.indexes.tuning_points import Point
from dprkit.memory import status_bytes
from dprkit.records import Question
from dprkit.settings import TuneSettings
from dprkit.store.integrity import Verifier

T = TypeVar("T")
SINGLES = 100
"""Questions that are asked one at a time, for the latency."""
ENOUGH = 0.9995
"""Recall from which on no greater depth is tried."""


class Measured(NamedTuple):
    """All points, and with how many passages and questions they were measured."""

    points: list[Point]
    passages: int
    questions: int


def questions_of(settings: TuneSettings) -> list[Question]:
    """The questions to measure with. Raises InputError where there is none."""
    path = str(settings.questions)
    questions = list(islice(read_questions(path), settings.num_questions))
    if not questions:
        raise InputError(f"{path}: holds no question; there is nothing to measure with")
    return questions


def retriever_of(embeddings: Embeddings, settings: TuneSettings) -> Path:
    """Where the retriever lies that made the embeddings."""
    wanted = embeddings.manifest.inputs["retriever"]
    return input_path(embeddings.directory, "retriever", wanted, Verifier(), settings.retriever)


def alone(name: str, measure: Callable[..., T], *arguments: Any) -> T:
    """What `measure` gives in a process of its own, whose memory is that of index `name`."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise ProcessError(
                f"the process that searched the {name} index was killed (out of memory?); "
                "leave it out of --types, or try on a --sample"
            ) from None


def figures_of(
    search: Callable[[Any], Hits], questions: Any, singles: Sequence[Any], truth: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """The rows (Q, K) that `search` finds, and figures of it: recall of `truth` (Q, K), speed.

    `singles`: some of the questions, each alone.
    """
    search(singles[0])
    began = time.perf_counter()
    rows = search(questions).rows
    rate = len(questions) / (time.perf_counter() - began)
    p50, p95 = latency(search, singles)
    speed = {"p50_ms": p50, "p95_ms": p95, "per_second": round(rate, 1)}
    return rows, {"recall": overlap(rows, truth), **speed}


def bytes_in(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def memory_since(before: int) -> int:
    """Bytes by which this process's memory was larger, at its highest, than `before`."""
    return max(status_bytes("VmHWM") - before, 0)


def latency(search: Callable[[Any], object], singles: Sequence[Any]) -> tuple[float, float]:
    """Milliseconds of a single question: the median and the 95th percentile."""
    taken = []
    for single in singles:
        began = time.perf_counter()
        search(single)
        taken.append(1e3 * (time.perf_counter() - began))
    p50, p95 = np.percentile(taken, [50, 95]).round(3).tolist()
    return p50, p95


def overlap(rows: np.ndarray, truth: np.ndarray) -> float:
    """The share of `truth` (Q, K) that is in `rows` (Q, K), over all questions."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(rows.tolist(), truth.tolist(), strict=True))
    return round(hits / truth.size, 5)


def success(rows: np.ndarray, gold: Sequence[Sequence[int]]) -> float | None:
    """The share of the questions with a row of `gold` that have one in `rows` (Q, K)."""
    found = [bool(set(a) & set(b)) for a, b in zip(rows.tolist(), gold, strict=True) if b]
    return round(sum(found) / len(found), 5) if found else None
