"""audit: what is wrong with questions and a corpus, before anything is measured with them.

answers, train questions   question_findings.py, question_overlap.py
the corpus, in one pass    corpus_scan.py, answer_search.py, duplicates.py
what a figure means        figures.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.audit.answer_search import AnswerNumbers
from dprkit.audit.figures import FIGURES, OF_ANSWERS, Figure, limits
from dprkit.audit.question_findings import (
    findings_of_answers,
    questions_of,
    repeated,
    twins_of,
    without_gold,
)
from dprkit.data.corpus_by_row import PassageFile
from dprkit.errors import SettingsError
from dprkit.progress import Run
from dprkit.records import Question
from dprkit.settings import AuditSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import Manifest
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    from dprkit.audit.findings import Found

AUDIT, TAGS, DUPLICATES = "audit.json", "tags.jsonl", "duplicates.jsonl"


class AuditReport(msgspec.Struct):
    """What was found. `ceiling`: the highest answer recall that any retriever can reach."""

    questions: int
    passages: int
    ceiling: float | None
    figures: dict[str, Figure]
    """Name -> how many of the questions, or of the passages."""
    not_measured: dict[str, str]
    """Name -> what it takes."""
    failures: list[str] = []
    """What --fail-if refuses."""
    outputs: list[str] = []


def audit(settings: AuditSettings, run: Run = Run()) -> AuditReport:
    """Check questions and a corpus; write audit.json, tags.jsonl and duplicates.jsonl.

    Raises FormatError for a corpus without passages or with an id twice, InputError for questions
    with an id twice.
    """
    directory, allowed = Path(str(files_of(settings).folder)), limits(settings.fail_if)
    if settings.retriever:
        Verifier(run.progress.note).artifact(settings.retriever, "retriever")
    with draft(directory, "audit", settings, _inputs(settings), run) as work:
        manifest = work.done or _audit(work, settings, run)
    report = msgspec.convert(manifest.counts, AuditReport)
    report.failures = [*_failures(report, allowed)]
    report.outputs = [str(directory / name) for name in sorted(manifest.files)]
    return report


def files_of(settings: AuditSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    limits(settings.fail_if)
    directory = required(settings.output_dir, "--output-dir", "output")
    reads: dict[str, list[str]] = {}
    for name, path in _inputs(settings).items():
        reads.setdefault(name.partition(" ")[0], []).append(path)
        if path == "-":
            raise SettingsError(
                "-: stdin cannot be found again to see whether it changed; name a file"
            )
    return StageFiles(reads, directory, kinds={"retriever": "retriever"})


def _inputs(settings: AuditSettings) -> dict[str, str]:
    given = {
        "passages": required(settings.passages, "--passages", "corpus"),
        "questions": required(settings.questions, "--questions", "questions"),
        "qrels": settings.qrels,
        "retriever": settings.retriever,
    }
    files = {f"train_file {number}": path for number, path in enumerate(settings.train_file)}
    return {name: path for name, path in (given | files).items() if path is not None}


def _failures(report: AuditReport, allowed: Mapping[str, float]) -> Iterator[str]:
    """What is above its limit, or was not measured."""
    for name, limit in allowed.items():
        found = report.figures.get(name)
        if found is None:
            why = report.not_measured.get(name, "it is of another --match")
            yield f"--fail-if {name}: is not measured: {why}"
        elif found.share is not None and found.share > limit:
            share = f"{found.share:.4f} ({found.count:,} of {found.of:,})"
            yield f"--fail-if {name}: {share} is above {limit:g}"


def _audit(work: Draft, settings: AuditSettings, run: Run) -> Manifest:
    from dprkit.audit.corpus_scan import Plan, facts_of, questions_cut
    from dprkit.audit.findings import Found

    questions = questions_of(settings, run.progress.note)
    if not settings.train_file and not any(one.answers or one.gold for one in questions):
        run.progress.warn(
            f"{settings.questions}: no question has an answer or a gold passage to look for; name "
            "a file with answers, or give --qrels"
        )
    corpus = PassageFile(str(settings.passages), run.progress.note)
    twins = twins_of(questions, settings, run.progress) if settings.train_file else {}
    answers = AnswerNumbers(questions, settings.match)
    near = settings.near if settings.near_duplicates else None
    plan = Plan(str(corpus.path), answers.keys, settings.match, settings.retriever, near)
    facts = facts_of(plan, corpus, run.progress)
    findings = findings_of_answers(questions, settings.match) | {
        "no_answer": answers.without(facts.found),
        "common_answer": answers.holders(facts.shares > settings.common_share),
        "gold_missing": without_gold(questions, corpus),
        "repeated_question": repeated(questions),
        "in_train": sorted(number for number, twin in twins.items() if twin.same),
        "near_train": sorted(number for number, twin in twins.items() if not twin.same),
        "question_cut": questions_cut(questions, settings.retriever) if settings.retriever else [],
    }
    found = Found(questions, findings, twins, answers, facts, corpus)
    report = _report(found, _not_measured(settings, questions))
    with work.file(DUPLICATES) as file:
        found.write_repeats(file)
    with work.file(TAGS) as file:
        found.write_tags(file)
    with work.file(AUDIT) as file:
        names = ("questions", "passages", "ceiling", "figures", "not_measured")
        told = {name: getattr(report, name) for name in names}
        file.write(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    return work.finish(msgspec.to_builtins(report))


def _report(found: Found, lacking: Mapping[str, str]) -> AuditReport:
    measured = (name for name in FIGURES if name not in lacking and found.knows(name))
    figures = {name: found.figure(name) for name in measured}
    missing = figures.get("no_answer")
    ceiling = None if missing is None or missing.share is None else 1 - missing.share
    return AuditReport(len(found.questions), found.facts.passages, ceiling, figures, dict(lacking))


def _not_measured(settings: AuditSettings, questions: Sequence[Question]) -> dict[str, str]:
    """Name of a figure -> what it takes to measure it, where that was not given."""
    needs = (
        (
            any(q.answers for q in questions),
            "no question has answers",
            (*OF_ANSWERS, "without_answers"),
        ),
        (any(q.gold for q in questions), "no gold passages; give --qrels", ("gold_missing",)),
        (settings.train_file, "give --train-file", ("in_train", "near_train")),
        (settings.retriever, "give --retriever", ("question_cut", "passage_cut")),
        (settings.near_duplicates, "give --near-duplicates", ("near_duplicate_passage",)),
    )
    return {name: why for given, why, names in needs if not given for name in names}
