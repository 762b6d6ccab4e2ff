"""evaluate: how often an answer, and the gold passages, are among the best k.

questions and an index, or a file   -> rankings         rankings_of_index, rankings_of_file
a ranking                           -> its figures      judging.py
the figures of all questions        -> metrics          metrics.py, statistics.py
all of these                        -> an artifact      _evaluate
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from dprkit.data.json_decoding import json_lines
from dprkit.data.questions import read_questions
from dprkit.data.rankings import RESULTS, read_results, write_ranking
from dprkit.data.trec import write_trec
from dprkit.errors import InputError, SettingsError
from dprkit.evaluation.judging import Figures, Tally, refuse_empty_answer, with_flags
from dprkit.evaluation.metrics import ByDepth, metrics_of
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.search.open_reranker import refuse_rerank_settings
from dprkit.settings import EvaluateSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import SEARCH_LIMIT, Verifier
from dprkit.store.manifests import Manifest
from dprkit.store.stage_files import StageFiles

METRICS, PER_QUESTION, TREC_RUN = "metrics.json", "per_question.jsonl", "run.trec"


class EvaluateReport(msgspec.Struct):
    """The metrics of a set of rankings, as shares, and where they are written."""

    questions: int
    metrics: ByDepth
    """name -> depth k -> share."""
    counts: dict[str, int]
    """name -> questions that it is measured on."""
    intervals: ByDepth
    """The same shape, with the low and high end of the 95 % interval."""
    inputs: dict[str, str]
    notes: list[str] = []
    outputs: list[str] = []


def evaluate(settings: EvaluateSettings, run: Run = Run()) -> EvaluateReport:
    """Search an index with questions, or take rankings that are there, and measure them.

    Writes results.jsonl (with has_answer), run.trec, per_question.jsonl and metrics.json; only
    measures where there is no output folder, or where what it reads is stdin. Raises InputError,
    FormatError, MismatchError.
    """
    refuse_rerank_settings(settings)
    inputs = _inputs(settings)
    output = None if "-" in inputs.values() else settings.output_dir
    folder = _index_folder(settings, run, SEARCH_LIMIT if output is None else math.inf)
    if output is None:
        report, _ = _measured(settings, folder, run)
        return report
    directory = Path(output)
    # The bytes of an index do not tell its depths, and its figures depend on them.
    more = (_depths_of(folder, settings) if folder else {}) | _hub_name(settings)
    with draft(directory, "results", settings, inputs, run, more) as work:
        manifest = work.done or _evaluate(work, settings, folder, run)
    report = msgspec.convert(manifest.counts, EvaluateReport)
    for note in report.notes if work.done else ():
        run.progress.note(note)
    report.outputs = [str(directory / name) for name in sorted(manifest.files)]
    report.inputs = {name: known.identity for name, known in manifest.inputs.items()}
    return report


def files_of(settings: EvaluateSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    inputs = _inputs(settings)
    moved = {"retriever": settings.retriever, "passages": settings.passages}
    reads = {name: [path] for name, path in {**inputs, **moved}.items() if path}
    folder = None if "-" in inputs.values() else settings.output_dir
    return StageFiles(reads, folder, kinds={"index": "index", "retriever": "retriever"})


def _inputs(settings: EvaluateSettings) -> dict[str, str]:
    if settings.results is not None:
        if settings.index is not None:
            raise SettingsError("--index and --results both name rankings; give one of them")
        if settings.questions is not None:
            raise SettingsError("--results has its questions in it; leave --questions out")
        if settings.rerank is not None:
            raise SettingsError("--rerank is for the search of an index; leave it or --results out")
        return {"results": settings.results}
    _check_depths(settings)
    inputs = {
        "index": required(settings.index, "--index", "index"),
        "questions": required(settings.questions, "--questions", "questions"),
    }
    if settings.rerank is not None and not _hub_name(settings):
        inputs["rerank"] = settings.rerank
    if settings.rerank_embeddings is not None:
        inputs["rerank_embeddings"] = settings.rerank_embeddings
    return inputs


def _depths_of(folder: IndexFolder, settings: EvaluateSettings) -> dict[str, int]:
    """How far the index is searched: as it was built, but for what the settings say."""
    depths = folder.depths
    if settings.candidates and "candidates" in depths:
        depths["candidates"] = settings.candidates
    return depths


def _hub_name(settings: EvaluateSettings) -> dict[str, str]:
    """What a manifest keeps of a model that is a hub's name, and so no input; or nothing."""
    path = settings.rerank
    return {} if path is None or Path(path).exists() else {"rerank": path}


def _check_depths(settings: EvaluateSettings) -> None:
    depth, deepest = settings.rerank_depth, max(settings.topk)
    if depth is not None and depth < deepest:
        raise SettingsError(
            f"--topk {deepest} and --rerank-depth {depth}: only passages that are scored again are "
            f"in a ranking; give --rerank-depth {deepest}, or a smaller --topk"
        )


def _index_folder(settings: EvaluateSettings, run: Run, limit: float) -> IndexFolder | None:
    """The index to search, unchanged as far as reading `limit` bytes can tell."""
    if settings.index is None:
        return None
    moved = {"retriever": settings.retriever, "passages": settings.passages}
    folder = IndexFolder(settings.index, Verifier(run.progress.note, limit), moved)
    folder.verify()
    return folder


