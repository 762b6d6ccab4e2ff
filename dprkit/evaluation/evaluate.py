"""evaluate: how often an answer, and the gold passage, is among the best k."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from dprkit.artifacts import Draft, draft
from dprkit.data.answers import answer_flags, invalid_patterns
from dprkit.data.questions import read_questions
from dprkit.data.rankings import read_results, write_ranking
from dprkit.data.trec import write_trec
from dprkit.errors import EmptyAnswer, FormatError, InputError, SettingsError
from dprkit.evaluation.metrics import (
    MRR_DEPTH,
    bootstrap_interval,
    first_hit,
    mean_reciprocal_rank,
    recall_at,
    reciprocal_ranks,
    wilson_interval,
)
from dprkit.manifests import Manifest
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.settings import EvaluateSettings, required

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
    with draft(directory, "results", settings, inputs, run) as work:
        manifest = work.done or _evaluate(work, settings, run)
    report = msgspec.convert(manifest.counts, EvaluateReport)
    names = ("metrics.json", "results.jsonl", "run.trec")
    report.outputs = [str(directory / name) for name in names]
    report.inputs = {name: known.identity for name, known in manifest.inputs.items()}
    return report


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

    def write(self, ranking: Ranking) -> None:
        if self.results is not None:
            write_ranking(ranking, self.results)
            write_trec(ranking, self.trec)


def _rankings(settings: EvaluateSettings, run: Run) -> Iterator[Ranking]:
    """The rankings to measure: from a file, or searched for."""
    if settings.results is not None:
        yield from _refusing_empty(read_results(settings.results), settings.results)
        return
    from dprkit.retrieval.opening import open_index

    path = str(settings.questions)
    questions = list(read_questions(path))
    for question in questions:
        _refuse_empty_answer(question.answers, path, question.question)
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
    for ranking in rankings:
        _refuse_empty_answer(ranking.question.answers, path, ranking.question.question)
        yield ranking


def _refuse_empty_answer(answers: Iterable[str], path: str, question: str) -> None:
    for answer in answers:
        if not answer.strip():
            problem = "an answer is empty and would match every passage; remove it"
            raise FormatError(path, f"question {question!r}", problem)


def _measured(
    rankings: Iterable[Ranking], settings: EvaluateSettings, run: Run, outputs: Outputs
) -> EvaluateReport:
    """Judge each ranking as it comes; memory is one ranking and two numbers a question."""
    answers: list[int | None] = []
    gold: list[int | None] = []
    unjudged = bad_patterns = questions = shallow = 0
    run.progress.start("judging", None, "questions")
    for ranking in rankings:
        judged = _judged(ranking, settings.match)
        outputs.write(judged)
        questions += 1
        shallow += len(judged.hits) < max(settings.topk)
        if ranking.question.answers or any(h.has_answer is not None for h in ranking.hits):
            answers.append(first_hit([bool(hit.has_answer) for hit in judged.hits]))
        else:
            unjudged += 1
        if ranking.question.gold:
            named = set(ranking.question.gold)
            gold.append(first_hit([hit.id in named for hit in judged.hits]))
        if settings.match == "regex":
            bad_patterns += len(invalid_patterns(ranking.question.answers))
        run.progress.advance(1)
    run.progress.finish()
    source = settings.results or settings.questions
    if not questions:
        raise InputError(f"{source}: holds no question; there is nothing to measure")
    if not answers and not gold:
        raise InputError(f"{source}: no question has an answer or a gold passage to look for")
    metrics, intervals = _tables(answers, gold, settings.topk)
    counts = {"answer_recall": len(answers), "passage_recall": len(gold)}
    counts = {name: count for name, count in counts.items() if count}
    counts["mrr"] = len(_ranked_by(answers, gold))
    report = EvaluateReport(questions, metrics, counts, intervals, inputs={})
    _note(report, unjudged, "questions without answers count in no answer recall", run)
    _note(report, bad_patterns, "answers are no valid regular expression and match nothing", run)
    _note(report, shallow, f"rankings have fewer than {max(settings.topk)} passages", run)
    return report


def _note(report: EvaluateReport, count: int, what: str, run: Run) -> None:
    if count:
        report.notes.append(f"{count} {what}")
        run.progress.warn(f"{count} {what}")


def _judged(ranking: Ranking, match: str) -> Ranking:
    """The ranking with has_answer set from its texts; kept as it is where there are none."""
    answers = ranking.question.answers
    if not answers or not any(hit.text for hit in ranking.hits):
        return ranking
    try:
        flags = answer_flags(answers, [hit.text for hit in ranking.hits], match)
    except EmptyAnswer as error:
        raise InputError(f"question {ranking.question.question!r}: {error}") from None
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
