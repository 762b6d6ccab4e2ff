"""evaluate: how often an answer, and the relevant passages, are among the best k.

a folder of BEIR                    -> questions, qrels, corpus     beir.py
a corpus and a model                -> an index         own_index.py
questions and an index, or a file   -> rankings         asked.py
answers of a reader                 -> their figures    answers.py
rankings                            -> their figures    shares.py, judging.py, measures.py
the figures of all questions        -> metrics          metrics.py, slices.py, statistics.py
what changes their meaning          -> notes            notes.py
all of these                        -> an artifact      _evaluate, per_question.py
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from dprkit.data.rankings import RESULTS
from dprkit.errors import InputError, SettingsError, need_extra
from dprkit.evaluation.answers import measured_answers, refuse_settings_of_rankings
from dprkit.evaluation.asked import (
    Asked,
    judged_questions,
    no_common_question,
    rankings_of_index,
    read_asked,
    search_depth,
)
from dprkit.evaluation.beir import asked_by_folder
from dprkit.evaluation.judging import (
    Figures,
    Judging,
    Tally,
    missing,
    with_measures,
)
from dprkit.evaluation.kilt_pages import measures_of_pages
from dprkit.evaluation.measures import FIRST_RANK_DEPTHS, Measure, by_qrels, parse
from dprkit.evaluation.metrics import ByDepth, Values, metrics_of, own_values, said_once
from dprkit.evaluation.notes import Note, notes_of
from dprkit.evaluation.own_index import make_index, paths_of, unless_previewed, with_own_index
from dprkit.evaluation.own_sizes import by_size
from dprkit.evaluation.per_question import PARQUET, PER_QUESTION, write_figures, write_parquet
from dprkit.evaluation.shares import Judge, Share, shares_of_file
from dprkit.evaluation.slices import metrics_of_rows, slices_of
from dprkit.indexes.index_folder import IndexFolder
from dprkit.models.precision import settled
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.search.open_reranker import refuse_rerank_settings
from dprkit.settings import EvaluateSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import SEARCH_LIMIT, Verifier
from dprkit.store.manifests import Manifest, asks_alone
from dprkit.store.stage_files import StageFiles

METRICS, TREC_RUN = "metrics.json", "run.trec"


class Slice(msgspec.Struct):
    """The metrics of some of the questions."""

    questions: int
    metrics: ByDepth
    intervals: ByDepth
    counts: dict[str, int]


class EvaluateReport(msgspec.Struct):
    """The metrics of a set of rankings, as shares, and where they are written."""

    questions: int
    metrics: ByDepth
    """name -> depth k -> share; None: undefined."""
    counts: dict[str, int]
    """name -> questions that it is measured on."""
    intervals: ByDepth
    """The same shape, with the low and high end of the 95 % interval."""
    inputs: dict[str, str]
    notes: list[str] = []
    missing: ByDepth = {}
    """How many of the questions had no ranking, and count 0."""
    unjudged: ByDepth = {}
    """How many questions have nothing that the measure judges by, and do not count."""
    tied: ByDepth = {}
    """How many rankings have equal scores at the depth and right below it."""
    slices: dict[str, dict[str, Slice]] = {}
    """What questions are told apart by -> its value -> the metrics of these questions."""
    sizes: dict[str, Slice] = {}
    """Of --truncate-dim: size of the vectors -> the metrics; the others here are the first's."""
    outputs: list[str] = []


def evaluate(settings: EvaluateSettings, run: Run = Run()) -> EvaluateReport:
    """Search an index with questions, or take rankings that are there, and measure them.

    Writes results.jsonl (with has_answer), run.trec, per_question.jsonl and metrics.json; only
    measures where there is no output folder, or where what it reads is stdin. Raises InputError,
    FormatError, MismatchError, SettingsError, MissingExtra.
    """
    refuse_rerank_settings(settings)
    if settings.parquet:
        need_extra("parquet", "pyarrow")
    settings = settled(with_own_index(asked_by_folder(settings)))
    inputs = _inputs(settings)
    if settings.corpus is not None:
        _measures(settings)  # a name that is unknown is refused before the corpus is encoded
        settings = make_index(settings, run)
        if settings.truncate_dim:
            return _at_sizes(settings, run)
    return _evaluated(settings, inputs, run)


def _at_sizes(settings: EvaluateSettings, run: Run) -> EvaluateReport:
    """The report of the first size, with the metrics of each."""
    (size, first), *others = by_size(settings)
    reports = {
        other: unless_previewed(lambda one, run: _evaluated(one, _inputs(one), run), one, run)
        for other, one in others
    }
    report = _evaluated(first, _inputs(first), run)
    for each, one in {size: report, **reports}.items():
        assert one is not None
        report.sizes[str(each)] = Slice(one.questions, one.metrics, one.intervals, one.counts)
        report.outputs += [] if one is report else one.outputs
    return report