def _evaluate(
    work: Draft, settings: EvaluateSettings, folder: IndexFolder | None, run: Run
) -> Manifest:
    with ExitStack() as stack:
        results, trec = (stack.enter_context(work.file(name)) for name in (RESULTS, TREC_RUN))

        def write(ranking: Ranking) -> None:
            write_ranking(ranking, results, settings.texts)
            write_trec(ranking, trec)

        report, all_figures = _measured(settings, folder, run, write)
    report.inputs = {name: known.identity for name, known in work.record.inputs.items()}
    with work.file(PER_QUESTION) as file:
        lines = json_lines(file)
        for figures in all_figures:
            lines.write(figures)
    with work.file(METRICS) as file:
        names = ("questions", "metrics", "intervals", "counts", "inputs")
        shown = {name: getattr(report, name) for name in names}
        file.write(msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n")
    return work.finish(msgspec.to_builtins(report))


def _measured(
    settings: EvaluateSettings,
    folder: IndexFolder | None,
    run: Run,
    write: Callable[[Ranking], None] = lambda _: None,
) -> tuple[EvaluateReport, list[Figures]]:
    """Judge each ranking as it comes and `write` it. Memory is one, and some numbers a question."""
    tally = Tally(settings.match)
    run.progress.start("judging", None, "questions")
    rankings = (
        rankings_of_index(settings, folder, run) if folder else rankings_of_file(settings, run)
    )
    for ranking in rankings:
        # Where a file has no texts, has_answer is kept as it is.
        if ranking.question.answers and (folder or any(hit.text for hit in ranking.hits)):
            ranking = with_flags(ranking, settings.match)
        write(ranking)
        tally.add(ranking)
        run.progress.advance(1)
    run.progress.finish()
    figures = tally.finish(str(settings.questions if folder else settings.results))
    depths = _depths(figures, settings)
    metrics = metrics_of(figures, depths)
    report = EvaluateReport(len(figures), metrics.values, metrics.counts, metrics.intervals, {})
    _tell(report, tally, settings, depths, run)
    return report, figures


# --- rankings -------------------------------------------------------------------------------------


def rankings_of_file(settings: EvaluateSettings, run: Run) -> Iterator[Ranking]:
    """The rankings that are there."""
    path = str(settings.results)
    for ranking in read_results(path, run.progress.warn):
        refuse_empty_answer(ranking.question, path)
        yield ranking


def rankings_of_index(
    settings: EvaluateSettings, folder: IndexFolder, run: Run
) -> Iterator[Ranking]:
    """The rankings of all questions, searched for."""
    from dprkit.search.open_index import open_engines
    from dprkit.search.open_reranker import reranked
    from dprkit.search.searcher import Searcher

    path = str(settings.questions)
    questions = list(read_questions(path))
    for question in questions:
        refuse_empty_answer(question, path)
    if not any(question.answers or question.gold for question in questions):
        raise InputError(
            f"{path}: no question has an answer or a gold passage to look for; add answers or "
            "passage_ids to it (docs/formats.md tells how, also of BEIR's qrels)"
        )
    depths = {"candidates": settings.candidates}
    (engine,), passages = open_engines([folder], depths, run.progress.note)
    engine = reranked(engine, settings, folder, passages, run.progress.note)
    searcher = Searcher(engine, passages)
    run.progress.note(f"searching with {len(questions)} questions")
    if absent := searcher.absent({id_ for question in questions for id_ in question.gold}):
        run.progress.warn(
            f"{len(absent)} gold passages are not in the corpus and count as misses, "
            f"such as {min(absent)}"
        )
    yield from searcher.rankings(questions, max(settings.topk))


# --- what is said of the figures ------------------------------------------------------------------


def _depths(figures: list[Figures], settings: EvaluateSettings) -> tuple[int, ...]:
    """The depths of `settings` that were measured.

    An index gives all that it finds. Rankings of a file may have been cut at the longest one.
    """
    if settings.results is None:
        return settings.topk
    longest = max(question.hits for question in figures)
    depths = tuple(k for k in settings.topk if k <= longest)
    if not depths:
        raise InputError(
            f"{settings.results}: no ranking has more than {longest} passages, so nothing can be "
            f"measured at --topk {','.join(map(str, settings.topk))}; give a smaller depth"
        )
    return depths


def _tell(
    report: EvaluateReport,
    tally: Tally,
    settings: EvaluateSettings,
    depths: tuple[int, ...],
    run: Run,
) -> None:
    """Add to the report what changes the meaning of its figures, and say it."""
    warn, note = run.progress.warn, run.progress.note
    lengths = [question.hits for question in tally.figures]
    deepest, cut_off = max(depths), settings.results is not None
    left_out = [f"@{k}" for k in settings.topk if k not in depths]
    if left_out:
        what = f"no ranking of {settings.results} has more than {max(lengths)} passages"
        report.notes.append(f"not measured: {', '.join(left_out)}; {what}")
        warn(report.notes[-1])
    short = sum(length < deepest for length in lengths)
    tied = sum(any(k in range_ for k in depths) for range_ in tally.tied)
    cut = "what was cut off counts as not found" if cut_off else "the index found no more"
    for count, what, say in (
        (tally.without_answers, "questions without answers, not in answer_recall", warn),
        (tally.without_texts, "questions whose passages have no texts, not in answer_recall", warn),
        (tally.bad_patterns, "answers that are no regular expression and match nothing", warn),
        (short, f"rankings of fewer than {deepest} passages ({cut})", warn if cut_off else note),
        (lengths.count(0), "questions that found nothing and count as misses", warn),
        (tied, "first hits that a depth counts by the order of equal scores only", note),
    ):
        if count:
            report.notes.append(f"{what}: {count:,}")
            say(report.notes[-1])
