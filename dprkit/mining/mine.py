"""mine-negatives: questions and indexes -> training examples with hard negatives.

    train.jsonl     a row a question, in DPR's form
    audit.jsonl     a sample of the decisions, for a person to read

Questions go through batch by batch. What is made grows in files of its own, and progress.json says
how far they are whole, so that a run that was killed goes on there and ends with the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from dprkit.data.scored_files import refuse_two_teachers
from dprkit.errors import InputError, SettingsError
from dprkit.indexes.index_folder import IndexFolder
from dprkit.models.precision import settled
from dprkit.progress import Run
from dprkit.settings import MineSettings, required
from dprkit.store.atomic_files import sync
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest, asks_alone
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    from dprkit.mining.miner import Miner
    from dprkit.mining.rows import Rows
    from dprkit.mining.tally import Tally

TRAIN, AUDIT = "train.jsonl", "audit.jsonl"
GROWING, SCORES = "growing.jsonl", "scores"
SAVED_EVERY = 5.0
"""Seconds of work that a killed run loses at most, and a batch."""


class MineReport(msgspec.Struct):
    """What was mined, and what was left out by which rule.

    `candidates`: passages of the ranks that were asked for; `looked_at`: those of them that were
    looked at, until there were enough; `dropped`: rule -> those it left out.
    """

    questions: int
    mined: int
    merged: int
    """Hard negatives that were there and are kept."""
    relabelled: int
    candidates: int
    looked_at: int
    dropped: dict[str, int]
    short: int
    none: int
    """Questions that got fewer negatives than asked for; those of them that got none."""
    left_out: dict[str, int]
    """Why questions are not in the output -> how many."""
    without_answers: int
    unscored: int
    """Questions whose positive has no score by any index, so that no margin counts for them."""
    scores: list[dict[str, Any]]
    """By each index: how the scores of positives, of negatives and their differences lie."""
    merged_positives: int = 0
    """Hard negatives that were there and are left out, as they are positives of the question."""
    inputs: dict[str, str] = {}
    notes: list[str] = []
    outputs: list[str] = []


def mine_negatives(settings: MineSettings, run: Run = Run()) -> MineReport:
    """Find hard negatives for each question; write train.jsonl and audit.jsonl.

    Raises SettingsError for settings that contradict each other, InputError where nothing is found,
    no question has a positive or none has answers to look for, and what opening an index raises.
    """
    settings = settled(settings)
    directory, inputs = Path(str(files_of(settings).folder)), _inputs(settings)
    refuse_two_teachers(settings.train_file)
    more: dict[str, Any] = {"depths": [IndexFolder(path).depths for path in _indexes(settings)]}
    if settings.teacher and "teacher" not in inputs:
        more["teacher"] = settings.teacher  # a hub's name
    with draft(directory, "examples", settings, inputs, run, more) as work:
        manifest = work.done or _mine(work, settings, run)
    report = msgspec.convert(manifest.counts, MineReport)
    for note in report.notes if work.done else ():
        run.progress.note(note)
    report.inputs = {name: known.identity for name, known in manifest.inputs.items()}
    report.outputs = [str(directory / name) for name in sorted(manifest.files)]
    return report


def files_of(settings: MineSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    _refuse_contradictions(settings)
    directory = required(settings.output_dir, "--output-dir", "output")
    reads: dict[str, list[str]] = {}
    for name, path in _inputs(settings).items():
        reads.setdefault(name.partition(" ")[0], []).append(path)
        if path == "-":
            raise SettingsError(
                "-: stdin cannot be read again to go on where a run stopped; name a file"
            )
    for name in ("retriever", "passages"):
        if path := getattr(settings, name):
            reads[name] = [path]
    kinds = {"index": "index", "hybrid": "index", "retriever": "retriever", "reader": "reader"}
    made = (str(Path(directory) / TRAIN), str(Path(directory) / AUDIT))
    return StageFiles(reads, directory, made, kinds)


def _inputs(settings: MineSettings) -> dict[str, str]:
    files = {f"train_file {number}": path for number, path in enumerate(settings.train_file)}
    indexes = {f"index {number}": path for number, path in enumerate(settings.index)}
    given = {"questions": settings.questions, "hybrid": settings.hybrid, "reader": settings.reader}
    if settings.teacher and Path(settings.teacher).exists():
        given["teacher"] = settings.teacher
    if asks_alone(settings.retriever):
        given["retriever"] = settings.retriever
    return files | indexes | {name: path for name, path in given.items() if path}


def _indexes(settings: MineSettings) -> list[str]:
    return [*settings.index, *([settings.hybrid] if settings.hybrid else [])]


def _refuse_contradictions(settings: MineSettings) -> None:
    if not settings.index:
        raise SettingsError("no index given; name one with --index")
    if bool(settings.train_file) == bool(settings.questions):
        raise SettingsError(
            "give the questions with --train-file (examples) or with --questions, one of the two"
        )
    if settings.from_rank > settings.to_rank:
        raise SettingsError(
            f"--from {settings.from_rank} --to {settings.to_rank}: no rank lies between; ranks are "
            "counted from 1"
        )
    if settings.hybrid and len(settings.index) > 1:
        raise SettingsError(
            "--hybrid combines its index with that of --index, and there are "
            f"{len(settings.index)} of those; give one, or all of them with --index"
        )
    lacking = {
        "--weights: there is one index only; name the other one with --hybrid": (
            settings.weights and not settings.hybrid
        ),
        "--sharpness and --shift are for --pick around": (
            (settings.sharpness is not None or settings.shift) and settings.pick != "around"
        ),
        "--relabel: nobody looks for answers with --match none; choose another --match": (
            settings.relabel and settings.match == "none"
        ),
        "--relabel reader: no reader given; name it with --reader": (
            settings.relabel == "reader" and not settings.reader
        ),
        "--reader is for --relabel reader; give both": (
            settings.reader and settings.relabel != "reader"
        ),
        "--teacher-margin: no teacher given; name it with --teacher": (
            settings.teacher_margin and not settings.teacher
        ),
        "--precision: no model scores passages; name one with --teacher or --reader": (
            settings.precision != "fp32" and not (settings.teacher or settings.reader)
        ),
    }
    for problem, is_there in lacking.items():
        if is_there:
            raise SettingsError(problem)


# --- mined ----------------------------------------------------------------------------------------


def _mine(work: Draft, settings: MineSettings, run: Run) -> Manifest:
    from dprkit.mining.tally import Tally, figures_of

    miner, rows = _opened(settings, run)
    tally = msgspec.convert(work.state.get("tally", {}), Tally)
    _grow(work, settings, run, miner, rows, tally)
    if not tally.mined and not tally.relabelled:
        work.give_up()  # going on would find as little
        _refuse_nothing(tally, rows, settings)
    scores = figures_of(work.directory / SCORES, settings.index)
    work.move_in(TRAIN, work.directory / GROWING)
    with work.file(AUDIT) as file:
        for decision in _decisions(tally, settings):
            file.write(msgspec.json.encode(decision) + b"\n")
    report = _report(tally, rows, settings, msgspec.to_builtins(scores))
    for note in report.notes:
        run.progress.warn(note)
    return work.finish(msgspec.to_builtins(report))


def _opened(settings: MineSettings, run: Run) -> tuple[Miner, Rows]:
    """The indexes and the rows to mine for."""
    from dprkit.mining.miner import Miner
    from dprkit.mining.rows import ExampleRows, QuestionRows
    from dprkit.search.engine import Engine, HybridEngine
    from dprkit.search.fusion import Fusion
    from dprkit.search.open_index import open_engines, open_folders
    from dprkit.search.open_reranker import open_scorer

    note = run.progress.note
    moved = {"retriever": settings.retriever, "passages": settings.passages}
    folders = open_folders(_indexes(settings), moved, note)
    engines, passages = open_engines(folders, {}, note, settings.prompt)
    if settings.hybrid:
        fusion = Fusion(method=settings.fusion, weights=settings.weights)
        hybrid: Engine = HybridEngine(engines, fusion)
        engines = [hybrid]
    teacher = None
    if settings.teacher:
        precision = settings.precision
        teacher = open_scorer(settings.teacher, None, folders[0], passages, note, precision)
    reader = None
    if settings.reader:
        from dprkit.models.reading import load_reader

        folders[0].check.artifact(settings.reader, "reader")
        reader = load_reader(settings.reader, settings.precision)
    rows: Rows
    if settings.questions:
        rows = QuestionRows(settings.questions, passages)
    else:
        rows = ExampleRows(settings.train_file, note)
    if settings.match != "none" and not rows.some_have_answers():
        named = settings.questions or " and ".join(settings.train_file)
        raise InputError(
            f"{named}: no question has answers, so that passages with an answer cannot be told; "
            "add answers, or give --match none and a margin"
        )
    return Miner(engines, passages, settings, teacher, reader), rows


def _grow(
    work: Draft, settings: MineSettings, run: Run, miner: Miner, rows: Rows, tally: Tally
) -> None:
    """Mine for the rows that are left, into the growing files."""
    done = tally.questions + tally.gold_missing
    work.claim(AUDIT)
    for name, whole in ((GROWING, TRAIN), (SCORES, None)):
        work.rewind(name, tally.bytes.get(name, 0), whole)
    run.progress.start("mining", rows.count, "questions", done)
    saved = time.monotonic()
    for batch in rows.batches(done, settings.batch_size):
        for name, made in zip((GROWING, SCORES), miner.mine(batch, tally), strict=True):
            tally.bytes[name] = tally.bytes.get(name, 0) + work.append(name, made)
        run.progress.advance(len(batch))
        if time.monotonic() - saved >= SAVED_EVERY:
            _save(work, tally)
            saved = time.monotonic()
    run.progress.finish()
    _save(work, tally)


def _save(work: Draft, tally: Tally) -> None:
    for name in (GROWING, SCORES):  # on the disk before it counts
        sync(work.directory / name)
    work.state["tally"] = msgspec.to_builtins(tally)
    work.save()


def _refuse_nothing(tally: Tally, rows: Rows, settings: MineSettings) -> NoReturn:
    """Raise InputError as no question is left, or none got a negative."""
    if not tally.questions:
        raise InputError(
            f"{settings.questions}: the corpus of {settings.index[0]} has no gold passage of any "
            f"of the {rows.count:,} questions; name an index of the corpus that they are of"
        )
    reasons = ", ".join(f"{count:,} {rule}" for rule, count in tally.dropped.items())
    raise InputError(
        f"no negative was found for any of {tally.questions:,} questions: of "
        f"{tally.candidates:,} passages of the ranks {settings.from_rank} to "
        f"{settings.to_rank} none is left ({reasons or 'the index finds none'}); give a larger "
        "--to, a smaller --from, or fewer rules"
    )


def _decisions(tally: Tally, settings: MineSettings) -> Iterator[dict[str, Any]]:
    """The sample, with the names of the indexes."""
    for kept in tally.sample.values():
        for _, _, decision in kept:
            yield {**decision, "index": settings.index[decision["index"]]}


def _report(
    tally: Tally, rows: Rows, settings: MineSettings, scores: list[dict[str, Any]]
) -> MineReport:
    left_out = {"no_positive": rows.left_out, "gold_missing": tally.gold_missing}
    report = MineReport(
        questions=tally.questions,
        mined=tally.mined,
        merged=tally.merged,
        merged_positives=tally.merged_positives,
        relabelled=tally.relabelled,
        candidates=tally.candidates,
        looked_at=tally.looked_at,
        dropped=tally.dropped,
        short=tally.short,
        none=tally.none,
        left_out={why: count for why, count in left_out.items() if count},
        without_answers=tally.without_answers,
        unscored=tally.unscored,
        scores=scores,
    )
    if tally.without_answers and settings.match != "none":
        report.notes.append(
            f"{tally.without_answers:,} questions have no answers: their negatives may hold one"
        )
    margins = settings.relative_margin, settings.absolute_margin, settings.teacher
    if tally.unscored == tally.questions:
        report.notes.append(
            f"no positive of the {tally.questions:,} questions has a score: if {settings.index[0]} "
            "is of another corpus, what is mined may be answers"
        )
    elif tally.unscored and (any(one is not None for one in margins) or settings.pick == "around"):
        report.notes.append(
            f"the positives of {tally.unscored:,} questions have no score, as the corpus lacks "
            "them or they share no word with the question; no margin counts there"
        )
    return report
