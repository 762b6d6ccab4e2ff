"""tune-index of token vectors: first stages, pooling and number types against late-exact.

What is tried is each type, each first stage of `late`, and each way to keep the token vectors, all
made from the shards that are there: no passage is encoded again. A first stage reads the means,
which pooling and number types leave as they are, so it is built once.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dprkit.data.corpus_by_row import PassageFile
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_pooling import pooled
from dprkit.embeddings.token_shards import (
    TOKENS,
    AnyTokens,
    PassageTokens,
    TokenShards,
    as_float,
    growing_token_shard,
)
from dprkit.indexes.build import index
from dprkit.indexes.find_inputs import input_path
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.kinds import WITH_WORDS
from dprkit.indexes.late import LateIndex
from dprkit.indexes.late_exact import LateExactIndex
from dprkit.indexes.late_scores import LateQuestions
from dprkit.indexes.late_settings import VECTORS, WORDS
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
    success,
)
from dprkit.indexes.tuning_points import Point
from dprkit.memory import status_bytes
from dprkit.models.token_vectors import TokenVectors, quantized
from dprkit.progress import Run
from dprkit.records import Question
from dprkit.settings import IndexSettings, TuneSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.disk_room import check_room
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier

_ROWS = 1024
"""Passages of a sample that are copied at a time."""


class Kept(NamedTuple):
    """A way to keep token vectors."""

    pool_factor: int
    dtype: str


class Try(NamedTuple):
    """What is built and measured."""

    kept: Kept
    type: str
    first_stage: str


class Asked(NamedTuple):
    """The questions, and what is to be found."""

    questions: LateQuestions
    truth: np.ndarray
    """(Q, K): the best rows by late-exact over the embeddings as they are."""
    gold: list[list[int]]
    """For each question the rows of its gold passages."""
    topk: int


def measure_late(work: Draft, settings: TuneSettings, scratch: Path) -> Measured:
    """Build and measure `settings.types`, with all first stages and ways to keep tokens."""
    whole = Embeddings(str(settings.embeddings))
    questions = questions_of(settings)
    encoded = _encoded(questions, whole, settings)
    given = _sampled(whole, settings, scratch / "sample")
    asked = Asked(
        encoded, _truth(work, given, encoded, settings), _gold(given, questions), settings.topk
    )
    tries = _tries(settings)
    work.run.progress.start("trying", len(tries), "variants")
    points = msgspec.convert(work.state.get("points", []), list[Point])
    bench = _Bench(settings, given, scratch)
    for one in tries:
        if one not in {Try(Kept(p.pool_factor, p.dtype), p.type, p.first_stage) for p in points}:
            points += bench.measured(one, asked)
            work.state["points"] = msgspec.to_builtins(points)
            work.save()
        work.run.progress.advance(1)
    work.run.progress.finish()
    return Measured(points, given.count, len(questions))


def _tries(settings: TuneSettings) -> list[Try]:
    """All that is tried; what shares token vectors stands together."""
    stages = {"late": settings.first_stages}
    kinds = [(name, stage) for name in settings.types or () for stage in stages.get(name, ("",))]
    kept = map(Kept._make, product(settings.pool_factors, settings.dtypes))
    return [Try(one, *kind) for one, kind in product(kept, kinds)]


# --- what is asked ------------------------------------------------------------------------------


def _encoded(
    questions: Sequence[Question], embeddings: Embeddings, settings: TuneSettings
) -> LateQuestions:
    from dprkit.models.retriever import load_late_retriever

    texts = [question.question for question in questions]
    retriever = load_late_retriever(retriever_of(embeddings, settings))
    return LateQuestions(texts, retriever.question_vectors(texts))


def _truth(
    work: Draft, embeddings: Embeddings, questions: LateQuestions, settings: TuneSettings
) -> np.ndarray:
    """The best rows (Q, K), which a run that was killed has found already."""
    if "truth" not in work.state:
        found = LateExactIndex(TokenShards(embeddings)).search(questions, settings.topk)
        work.state["truth"] = found.rows.tolist()
        work.save()
    return np.array(work.state["truth"], np.int64)


def _gold(embeddings: Embeddings, questions: Sequence[Question]) -> list[list[int]]:
    wanted = {id_ for question in questions for id_ in question.gold}
    ids = embeddings.ids() if wanted else []
    rows = {id_: row for row, id_ in enumerate(ids) if id_ in wanted}
    return [[rows[id_] for id_ in question.gold if id_ in rows] for question in questions]


# --- what is built ------------------------------------------------------------------------------


class _Bench:
    """What is built to be measured: the first stages, and token vectors of one kind at a time."""

    def __init__(self, settings: TuneSettings, given: Embeddings, scratch: Path) -> None:
        self.settings, self.given, self.scratch = settings, given, scratch
        self.seconds: dict[Path, float] = {}
        """How long it took to make what lies in a folder."""

    def measured(self, one: Try, asked: Asked) -> list[Point]:
        """The points of what is tried, each at another depth."""
        embeddings = self._kept(one.kept)
        folder = self._first_stage(one.first_stage) if one.first_stage else None
        seconds = sum(self.seconds.get(path, 0.0) for path in (embeddings, folder) if path)
        found = alone(one.type, measure, folder, embeddings, asked)
        about = {"type": one.type, "first_stage": one.first_stage, **one.kept._asdict()}
        return [Point(build_seconds=round(seconds, 2), **about, **figures) for figures in found]

    def _first_stage(self, name: str) -> Path:
        """An index of type late over the embeddings that are given."""
        folder = self.scratch / f"first-{re.sub('[^A-Za-z0-9]+', '-', name)}"
        if folder not in self.seconds:
            wish = IndexSettings(
                embeddings=str(self.given.directory),
                output_dir=str(folder),
                type="late",
                first_stage=name,
                max_ram=self.settings.max_ram,
                target_recall=self.settings.target_recall,
            )
            began = time.monotonic()
            index(wish)
            self.seconds[folder] = time.monotonic() - began
        return folder

    def _kept(self, kept: Kept) -> Path:
        """Embeddings with token vectors kept so; those of before are thrown away."""
        if kept == (1, TokenShards(self.given).dtype):
            return self.given.directory
        folder = self.scratch / f"pool{kept.pool_factor}-{kept.dtype}"
        if folder not in self.seconds:
            for before in self.scratch.glob("pool*"):
                shutil.rmtree(before)
            began = time.monotonic()
            _write(self.given, TokenShards(self.given).blocks(), kept, folder)
            self.seconds[folder] = time.monotonic() - began
        return folder


def _write(
    given: Embeddings,
    blocks: Iterator[tuple[np.ndarray | int, AnyTokens]],
    kept: Kept,
    folder: Path,
    count: int = 0,
    passages: str = "",
) -> None:
    """Embeddings of one shard, of `count` passages or all, their token vectors in blocks.

    A block comes with its first row, or all its rows.
    """
    ids, inputs = given.ids(), dict(given.manifest.inputs)
    count = count or given.count
    bytes_each = TokenShards(given).tokens / given.count * given.dim * np.dtype(kept.dtype).itemsize
    check_room(folder, int(count * bytes_each / kept.pool_factor))
    made_from: dict[str, Any] = {**inputs, **({"passages": passages} if passages else {})}
    with draft(folder, "embeddings", kept._asdict(), made_from, Run()) as work:
        tokens = 0
        with growing_token_shard(work, 0, count, given.dim, kept.dtype) as write:
            for first, block in blocks:
                rows = first if isinstance(first, np.ndarray) else first + np.arange(len(block))
                made = _as_kept(block, kept)
                nobody = np.zeros(len(rows), np.uint64)
                means = given.take(rows)
                names = [ids[row] for row in rows.tolist()]
                write(PassageTokens(means, made, nobody.astype(bool)), names, nobody)
                tokens += len(made.values)
        counts = {"passages": count, "dim": given.dim, "shards": 1, "kind": TOKENS}
        work.finish({**counts, "tokens": tokens, "cut": 0})


def _as_kept(tokens: AnyTokens, kept: Kept) -> AnyTokens:
    if kept.pool_factor == 1 and not isinstance(tokens, TokenVectors):
        return tokens
    made = pooled(as_float(tokens), kept.pool_factor)
    if kept.dtype == "int8":
        return quantized(made)
    return TokenVectors(made.values.astype(kept.dtype, copy=False), made.bounds)


def _sampled(whole: Embeddings, settings: TuneSettings, folder: Path) -> Embeddings:
    """The embeddings, or some `settings.sample` of their passages, spread over the corpus."""
    size = settings.sample
    if not 0 < size < whole.count:
        return whole
    rows = np.arange(size) * whole.count // size
    shards = TokenShards(whole)
    pieces = [rows[begin : begin + _ROWS] for begin in range(0, size, _ROWS)]
    blocks = ((piece, shards.take(piece)) for piece in pieces)
    worded = any(stage.endswith(WITH_WORDS) for stage in settings.first_stages)
    corpus = _sampled_corpus(whole, rows, folder.with_suffix(".jsonl")) if worded else ""
    _write(whole, blocks, Kept(1, shards.dtype), folder, size, corpus)
    return Embeddings(folder)


def _sampled_corpus(whole: Embeddings, rows: np.ndarray, path: Path) -> str:
    """A file of these passages, for the first stages that count words."""
    corpus = input_path(whole.directory, "passages", whole.manifest.inputs["passages"], Verifier())
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = map(msgspec.json.encode, PassageFile(corpus).at(rows.tolist()))
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


# --- measuring ----------------------------------------------------------------------------------


def measure(folder: Path | None, embeddings: Path, asked: Asked) -> list[dict[str, Any]]:
    """An index at each depth: what it finds, latency, speed, memory, bytes on disk.

    `folder`: a late index whose first stage is used; None is late-exact. `embeddings`: whose token
    vectors rank.
    """
    questions, before, measured = asked.questions, status_bytes("VmRSS"), []
    about = {
        "factory": IndexFolder(folder).counts[VECTORS]["type"] if folder else "late-exact",
        "bytes": bytes_in(embeddings) + (bytes_in(folder) if folder else 0),
    }
    singles = [questions.span(n, n + 1) for n in range(min(SINGLES, len(questions)))]
    for depths, opened in _opened(folder, TokenShards(Embeddings(embeddings))):
        search = partial(opened.search, topk=asked.topk)
        rows, figures = figures_of(search, questions, singles, asked.truth)
        figures |= {"success": success(rows, asked.gold), "memory": memory_since(before)}
        measured.append({**about, **figures, **depths})
        if figures["recall"] >= ENOUGH:
            break
    return measured


def _opened(folder: Path | None, shards: TokenShards) -> Iterator[tuple[dict[str, int], Any]]:
    """The index at each depth to try, growing."""
    if folder is None:
        yield {}, LateExactIndex(shards)
        return
    index = IndexFolder(folder)
    first = index.part(index.counts[VECTORS]).open_dense()
    words = index.part(index.counts[WORDS]).open() if WORDS in index.counts else None
    for depths in index.kind.load_rules().depths_to_try(index.counts):
        yield {**index.depths, **depths}, LateIndex(shards, first, words, depths["candidates"])
        if depths["candidates"] >= shards.count:
            return
