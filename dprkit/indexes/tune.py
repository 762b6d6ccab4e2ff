"""tune-index: types of index measured on the user's questions, and the recommended type."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit import svg
from dprkit.data.questions import read_questions
from dprkit.errors import InputError, ProcessError, SettingsError
from dprkit.indexes.build import index
from dprkit.indexes.faiss_types import make, size_of
from dprkit.indexes.find_inputs import input_path
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.kinds import KINDS, UPDATED, kind_of
from dprkit.memory import status_bytes
from dprkit.progress import Run
from dprkit.settings import IndexSettings, TuneSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import Manifest, read_manifest

if TYPE_CHECKING:
    import numpy as np

    from dprkit.embeddings.shards import Embeddings

SCRATCH = "scratch"
FIGURES, PLOT = "tuning.json", "tuning.svg"
SINGLES = 100
"""Questions that are asked one at a time, for the latency."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """An index at one depth of search. Seconds, bytes, milliseconds, questions a second."""

    type: str
    factory: str
    nprobe: int = 0
    ef_search: int = 0
    recall: float
    build_seconds: float
    bytes: int
    memory: int
    p50_ms: float
    p95_ms: float
    per_second: float


class TuneReport(msgspec.Struct):
    """For each type its cheapest depth that finds enough, or its best; and the one to take."""

    passages: int
    questions: int
    topk: int
    rows: list[Point]
    recommended: Point | None
    outputs: list[str]
    notes: list[str] = []


def tune_index(settings: TuneSettings, run: Run = Run()) -> TuneReport:
    """Build, measure and compare `settings.types`; a killed run keeps the types it measured."""
    size_of(settings.max_ram, "--max-ram")
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    questions = required(settings.questions, "--questions", "questions")
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    counts = read_manifest(embeddings, "embeddings").counts
    count = min(settings.sample or counts["passages"], counts["passages"])
    for name in settings.types:
        if kind_of(name).reads != "vectors" or name == UPDATED:
            raise SettingsError(f"--types: {name}: only indexes of vectors can be compared")
        if name not in KINDS:
            make(name, count, counts["dim"], "--types")
    inputs = {"embeddings": embeddings, "questions": questions}
    with draft(directory, "tuning", settings, inputs, run) as work:
        manifest = work.done or _measure_all(work, settings)
    points = msgspec.json.decode((directory / FIGURES).read_bytes(), type=list[Point])
    return _report(settings, manifest, points, directory)


def _report(
    settings: TuneSettings, manifest: Manifest, points: list[Point], directory: Path
) -> TuneReport:
    best = recommend(points, settings)
    note = (
        _command(settings, best)
        if best
        else "no type that was tried keeps to the limits; allow more, or try other --types"
    )
    rows = [_shown(points, name, settings.target_recall) for name in {p.type: 0 for p in points}]
    counts = manifest.counts
    outputs = [str(directory / FIGURES), str(directory / PLOT)]
    return TuneReport(
        counts["passages"], counts["questions"], settings.topk, rows, best, outputs, [note]
    )


def _command(settings: TuneSettings, best: Point) -> str:
    """The command that builds the recommended index, beside the embeddings."""
    embeddings = Path(str(settings.embeddings))
    folder = embeddings.with_name(f"index-{re.sub('[^A-Za-z0-9]+', '-', best.type)}")
    words = ["dprkit", "index", "--embeddings", str(embeddings), "--type", best.type]
    words += ["--nprobe", str(best.nprobe)] if best.nprobe else []
    words += ["--ef-search", str(best.ef_search)] if best.ef_search else []
    return shlex.join([*words, "--output-dir", str(folder)])


def recommend(points: list[Point], settings: TuneSettings) -> Point | None:
    """Of the points that keep to all limits the one with the lowest median latency."""
    memory = size_of(settings.max_ram, "--max-ram") or float("inf")
    latency = settings.max_latency or float("inf")
    fit = [
        point
        for point in points
        if point.recall >= settings.target_recall
        and point.memory <= memory
        and point.p95_ms <= latency
    ]
    return min(fit, key=lambda point: (point.p50_ms, point.bytes), default=None)


def _shown(points: list[Point], name: str, target: float) -> Point:
    of_type = [point for point in points if point.type == name]
    enough = [point for point in of_type if point.recall >= target]
    if enough:
        return min(enough, key=lambda point: point.p50_ms)
    return max(of_type, key=lambda point: point.recall)


# --- measuring ----------------------------------------------------------------------------------


def _measure_all(work: Draft, settings: TuneSettings) -> Manifest:
    from dprkit.embeddings.shards import Embeddings
    from dprkit.indexes.exact import ExactIndex

    work.claim(SCRATCH)
    scratch = work.directory / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    embeddings = Embeddings(str(settings.embeddings))
    asked = _vectors(embeddings, settings)
    if 0 < settings.sample < embeddings.count:
        embeddings = _sampled(embeddings, settings.sample, scratch)
    gold = ExactIndex(embeddings).search(asked, settings.topk).rows
    work.run.progress.start("trying", len(settings.types), "types")
    points = msgspec.convert(work.state.get("points", []), list[Point])
    for name in settings.types:
        if name not in {point.type for point in points}:
            points += _try(name, embeddings, asked, gold, settings, scratch / "index")
            work.state["points"] = msgspec.to_builtins(points)
            work.save()
        work.run.progress.advance(1)
    work.run.progress.finish()
    with work.file(FIGURES, content=False) as file:
        file.write(msgspec.json.format(msgspec.json.encode(points), indent=1) + b"\n")
    with work.file(PLOT, content=False) as file:
        file.write(draw(points, settings.target_recall))
    return work.finish({"passages": embeddings.count, "questions": len(asked)})


def _vectors(embeddings: Embeddings, settings: TuneSettings) -> np.ndarray:
    """The questions' vectors (Q, D), by the retriever that made the embeddings."""
    from dprkit.models.retriever import load_for_questions

    path = str(settings.questions)
    texts = [q.question for q in islice(read_questions(path), settings.num_questions)]
    if not texts:
        raise InputError(f"{path}: holds no question; there is nothing to measure with")
    wanted = embeddings.manifest.inputs["retriever"]
    retriever = input_path(
        embeddings.directory, "retriever", wanted, Verifier(), settings.retriever
    )
    return load_for_questions(retriever).encode_questions(texts)


