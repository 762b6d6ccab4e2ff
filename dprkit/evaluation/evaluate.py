"""evaluate: how often an answer, and the gold passage, is among the best k."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from dprkit.data.answers import answer_flags, has_token, invalid_patterns
from dprkit.data.questions import read_questions
from dprkit.data.rankings import read_results, write_ranking
from dprkit.data.trec import write_trec
from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.evaluation.metrics import (
    MRR_DEPTH,
    bootstrap_interval,
    first_hit,
    mean_reciprocal_rank,
    recall_at,
    reciprocal_ranks,
    wilson_interval,
)
from dprkit.indexes.faiss_types import depths_of
from dprkit.indexes.lineage import check_index, places
from dprkit.progress import Run
from dprkit.records import Hit, Ranking
from dprkit.settings import EvaluateSettings, required
from dprkit.store.artifacts import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Check
from dprkit.store.manifests import Manifest, is_artifact, read_manifest
from dprkit.store.stage_files import StageFiles

Table = dict[str, dict[str, Any]]


class EvaluateReport(msgspec.Struct):
    """The metrics of a set of rankings, as shares, and where they are written."""

    questions: int
    metrics: Table
    """name -> depth k -> share."""
    counts: dict[str, int]
    """name -> questions that it is measured on."""
    intervals: Table
    """The same shape, with the low and high end of the 95 % interval."""
    inputs: dict[str, str]
    notes: list[str] = []
    outputs: list[str] = []


def evaluate(settings: EvaluateSettings, run: Run = Run()) -> EvaluateReport:
    """Search an index with questions, or take rankings that are there, and measure them.

    Writes results.jsonl (with has_answer), run.trec and metrics.json; only measures where there
    is no output folder, or where what it reads is stdin. Raises InputError, FormatError,
    MismatchError.
    """
    inputs = _inputs(settings)
    if settings.output_dir is None or "-" in inputs.values():
        return _measured(_rankings(settings, run), settings, run, Outputs(None))
    directory = Path(settings.output_dir)
    if settings.index is not None:
        check = Check(run.progress.note)
        check_index(settings.index, check, settings.retriever, settings.passages)
    more = _looked(settings.index) if settings.index else {}
    with draft(directory, "results", settings, inputs, run, more) as work:
        manifest = work.done or _evaluate(work, settings, run)
    report = msgspec.convert(manifest.counts, EvaluateReport)
    for note in report.notes if work.done else ():
        run.progress.note(note)
    names = ("metrics.json", "results.jsonl", "run.trec")
    report.outputs = [str(directory / name) for name in names]
    report.inputs = {name: known.identity for name, known in manifest.inputs.items()}
    return report


def _looked(index: str | Path) -> dict[str, int]:
    """How far a search of the index looks: its bytes do not tell, and its figures depend on it."""
    manifest = read_manifest(index, "index")
    if manifest.counts["type"] == "updated":
        below = filter(is_artifact, places(index, manifest.inputs["index"]))
        return next(map(_looked, below), {})
    return depths_of(manifest.counts)


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
        return {"results": settings.results}
    inputs = {
        "index": required(settings.index, "--index", "index"),
        "questions": required(settings.questions, "--questions", "questions"),
    }
    return inputs


def _evaluate(work: Draft, settings: EvaluateSettings, run: Run) -> Manifest:
    with ExitStack() as stack:
        outputs = Outputs(
            stack.enter_context(work.file("results.jsonl")),
            stack.enter_context(work.file("run.trec")),
        )
        report = _measured(_rankings(settings, run), settings, run, outputs)
    report.inputs = {name: known.identity for name, known in work.record.inputs.items()}
    with work.file("metrics.json") as file:
        figures = {
            "questions": report.questions,
            "metrics": report.metrics,
            "intervals": report.intervals,
            "counts": report.counts,
            "inputs": report.inputs,
        }
        file.write(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    return work.finish(msgspec.to_builtins(report))


class Outputs:
    """Where judged rankings go as they pass by: nowhere, or both files of a results artifact."""

    def __init__(self, results: Any, trec: Any = None) -> None:
        self.results, self.trec = results, trec

    def write(self, ranking: Ranking, texts: bool) -> None:
        if self.results is not None:
            write_ranking(ranking, self.results, texts)
            write_trec(ranking, self.trec)


def _rankings(settings: EvaluateSettings, run: Run) -> Iterator[Ranking]:
    """The rankings to measure: from a file, or searched for."""
    if settings.results is not None:
        yield from _refusing_empty(read_results(settings.results), settings.results)
        return
    from dprkit.search.open_index import open_index

    path = str(settings.questions)
    questions = list(read_questions(path))
    for question in questions:
        _refuse_empty_answer(question.answers, path, question.question)
    if not any(question.answers or question.gold for question in questions):
        raise _nothing_to_find(path)
    searcher = open_index(
        str(settings.index), settings.retriever, settings.passages, note=run.progress.note
    )
    run.progress.note(f"searching with {len(questions)} questions")
    if absent := searcher.absent({id_ for question in questions for id_ in question.gold}):
        run.progress.warn(
            f"{len(absent)} gold passages are not in the corpus and count as misses, "
            f"such as {min(absent)}"
        )
    yield from searcher.rankings(questions, max(settings.topk))


def _refusing_empty(rankings: Iterable[Ranking], path: str) -> Iterator[Ranking]:
    ranking = judged = None
    for ranking in rankings:
        question = ranking.question
        _refuse_empty_answer(question.answers, path, question.question)
        judged = judged or question.answers or question.gold or _flagged(ranking)
        yield ranking
    if ranking and not judged:
        raise InputError(
            f"{path}: no question has an answer or a gold passage to look for (in a TREC run none "
            "ever has); search again with evaluate --index INDEX --questions FILE, or use trec_eval"
        )


def _flagged(ranking: Ranking) -> bool:
    return any(hit.has_answer is not None for hit in ranking.hits)


def _refuse_empty_answer(answers: Iterable[str], path: str, question: str) -> None:
    for answer in answers:
        if not has_token(answer):
            problem = "an answer is empty and would match every passage; remove it"
            raise FormatError(path, f"question {question!r}", problem)


def _nothing_to_find(source: str | None) -> InputError:
    return InputError(
        f"{source}: no question has an answer or a gold passage to look for; add answers or "
        "passage_ids to it (docs/formats.md tells how, also of BEIR's qrels)"
    )


class _Tally:
    """What is kept of each ranking, which is a few numbers."""

    def __init__(self) -> None:
        self.answers: list[int | None] = []
        self.gold: list[int | None] = []
        """The rank of the first passage with an answer, and of the first gold one."""
        self.lengths: list[int] = []
        self.tied: list[range] = []
        """Depths at which equal scores decide whether a first hit counts."""
        self.flagged = self.without_answers = self.without_texts = self.bad_patterns = 0

    def add(self, ranking: Ranking, match: str) -> None:
        """Count a judged ranking."""
        question, hits, ranks = ranking.question, ranking.hits, []
        self.lengths.append(len(hits))
        flagged = any(hit.has_answer is not None for hit in hits)
        self.flagged += flagged
        if flagged or (question.answers and not hits):
            ranks.append(first_hit([bool(hit.has_answer) for hit in hits]))
            self.answers += ranks
        elif question.answers:
            self.without_texts += 1
        else:
            self.without_answers += 1
        if question.gold:
            named = set(question.gold)
            ranks.append(first_hit([hit.id in named for hit in hits]))
            self.gold.append(ranks[-1])
        self.tied += [depths for depths in (_tied(hits, rank) for rank in ranks) if depths]
        if match == "regex":
            self.bad_patterns += len(invalid_patterns(question.answers))


def _tied(hits: Sequence[Hit], rank: int | None) -> range:
    """The depths that cut through the passages whose score equals that of the one at `rank`."""
    if rank is None:
        return range(0)
    score, first, last = hits[rank - 1].score, rank, rank
    while first > 1 and hits[first - 2].score == score:
        first -= 1
    while last < len(hits) and hits[last].score == score:
        last += 1
    return range(first, last)


def _measured(
    rankings: Iterable[Ranking], settings: EvaluateSettings, run: Run, outputs: Outputs
) -> EvaluateReport:
    """Judge each ranking as it comes; memory is one ranking and a few numbers a question."""
    tally = _Tally()
    run.progress.start("judging", None, "questions")
    for ranking in rankings:
        judged = _judged(ranking, settings)
        outputs.write(judged, settings.texts)
        tally.add(judged, settings.match)
        run.progress.advance(1)
    run.progress.finish()
    source = settings.results or settings.questions
    if not tally.lengths:
        raise InputError(f"{source}: holds no question; there is nothing to measure")
    if tally.without_texts and not tally.flagged:
        tally.answers.clear()  # of rankings without a passage, which alone say nothing
    if not tally.answers and not tally.gold:
        if tally.without_texts:
            raise InputError(
                f"{source}: its passages have neither texts nor has_answer, so no answer can be "
                "looked for; write the rankings with their texts"
            )
        raise _nothing_to_find(source)
    topk = _depths(tally, settings)
    metrics, intervals = _tables(tally.answers, tally.gold, topk)
    counts = {"answer_recall": len(tally.answers), "passage_recall": len(tally.gold)}
    counts = {name: count for name, count in counts.items() if count}
    counts["mrr"] = len(_ranked_by(tally.answers, tally.gold))
    report = EvaluateReport(len(tally.lengths), metrics, counts, intervals, inputs={})
    _tell(report, tally, settings, topk, run)
    return report


def _depths(tally: _Tally, settings: EvaluateSettings) -> tuple[int, ...]:
    """The depths of `settings` that were measured.

    An index gives all that it finds. Rankings of a file may have been cut at the longest one.
    """
    if settings.results is None:
        return settings.topk
    longest = max(tally.lengths)
    depths = tuple(k for k in settings.topk if k <= longest)
    if not depths:
        raise InputError(
            f"{settings.results}: no ranking has more than {longest} passages, so nothing can be "
            f"measured at --topk {','.join(map(str, settings.topk))}; give a smaller depth"
        )
    return depths


def _tell(
    report: EvaluateReport,
    tally: _Tally,
    settings: EvaluateSettings,
    topk: tuple[int, ...],
    run: Run,
) -> None:
    """Add to the report what changes the meaning of its figures, and say it."""
    warn, note = run.progress.warn, run.progress.note
    deepest, cut_off = max(topk), settings.results is not None
    left_out = [f"@{k}" for k in settings.topk if k not in topk]
    if left_out:
        what = f"no ranking of {settings.results} has more than {max(tally.lengths)} passages"
        report.notes.append(f"not measured: {', '.join(left_out)}; {what}")
        warn(report.notes[-1])
    short = sum(length < deepest for length in tally.lengths)
    tied = sum(any(k in depths for k in topk) for depths in tally.tied)
    cut = "what was cut off counts as not found" if cut_off else "the index found no more"
    for count, what, say in (
        (tally.without_answers, "questions without answers, not in answer_recall", warn),
        (tally.without_texts, "questions whose passages have no texts, not in answer_recall", warn),
        (tally.bad_patterns, "answers that are no regular expression and match nothing", warn),
        (short, f"rankings of fewer than {deepest} passages ({cut})", warn if cut_off else note),
        (tally.lengths.count(0), "questions that found nothing and count as misses", warn),
        (tied, "first hits that a depth counts by the order of equal scores only", note),
    ):
        if count:
            report.notes.append(f"{what}: {count:,}")
            say(report.notes[-1])


def _judged(ranking: Ranking, settings: EvaluateSettings) -> Ranking:
    """The ranking with has_answer set from its texts; kept as it is where a file has none."""
    answers = ranking.question.answers
    if not answers or (settings.results and not any(hit.text for hit in ranking.hits)):
        return ranking
    flags = answer_flags(answers, [hit.text for hit in ranking.hits], settings.match)
    hits = (
        msgspec.structs.replace(hit, has_answer=flag)
        for hit, flag in zip(ranking.hits, flags, strict=True)
    )
    return Ranking(ranking.question, tuple(hits))


def _ranked_by(answers: list[int | None], gold: list[int | None]) -> list[int | None]:
    """What mrr is of: the gold passage where all questions name one, else the first answer."""
    return gold if len(gold) >= len(answers) else answers


def _tables(
    answers: list[int | None], gold: list[int | None], topk: tuple[int, ...]
) -> tuple[Table, Table]:
    """The metrics and their intervals: recall of answers and of gold passages, and MRR."""
    metrics: Table = {}
    intervals: Table = {}
    for name, first_hits in (("answer_recall", answers), ("passage_recall", gold)):
        if first_hits:
            shares = {str(k): recall_at(first_hits, k) for k in topk}
            metrics[name] = shares
            intervals[name] = {
                k: wilson_interval(share, len(first_hits)) for k, share in shares.items()
            }
    judged = _ranked_by(answers, gold)
    depth = min(MRR_DEPTH, max(topk))
    metrics["mrr"] = {str(depth): mean_reciprocal_rank(judged, depth)}
    intervals["mrr"] = {str(depth): bootstrap_interval(reciprocal_ranks(judged, depth))}
    return metrics, intervals
