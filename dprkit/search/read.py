"""read: rankings -> the answers that a reader finds in their passages.

rankings            -> batches of questions, their distinct pairs read once     _Answering
what a reader says  -> an answer from each depth                                answer_choice.py
answers             -> a stream, or an artifact that grows batch by batch       read, _grown
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.answer_scores import exact_match, token_f1
from dprkit.data.answers import ANSWERS, Answered, write_answered
from dprkit.data.rankings import placed_results, results_file
from dprkit.errors import FormatError, SettingsError
from dprkit.models.precision import settled
from dprkit.models.reader_config import load_reader_config
from dprkit.progress import Run
from dprkit.records import Passage, Ranking
from dprkit.settings import ReadSettings, required
from dprkit.store.atomic_files import sync, write_file
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import Manifest
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    from dprkit.search.answer_choice import Reads

GROWING = "growing.jsonl"
"""The file of answers while it grows."""
SHOWN = 5
"""Answers that the report has, for people."""


class Shown(msgspec.Struct):
    """An answer for people: from the deepest depth."""

    question: str
    answer: str
    passage: str
    """Its title, or its id."""
    rank: int | None
    score: float | None


class ReadReport(msgspec.Struct):
    """What was read, and how many answers are right."""

    depths: list[int]
    questions: int = 0
    pairs: int = 0
    """Questions with a passage that were read."""
    answered: int = 0
    """Questions that have answers to compare with."""
    exact_match: dict[str, float] = {}
    """Depth -> the share of them that is answered exactly."""
    f1: dict[str, float] = {}
    """Depth -> the mean F1."""
    unread: int = 0
    """Questions without a passage in which an answer could be."""
    longest: int = 0
    """Passages of the longest ranking."""
    short: int = 0
    """Rankings with fewer passages than the deepest depth."""
    shown: list[Shown] = []
    outputs: list[str] = []
    empty: int = 0
    """Passages without a text."""
    notes: list[str] = []


def read(settings: ReadSettings, run: Run = Run()) -> ReadReport:
    """Answer the question of each ranking of `settings.results`, in their order.

    Memory: a batch of rankings, and the ids of all questions. Raises InputError for a model that
    is no reader, FormatError for rankings without texts.
    """
    files, settings = files_of(settings), settled(settings)
    load_reader_config(str(settings.reader))
    Verifier(run.progress.note).artifact(str(settings.reader), "reader")
    if files.folder is None:
        report = _empty(settings)
        output = str(settings.streams_to)
        with write_file(output) as file:
            for batch in _Answering(settings, run).batches(report):
                for answered in batch:
                    write_answered(answered, file)
                file.flush()
        report.outputs = [output]
        return _told(report, settings, run)
    directory = Path(files.folder)
    inputs = {"results": str(settings.results), "reader": str(settings.reader)}
    with draft(directory, "answers", settings, inputs, run) as work:
        manifest = work.done or _grown(work, settings, run)
    report = msgspec.convert(manifest.counts, ReadReport)
    report.outputs = [str(directory / name) for name in sorted(manifest.files)]
    return report


def files_of(settings: ReadSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    reads = {
        "reader": [required(settings.reader, "--reader", "reader")],
        "results": [required(settings.results, "--results", "rankings")],
    }
    if "-" in reads["reader"]:
        raise SettingsError("--reader: a reader is a folder; name it")
    kinds = {"reader": "reader"}
    if settings.streams_to is not None:
        return StageFiles(reads, files=(settings.streams_to,), kinds=kinds)
    return StageFiles(reads, required(settings.output_dir, "--output-dir", "output"), kinds=kinds)


def _empty(settings: ReadSettings) -> ReadReport:
    return ReadReport(sorted(set(settings.depths)))


def _grown(work: Draft, settings: ReadSettings, run: Run) -> Manifest:
    """The artifact; what was read before a stop is kept, batch by batch."""
    state = work.state
    report = msgspec.convert(state.get("report", msgspec.to_builtins(_empty(settings))), ReadReport)
    work.rewind(GROWING, state.get("size", 0), ANSWERS)
    size = state.get("size", 0)
    growing = work.directory / GROWING
    for batch in _Answering(settings, run).batches(report):
        with growing.open("ab") as file:
            for answered in batch:
                write_answered(answered, file)
            size = file.tell()
        sync(growing)
        state.update(size=size, report=msgspec.to_builtins(report))
        work.save()
    work.move_in(ANSWERS, growing)
    return work.finish(msgspec.to_builtins(_told(report, settings, run)))


def _told(report: ReadReport, settings: ReadSettings, run: Run) -> ReadReport:
    """The report of all questions: shares in place of sums, and what a user should know."""
    for sums in (report.exact_match, report.f1):
        for depth in sums:
            sums[depth] /= report.answered
    if report.short:
        deepest = report.depths[-1]
        report.notes.append(
            f"rankings of fewer than {deepest} passages: {report.short:,} (the longest has "
            f"{report.longest:,}); deeper answers of these are those of all their passages"
        )
        run.progress.warn(report.notes[-1])
    if report.empty:
        report.notes.append(f"passages without a text, which have no answer: {report.empty:,}")
        run.progress.warn(report.notes[-1])
    if report.unread:
        report.notes.append(f"questions without a text to read an answer from: {report.unread:,}")
        run.progress.warn(report.notes[-1])
    return report


class _Answering:
    """Answers the questions of a file of rankings, batch by batch."""

    def __init__(self, settings: ReadSettings, run: Run) -> None:
        from dprkit.models.reading import load_reader

        self.settings, self.run = settings, run
        self.reader: Reads = load_reader(str(settings.reader), settings.precision)

    def batches(self, report: ReadReport) -> Iterator[list[Answered]]:
        """The answers to the questions behind those that `report` counts, which grows with them."""
        path, progress = str(self.settings.results), self.run.progress
        placed = placed_results(path, progress.warn)
        for _ in islice(placed, report.questions):
            pass
        progress.start("reading", None, "questions", report.questions)
        while some := list(islice(placed, self.settings.batch_size)):
            for ranking, where in some:
                _refuse_without_texts(ranking, results_file(path), where)
            batch = self._answered([ranking for ranking, _ in some], report)
            yield batch
            progress.advance(len(batch))
        progress.finish()

    def _answered(self, rankings: list[Ranking], report: ReadReport) -> list[Answered]:
        from dprkit.search.answer_choice import choose, distinct, prediction, readings

        settings, deepest = self.settings, report.depths[-1]
        pairs: dict[tuple[str, str, str], Passage] = {}
        for ranking in rankings:
            for hit in ranking.hits[:deepest]:
                key = ranking.question.question, hit.title, hit.text
                pairs.setdefault(key, Passage(hit.id, hit.text, hit.title))
        questions = [question for question, _, _ in pairs]
        passages, weight = list(pairs.values()), settings.passage_weight
        said = readings(self.reader, questions, passages, settings.max_answer_length, weight)
        by_pair = dict(zip(pairs, said, strict=True))
        report.pairs += len(pairs)
        answered = []
        for ranking in rankings:
            question, hits = ranking.question, ranking.hits[:deepest]
            of_question = [by_pair[question.question, hit.title, hit.text] for hit in hits]
            found = tuple(prediction(hits, of_question, d, weight) for d in report.depths)
            texts = [hit.text for hit in hits]
            report.empty += texts.count("")
            best = distinct(texts, choose(of_question, weight), settings.best)
            answered.append(Answered(question, found, best))
            _count(answered[-1], len(hits), report)
        return answered


def _refuse_without_texts(ranking: Ranking, path: Path | str, where: int | str) -> None:
    if ranking.hits and not any(hit.text for hit in ranking.hits):
        raise FormatError(
            path,
            where,
            f"the passages of question {ranking.question.id!r} have no texts, which a reader "
            "reads; search again with --texts, or add them with dprkit convert-results --passages",
        )


def _count(answered: Answered, passages: int, report: ReadReport) -> None:
    """Add a question to the sums of the report."""
    report.questions += 1
    report.longest = max(report.longest, passages)
    report.short += passages < report.depths[-1]
    deepest = answered.predictions[-1]
    report.unread += deepest.rank is None
    if len(report.shown) < SHOWN:
        title = deepest.title or deepest.passage_id
        text = answered.question.question
        report.shown.append(Shown(text, deepest.text, title, deepest.rank, deepest.score))
    if not (gold := answered.question.answers):
        return
    report.answered += 1
    for one in answered.predictions:
        depth = str(one.depth)
        for sums, value in (
            (report.exact_match, float(exact_match(one.text, gold))),
            (report.f1, token_f1(one.text, gold)),
        ):
            sums[depth] = sums.get(depth, 0.0) + value
