"""search: questions -> rankings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from dprkit.data.ids import read_ids
from dprkit.data.questions import read_questions
from dprkit.data.rankings import write_ranking
from dprkit.data.trec import write_trec
from dprkit.errors import InputError, SettingsError
from dprkit.models.precision import settled
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.search.engine import DEPTH, Engine, HybridEngine
from dprkit.search.fusion import Fusion, tune
from dprkit.search.open_index import open_engines, open_folders
from dprkit.search.open_reranker import batch_size, refuse_rerank_settings, reranked
from dprkit.search.searcher import Searcher
from dprkit.settings import SearchSettings, required
from dprkit.store.atomic_files import write_file

if TYPE_CHECKING:
    from dprkit.indexes.indexed_passages import IndexedPassages


class SearchReport(msgspec.Struct):
    """What was searched and where the rankings are. `fusion`: how two indexes were put together.

    `passages`: how many were found for all questions together; `fewest` and `most` for one.
    `short`: questions for which fewer than `topk` were found.
    """

    questions: int
    topk: int
    fusion: Fusion | None
    outputs: list[str]
    passages: int = 0
    fewest: int = 0
    most: int = 0
    short: int = 0
    notes: list[str] = []


def search(settings: SearchSettings, run: Run = Run()) -> SearchReport:
    """Write a ranking for each of `settings.questions`, in their order, batch by batch."""
    if settings.questions is None:
        raise SettingsError("no questions given; name a file with --questions, or - for stdin")
    report = SearchReport(0, settings.topk, None, [settings.output])
    searcher = open_searcher(settings, run, report)
    write: Callable[[Ranking, BinaryIO], None] = write_trec
    if settings.format == "results":
        write = partial(write_ranking, texts=settings.texts)
    run.progress.start("searching", None, "questions")
    depths: list[int] = []
    empty: list[str] = []
    asked: set[str] = set()
    with write_file(settings.output) as file:
        questions = read_questions(settings.questions)
        together = batch_size(settings, settings.batch_size)
        rankings = searcher.rankings(questions, settings.topk, together)
        while batch := list(islice(rankings, together)):
            for ranking in batch:
                write(ranking, file)
                depths.append(len(ranking.hits))
                if settings.tune_on:
                    asked.add(ranking.question.question)
                empty += [] if ranking.hits else [ranking.question.id]
            file.flush()
            run.progress.advance(len(batch))
    run.progress.finish()
    report.questions, report.passages = len(depths), sum(depths)
    report.fewest, report.most = min(depths, default=0), max(depths, default=0)
    report.short = sum(count < settings.topk for count in depths)
    if settings.tune_on:
        _tell_tuned(settings.tune_on, asked, report, run)
    if empty:
        report.notes.append(f"found nothing for {len(empty):,} questions, such as {empty[0]!r}")
        run.progress.warn(report.notes[-1])
    return report


def _tell_tuned(path: str, asked: set[str], report: SearchReport, run: Run) -> None:
    """Warn where the weights were chosen by questions that are asked now."""
    tuned = {question.question for question in read_questions(path) if question.gold}
    if both := len(asked & tuned):
        report.notes.append(
            f"{both:,} of {len(asked):,} questions are in --tune-on {path} too: measured on them, "
            "the fusion looks better than it is"
        )
        run.progress.warn(report.notes[-1])


def open_searcher(settings: SearchSettings, run: Run, report: SearchReport) -> Searcher:
    """The index (or two) that `settings` name; what a user should know goes into the report."""
    _refuse_contradictions(settings)
    note = run.progress.note
    paths = [required(settings.index, "--index", "index")]
    paths += [settings.hybrid] if settings.hybrid is not None else []
    moved = {"retriever": settings.retriever, "passages": settings.passages}
    names = ("nprobe", "ef_search", "candidates")
    depths = {name: getattr(settings, name) for name in names}
    folders = open_folders(paths, moved, note)
    engines, passages = open_engines(folders, depths, note, settings.prompt)
    engine = engines[0]
    if settings.hybrid is not None:
        report.fusion = Fusion(method=settings.fusion, weights=settings.weights)
        if settings.tune_on:
            report.fusion = _tuned(settings.tune_on, engines, passages, report)
            note(report.notes[-1])
        engine = HybridEngine(engines, report.fusion)
    engine = reranked(engine, settled(settings), folders[0], passages, note)
    searcher = Searcher(engine, passages)
    reads_few = settings.rerank_by == "answers"  # and orders all
    if not reads_few and (settings.rerank_depth or settings.topk) < settings.topk:
        report.notes.append(
            f"--rerank-depth {settings.rerank_depth} is less than --topk {settings.topk}: only "
            "passages that are scored again are returned"
        )
        note(report.notes[-1])
    ids = read_ids(settings.only_ids) if settings.only_ids else set()
    if settings.only_ids and (absent := searcher.only(ids)):
        what = f"{settings.only_ids}: ids that the corpus lacks: {len(absent):,}"
        report.notes.append(f"{what}, such as {min(absent)}")
        if absent == ids:
            raise InputError(f"{report.notes[-1]}; name ids of the corpus")
        run.progress.warn(report.notes[-1])
    return searcher


def _refuse_contradictions(settings: SearchSettings) -> None:
    """Raise a SettingsError for settings that cannot all count."""
    refuse_rerank_settings(settings)
    wishes = {
        "--tune-on": settings.tune_on,
        "--weights": settings.weights,
        "--fusion": settings.fusion != SearchSettings().fusion,
    }
    given = [flag for flag, wish in wishes.items() if wish]
    if given and settings.hybrid is None:
        raise SettingsError(
            f"{given[0]}: there is one index only; name the other one with --hybrid"
        )
    if settings.tune_on and len(given) > 1:
        raise SettingsError(f"{given[1]} and --tune-on both set the fusion; give one of them")
    if settings.weights and (len(settings.weights) != 2 or not any(settings.weights)):
        shown = ",".join(f"{weight:g}" for weight in settings.weights)
        raise SettingsError(
            f"--weights {shown}: give two numbers, one for --index and one for --hybrid, "
            "of which one is above 0"
        )


def _tuned(
    path: str, engines: list[Engine], passages: IndexedPassages, report: SearchReport
) -> Fusion:
    """The fusion that finds the gold passages of the questions of `path` best."""
    questions = [question for question in read_questions(path) if question.gold]
    if not questions:
        raise InputError(f"{path}: no question names a gold passage to tune by")
    rows = passages.rows_of({id_ for question in questions for id_ in question.gold})
    gold = [[rows[id_] for id_ in question.gold if id_ in rows] for question in questions]
    texts = [question.question for question in questions]
    tuning = tune([engine.search(texts, DEPTH) for engine in engines], gold)
    fusion, value = tuning.best.fusion, tuning.best.value
    report.notes.append(
        f"fused by {fusion.method} with weights "
        f"{', '.join(f'{weight:.1f}' for weight in fusion.weights) or 'all the same'}: "
        f"{tuning.metric} {value:.4f} on {len(questions):,} questions of {path}"
    )
    return fusion
