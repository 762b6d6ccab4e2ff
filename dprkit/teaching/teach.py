"""score-teacher: a teacher's raw score for each passage of training examples or rankings.

    rows                  data/candidate_rows.py   questions with passages, window after window
    window -> scores      teachers.py              opened by open_teacher.py, checked by folds.py
    rows with the scores  -> train.jsonl or results.jsonl, which grows window by window
    the whole file        -> figures.py            how the scores lie

A window is scored, written and noted as one, and depends on the rows alone. So what is killed goes
on at a window, and ends with the same bytes. Memory is a window.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.data.candidate_rows import EXAMPLES, CandidateRow, candidate_rows, count_rows
from dprkit.data.rankings import RESULTS, results_file
from dprkit.data.scored_files import KIND, SOURCE
from dprkit.data.streams import STDIN
from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.models.precision import settled
from dprkit.progress import Run
from dprkit.settings import ScoreTeacherSettings, required
from dprkit.store.atomic_files import sync
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest
from dprkit.store.stage_files import StageFiles
from dprkit.teaching.figures import Figures, figures_of
from dprkit.teaching.fold_teachers import check_folds

if TYPE_CHECKING:
    import numpy as np

    from dprkit.teaching.teachers import Teacher

GROWING = ".growing"


class ScoreTeacherReport(msgspec.Struct):
    """What was scored, and how the scores lie."""

    questions: int = 0
    pairs: int = 0
    """Passages with a score, each of one question."""
    unscored: int = 0
    """Passages without one."""
    figures: Figures | None = None
    pairs_per_second: float | None = None
    """None: the artifact was there."""
    outputs: list[str] = []
    notes: list[str] = []


def score_teacher(settings: ScoreTeacherSettings, run: Run = Run()) -> ScoreTeacherReport:
    """Write the rows of a file with a teacher's score for each passage.

    The folder is an artifact: left alone when it is up to date, gone on with where a run was
    stopped. Raises SettingsError, InputError, FormatError, MismatchError.
    """
    directory = Path(str(files_of(settings).folder))
    settings = settled(settings)
    notes = check_folds(settings)
    for note in notes:
        run.progress.warn(note)
    given = _inputs(settings)
    inputs = {name: path for name, path in given.items() if Path(path).exists()}
    hub = [path for name, path in given.items() if name not in inputs]
    for name in {SOURCE, "ranking", "embeddings"} & given.keys() - inputs.keys():
        inputs[name] = given[name]  # not there: refused as what it is
    rate = None
    with draft(directory, KIND, settings, inputs, run, {"hub": hub} if hub else None) as work:
        manifest, began = work.done, time.perf_counter()
        if manifest is None:
            scored = _score(work, settings, run)
            rate = scored / max(time.perf_counter() - began, 1e-9)
            manifest = _finish(work, settings, notes)
    report = msgspec.convert(manifest.counts, ScoreTeacherReport)
    report.pairs_per_second = rate
    report.outputs = [str(directory / name) for name in sorted(manifest.files)]
    return report


def files_of(settings: ScoreTeacherSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    directory = required(settings.output_dir, "--output-dir", "output")
    source = "results" if settings.results is not None else "train_file"
    reads: dict[str, list[str]] = {}
    for name, path in _inputs(settings).items():
        setting = source if name == SOURCE else name.partition(" ")[0]
        if path == STDIN:
            problem = "stdin cannot be found again to see whether it changed; name a file"
            raise SettingsError(f"-: {problem}")
        if setting != "teacher" or Path(path).exists():
            reads.setdefault(setting, []).append(path)
    kinds = {"embeddings": "embeddings"}
    return StageFiles(reads, directory, (str(Path(directory) / _output(settings)),), kinds)


def _inputs(settings: ScoreTeacherSettings) -> dict[str, str]:
    """What is read, by its name in the manifest. Raises SettingsError."""
    if settings.results is not None and settings.train_file is not None:
        raise SettingsError("--train-file and --results both name passages; give one of them")
    source = settings.results or settings.train_file
    inputs = {SOURCE: required(source, "--train-file or --results", "file to score")}
    if settings.ranking is not None:
        if settings.teacher or settings.embeddings or settings.folds:
            raise SettingsError(
                "--ranking has its scores; leave --teacher, --embeddings and --folds out"
            )
        for name in ("reader_score", "max_answer_length", "precision"):
            if getattr(settings, name) != getattr(ScoreTeacherSettings(), name):
                flag = name.replace("_", "-")
                raise SettingsError(f"--{flag} is for a model; --ranking has its scores")
        return inputs | {"ranking": settings.ranking}
    if not settings.teacher:
        raise SettingsError("no teacher given; name it with --teacher, or rankings with --ranking")
    if settings.missing != "none":
        raise SettingsError("--missing is for --ranking; a model scores every passage")
    if len(settings.teacher) != (settings.folds or 1):
        raise SettingsError(_count_of_teachers(len(settings.teacher), settings.folds))
    several = {
        f"teacher {number}" if number else "teacher": path
        for number, path in enumerate(settings.teacher)
    }
    if settings.embeddings is not None:
        if settings.folds:
            raise SettingsError("--embeddings are of one retriever; leave it or --folds out")
        inputs["embeddings"] = settings.embeddings
    return inputs | several


def _count_of_teachers(count: int, folds: int | None) -> str:
    if folds is None:
        return (
            f"--teacher: {count} teachers, whose scores cannot be compared; name one, or, where "
            f"each was trained without a fold of the questions, give --folds {count}"
        )
    return (
        f"--folds {folds}: {count} teachers; name {folds}, trained with --leave-out 1/{folds} to "
        f"--leave-out {folds}/{folds}"
    )


def _output(settings: ScoreTeacherSettings) -> str:
    return EXAMPLES if settings.results is None else RESULTS


def _source(settings: ScoreTeacherSettings) -> str:
    if settings.results is None:
        return str(settings.train_file)
    return str(results_file(settings.results))


# --- scoring --------------------------------------------------------------------------------------


def _score(work: Draft, settings: ScoreTeacherSettings, run: Run) -> int:
    """Score what an earlier run has not; the pairs that were scored."""
    from dprkit.teaching.open_teacher import open_teacher

    source, results, pairs = _source(settings), settings.results is not None, 0
    growing = f"{_output(settings)}{GROWING}"
    done = {"rows": 0, "bytes": 0} | work.state
    work.rewind(growing, done["bytes"], _output(settings))
    teacher = open_teacher(settings, work)
    run.progress.start("scoring", count_rows(source, results), "questions", done["rows"])
    began = time.perf_counter()
    rows = islice(candidate_rows(source, results), done["rows"], None)
    for window in windows(rows, teacher.window, settings.candidates):
        lines = _scored(window, teacher, settings, source)
        done["bytes"] += work.append(growing, lines)
        done["rows"] += len(window)
        sync(work.directory / growing)
        work.state.update(done)
        work.save()
        pairs += sum(len(row.passages[: settings.candidates]) for row in window)
        rate = pairs / max(time.perf_counter() - began, 1e-9)
        run.progress.advance(len(window), {"pairs_per_second": rate})
    run.progress.finish()
    if not done["rows"]:
        raise InputError(f"{source}: holds no row to score; name a file with questions")
    return pairs


def windows(
    rows: Iterator[CandidateRow], pairs: int, candidates: int | None = None
) -> Iterator[list[CandidateRow]]:
    """The rows in lists of about so many `pairs`, of at least one row each."""
    window, count = list[CandidateRow](), 0
    for row in rows:
        window.append(row)
        count += len(row.passages[:candidates])
        if count >= pairs:
            yield window
            window, count = [], 0
    if window:
        yield window


def _scored(
    window: Sequence[CandidateRow], teacher: Teacher, settings: ScoreTeacherSettings, path: str
) -> bytes:
    """The lines of a window, with the teacher's scores."""
    from dprkit.teaching.teachers import Asked

    if not settings.replace:
        for row in window:
            if any(score is not None for score in row.teacher_scores):
                problem = "has a teacher's scores already; --replace puts others in their place"
                raise FormatError(path, row.where, problem)
    asked = [Asked(row.question, row.passages[: settings.candidates]) for row in window]
    scores = teacher.scores(asked)
    return b"".join(map(_line, window, scores, [path] * len(window)))