def _evaluated(settings: EvaluateSettings, inputs: dict[str, str], run: Run) -> EvaluateReport:
    """The report of one set of rankings, which are written where there is an output folder."""
    output = None if "-" in inputs.values() else settings.output_dir
    folder = _index_folder(settings, run, SEARCH_LIMIT if output is None else math.inf)
    if output is None:
        report, _ = measured(settings, folder, run)
        return report
    directory = Path(output)
    # The bytes of an index do not tell its depths, and its figures depend on them.
    more = (_depths_of(folder, settings) if folder else {}) | _hub_name(settings)
    with draft(directory, "results", settings, inputs, run, more, ("split",)) as work:
        manifest = work.done or _evaluate(work, settings, folder, run)
    report = msgspec.convert(manifest.counts, EvaluateReport)
    for note in report.notes if work.done else ():
        run.progress.note(note)
    report.outputs = [str(directory / name) for name in sorted(manifest.files)]
    report.inputs = {name: known.identity for name, known in manifest.inputs.items()}
    return report


def files_of(settings: EvaluateSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    settings = with_own_index(asked_by_folder(settings))
    inputs = _inputs(settings)
    folder = None if "-" in inputs.values() else settings.output_dir
    if settings.corpus is not None:
        del inputs["index"]
        reads = {name: [path] for name, path in inputs.items()}
        for name, path in paths_of(settings):
            reads.setdefault(name, []).append(path)
        return StageFiles(reads, folder)
    moved = {"retriever": settings.retriever, "passages": settings.passages}
    reads = {name: [path] for name, path in {**inputs, **moved}.items() if path}
    return StageFiles(reads, folder, kinds={"index": "index", "retriever": "retriever"})


def _inputs(settings: EvaluateSettings) -> dict[str, str]:
    if settings.answers is not None:
        refuse_settings_of_rankings(settings)
        more = {} if settings.questions is None else {"questions": settings.questions}
        return {"answers": settings.answers} | more
    if settings.results is not None:
        if settings.index is not None:
            raise SettingsError("--index and --results both name rankings; give one of them")
        if settings.rerank is not None:
            raise SettingsError("--rerank is for the search of an index; leave it or --results out")
        if settings.prompt is not None:
            raise SettingsError("--prompt is for the search of an index; leave it or --results out")
        named = {"questions": settings.questions, "qrels": settings.qrels}
        return {"results": settings.results} | {name: p for name, p in named.items() if p}
    _check_depths(settings)
    inputs = {
        "index": required(settings.index, "--index", "index"),
        "questions": required(settings.questions, "--questions", "questions"),
    }
    if asks_alone(settings.retriever):
        inputs["retriever"] = str(settings.retriever)
    if settings.qrels is not None:
        inputs["qrels"] = settings.qrels
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
    depth = settings.rerank_depth
    if settings.rerank_by == "answers":
        return  # passages that are not read are found all the same
    if depth is not None and depth < (deepest := search_depth(settings)):
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
        write = None if settings.answers else _writer(work, stack)
        report, figures = measured(settings, folder, run, write)
    report.inputs = {name: known.identity for name, known in work.record.inputs.items()}
    with work.file(PER_QUESTION) as file:
        write_figures(figures, file)
    if settings.parquet:
        with work.file(PARQUET) as file:
            write_parquet(figures, file)
    with work.file(METRICS) as file:
        shown = msgspec.to_builtins(report)
        del shown["outputs"], shown["notes"], shown["sizes"]
        file.write(msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n")
    return work.finish(msgspec.to_builtins(report))


def _writer(work: Draft, stack: ExitStack) -> Callable[[Share], None]:
    """What writes rankings into an artifact, until the stack ends."""
    results, trec = (stack.enter_context(work.file(name)) for name in (RESULTS, TREC_RUN))

    def write(share: Share) -> None:
        results.write(share.results)
        trec.write(share.trec)

    return write


# --- measured -------------------------------------------------------------------------------------


def measured(
    settings: EvaluateSettings,
    folder: IndexFolder | None,
    run: Run,
    write: Callable[[Share], None] | None = None,
) -> tuple[EvaluateReport, list[Figures]]:
    """Judge rankings as they come and `write` them, or judge answers.

    Memory: some rankings, and some numbers a question.
    """
    if settings.answers is not None:
        return _measured_answers(settings, run)
    asked, measures, depth = read_asked(settings), _measures(settings), search_depth(settings)
    cuts = sorted({*settings.topk, *FIRST_RANK_DEPTHS, *(m.cut for m in measures if m.cut)})
    grades = None if asked.qrels is None else asked.qrels.grades
    labels = tuple(measure.label for measure in measures)
    judging = Judging(
        settings.match, tuple(cuts), labels, grades, settings.topk if settings.pages else ()
    )
    judge = Judge(judging, asked, settings, write is not None)
    count: int | None = None
    if folder:
        count = len(judged_questions(settings, asked))
        shares = judge.shares(rankings_of_index(settings, folder, asked, depth, run))
    else:
        shares = shares_of_file(judge, run)
    tally = _tally(shares, count, judge, run, write)
    _refuse_other_questions(tally, asked, settings)
    figures = tally.finish(str(settings.questions if folder else settings.results))
    reach = depth if folder else max(figure.hits for figure in figures)
    columns = (*measures, *(measures_of_pages(settings.topk) if settings.pages else ()))
    values = _values(settings, tally, figures, columns, reach)
    report = _report(figures, values, settings)
    defined = {one: bool(report.counts[one.name]) for one in values}
    _tell(notes_of(figures, tally, asked, settings, defined, measures), report, run)
    return report, _with_values(figures, values)


def _measured_answers(settings: EvaluateSettings, run: Run) -> tuple[EvaluateReport, list[Figures]]:
    figures, values, notes = measured_answers(settings, run)
    report = _report(figures, values, settings)
    _tell(notes, report, run)
    return report, _with_values(figures, values)


def _tell(notes: Iterable[Note], report: EvaluateReport, run: Run) -> None:
    for note, is_warning in notes:
        report.notes.append(note)
        (run.progress.warn if is_warning else run.progress.note)(note)


def _measures(settings: EvaluateSettings) -> tuple[Measure, ...]:
    """The measures of ir-measures that are asked for."""
    if settings.metrics is not None:
        return parse(settings.metrics)
    return by_qrels(settings.topk) if settings.qrels else ()


def _tally(
    shares: Iterator[Share],
    count: int | None,
    judge: Judge,
    run: Run,
    write: Callable[[Share], None] | None,
) -> Tally:
    """The figures of all rankings, `count` where that is known, and of questions that lack one."""
    tally, found = Tally(), set[str]()
    run.progress.start("judging", count, "questions")
    for share in shares:
        if write is not None:
            write(share)
        for judged in share.judged:
            tally.add(judged)
            found.add(judged.figures.id)
        run.progress.advance(len(share.judged))
    run.progress.finish()
    if found:
        absent = (Ranking(question, ()) for question in judge.asked.absent_from(found))
        for judged in judge.share(absent).judged:
            tally.add(missing(judged))
    return tally


def _refuse_other_questions(tally: Tally, asked: Asked, settings: EvaluateSettings) -> None:
    """Raise InputError for questions or judgements of others than the rankings are of."""
    if not tally.figures and asked.questions:
        raise InputError(
            f"{settings.results}: holds no ranking of a question in {settings.questions}, whose "
            f"first id is {next(iter(asked.questions))!r}; give the questions of these rankings"
        )
    there = [figures for figures in tally.figures if figures.missing is not True]
    if there and asked.qrels and not any(f.id in asked.qrels.grades for f in there):
        raise InputError(no_common_question(settings, there[0].id, asked.qrels))


def _values(
    settings: EvaluateSettings,
    tally: Tally,
    figures: list[Figures],
    measures: Sequence[Measure],
    reach: int,
) -> Values:
    """The values of the measures that are asked for, or that the rankings are deep enough for."""
    import numpy as np

    table = np.frombuffer(tally.values).reshape(len(figures), len(measures))
    depths = [k for k in settings.topk if k <= reach]
    own = said_once(own_values(figures, depths, reach), figures)
    if settings.qrels:  # by them, recall and success are those of ir-measures
        kept = ("answer_recall", "answer_mrr", *(() if settings.metrics else ("mrr",)))
        own = {measure: values for measure, values in own.items() if measure.name in kept}
    theirs = {
        measure: column
        for measure, column in zip(measures, table.T, strict=True)
        if measure.cut <= reach or (settings.metrics and not measure.name.startswith("page_"))
    }
    if not own and not theirs and not reach:
        raise InputError(f"{settings.results}: no ranking has a passage, so nothing was searched")
    if not own and not theirs:
        longest = f"{settings.results}: no ranking has more than {reach} passages"
        raise InputError(
            f"{longest}, so nothing can be measured at --topk "
            f"{','.join(map(str, settings.topk))}; give a smaller depth"
        )
    return own | theirs


def _with_values(figures: list[Figures], values: Values) -> list[Figures]:
    import numpy as np

    labels = [measure.label for measure in values]
    rows = np.stack(list(values.values()), axis=1).tolist()
    return [with_measures(one, labels, row) for one, row in zip(figures, rows, strict=True)]


def _report(
    figures: Sequence[Figures], values: Values, settings: EvaluateSettings
) -> EvaluateReport:
    metrics = metrics_of(values, figures, settings.seed)
    slices: dict[str, dict[str, Slice]] = {}
    for by in settings.by:
        slices[by] = {}
        for value, rows in slices_of(by, figures).items():
            own = metrics_of_rows(values, figures, rows, settings.seed)
            slices[by][value] = Slice(len(rows), own.values, own.intervals, own.counts)
    return EvaluateReport(
        questions=len(figures),
        metrics=metrics.values,
        counts=metrics.counts,
        intervals=metrics.intervals,
        inputs={},
        missing=metrics.missing,
        unjudged=metrics.unjudged,
        tied=metrics.tied,
        slices=slices,
    )