def _sampled(embeddings: Embeddings, size: int, scratch: Path) -> Embeddings:
    """An embeddings folder with `size` of the vectors."""
    from dprkit.embeddings.shards import Embeddings, write_shard
    from dprkit.indexes.faiss_index import spread_sample

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
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

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
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        try:
            measured = alone.submit(measure, folder, asked, gold, settings.topk).result()
        except BrokenProcessPool:
            raise ProcessError(
                f"the process that searched the {name} index was killed (out of memory?); "
                "leave it out of --types, or try on a --sample"
            ) from None
    shutil.rmtree(folder)
    return [Point(type=name, build_seconds=round(seconds, 2), **figures) for figures in measured]


def measure(folder: Path, asked: np.ndarray, gold: np.ndarray, topk: int) -> list[dict[str, Any]]:
    """An index at each depth its type has: recall of `gold` (Q, K), latency, speed, memory."""
    index = IndexFolder(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    before, measured = status_bytes("VmRSS"), []
    for depths in _depths(index):
        opened = index.open_dense(depths)
        opened.search(asked[:1], topk)
        began = time.perf_counter()
        rows = opened.search(asked, topk).rows
        rate = len(asked) / (time.perf_counter() - began)
        p50, p95 = _latency(opened, asked, topk)
        recall = _overlap(rows, gold)
        figures = {
            "factory": index.counts.get("factory", index.type),
            "recall": recall,
            "bytes": size,
            "memory": max(status_bytes("VmHWM") - before, 0),
            "p50_ms": p50,
            "p95_ms": p95,
            "per_second": round(rate, 1),
        }
        measured.append(figures | depths)
        if recall >= 0.9995:
            break
    return measured


def _depths(index: IndexFolder) -> list[dict[str, int]]:
    """Depths of search to try, growing."""
    kind = index.kind
    return kind.load_rules().depths_to_try(index.counts) if kind.has_depths else [{}]


def _latency(opened: Any, asked: np.ndarray, topk: int) -> tuple[float, float]:
    """Milliseconds of a single question: the median and the 95th percentile."""
    import numpy as np

    taken = []
    for vector in asked[:SINGLES]:
        began = time.perf_counter()
        opened.search(vector[None], topk)
        taken.append(1e3 * (time.perf_counter() - began))
    p50, p95 = np.percentile(taken, [50, 95]).round(3).tolist()
    return p50, p95


def _overlap(rows: np.ndarray, gold: np.ndarray) -> float:
    """The share of `gold` that is in `rows`, over all questions."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(rows.tolist(), gold.tolist(), strict=True))
    return round(hits / gold.size, 5)


# --- showing ------------------------------------------------------------------------------------


def draw(points: list[Point], target: float) -> bytes:
    """An SVG: recall against the median latency, and the size on disk of each type."""
    figure = svg.blank(10, 4.5)
    left, right = figure.subplots(1, 2)
    names = list({point.type: 0 for point in points})
    for name in names:
        of_type = [p for p in points if p.type == name]
        left.plot([p.p50_ms for p in of_type], [p.recall for p in of_type], marker="o", label=name)
    left.axhline(target, linestyle=":", color="grey")
    left.set(xlabel="median latency of one question (ms)", ylabel="recall")
    _few_labels(left, [point.p50_ms for point in points])
    left.legend()
    left.grid(alpha=0.3)
    right.barh(names, [_shown(points, name, target).bytes / 1e6 for name in names])
    right.set(xlabel="size on disk (MB)")
    return svg.render(figure)


def _few_labels(axis: Any, values: list[float]) -> None:
    """Scale the x axis for `values`, with labels that leave room between them."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    spread = max(values) / max(min(values), 1e-9)
    if spread < 10:
        return  # as it is, from one end to the other
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3) if spread < 1000 else (1,)))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(NullFormatter())