def _line(row: CandidateRow, scores: np.ndarray, path: str) -> bytes:
    known = [_checked(float(str(score)), row, path) for score in scores]
    return row.written(known + [None] * (len(row.passages) - len(known)))


def _checked(score: float, row: CandidateRow, path: str) -> float | None:
    """A score of 32 bits by its shortest decimal; None where there is none (-inf)."""
    if math.isnan(score) or score == math.inf:
        raise FormatError(
            path,
            row.where,
            f"the teacher's score of a passage is no number ({score}): its training has diverged; "
            "name another --teacher",
        )
    return None if score == -math.inf else score


def _finish(work: Draft, settings: ScoreTeacherSettings, notes: list[str]) -> Manifest:
    """The whole file under its name, and what its scores are like."""
    name = _output(settings)
    growing = work.directory / f"{name}{GROWING}"
    report, results = ScoreTeacherReport(notes=notes), settings.results is not None
    report.questions, report.pairs, report.unscored, report.figures = figures_of(
        candidate_rows(growing, results)
    )
    if settings.ranking is not None and not report.pairs:
        work.give_up()  # going on would score as little
        raise InputError(
            f"{settings.ranking}: has none of the passages of {_source(settings)} for its "
            "questions; name the rankings of these questions in a corpus with these passage ids"
        )
    for note in _odd(report):
        work.run.progress.warn(note)
        report.notes.append(note)
    work.move_in(name, growing)
    counts: Mapping[str, Any] = msgspec.to_builtins(report)
    return work.finish({key: counts[key] for key in _RECORDED})


_RECORDED = ("questions", "pairs", "unscored", "figures", "notes")


def _odd(report: ScoreTeacherReport) -> Iterator[str]:
    """What is worth a warning about the scores."""
    short = report.figures.short if report.figures else report.questions
    if short:
        yield (
            f"{short:,} of {report.questions:,} questions have fewer than two scores: a retriever "
            "learns nothing from them"
        )
