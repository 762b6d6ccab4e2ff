"""select-data: pick training examples from DPR files of any size.

One pass, or two where a set is a share; memory is a row, or 32 MB of rows with --shuffle (the rest
of the reservoir lies in a temporary file), and 40 bytes a row with --split-by question. A row is
kept as the bytes it has: only what a setting asks to trim is decoded and written anew.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice, starmap
from pathlib import Path
from typing import BinaryIO

import msgspec

from dprkit.data.examples import parse_example
from dprkit.data.ids import content_id, text_key
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.passages import PASSAGES_HEADER, passage_line
from dprkit.data.question_sets import QuestionSets
from dprkit.data.questions import read_questions, write_question
from dprkit.data.scored_files import refuse_two_teachers
from dprkit.data.split_sizes import ADVICE, check_split, needs_count, scaled, shared_out
from dprkit.data.streams import STDIN, RawRow, open_stream
from dprkit.errors import InputError, SettingsError
from dprkit.progress import Run
from dprkit.records import Example, Question
from dprkit.settings import SelectSettings, required
from dprkit.store.atomic_files import write_file
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import is_artifact
from dprkit.store.stage_files import StageFiles

SPOOL_BYTES = 32 << 20
SourceRow = tuple[str, RawRow]
"""A row and the file it came from."""
Placing = Callable[[Iterator[SourceRow]], Iterator[tuple[str, str, RawRow]]]
"""Rows -> the set of each row that is of one, its file, and the row."""


class SelectReport(msgspec.Struct):
    """What a selection read, kept and dropped, by reason."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = {}
    sets: dict[str, int] = {}
    passages: int | None = None
    outputs: list[str] = []
    notes: list[str] = []


class _Pools(msgspec.Struct, frozen=True):
    """As much of a row as it takes to decide on it: its passages are found, not decoded."""

    question: str
    positive_ctxs: list[msgspec.Raw]
    negative_ctxs: list[msgspec.Raw] = []
    hard_negative_ctxs: list[msgspec.Raw] = []
    answers: list[str] = []


_decode_pools = decoder(_Pools)


def select_data(settings: SelectSettings, run: Run = Run()) -> SelectReport:
    """Select rows of `settings.sources` into one file, or into disjoint sets in a folder.

    A folder is an artifact: left alone when it is up to date. Raises SettingsError for settings
    that contradict each other and FormatError for what the sources hold.
    """
    files_of(settings)
    refuse_two_teachers(settings.sources)
    if settings.output is None:
        return _select_into_folder(settings, run)
    report = SelectReport()
    with write_file(settings.output) as target:
        name = Path(settings.output).name
        _write_sets(settings, report, run, {name: (target, settings.num_items)})
    report.outputs = [settings.output, *_side_paths(settings)]
    return report


def files_of(settings: SelectSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    _check(settings)
    reads = {"sources": settings.sources, "exclude": settings.exclude}
    if settings.output is not None:
        return StageFiles(reads, files=(settings.output, *_side_paths(settings)))
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    if STDIN in (*settings.sources, *settings.exclude):
        raise SettingsError(
            "-: a set read from stdin cannot be found up to date; write to --output"
        )
    files = _outputs(directory, list(_sizes(settings)), settings)
    return StageFiles(reads, str(directory), tuple(files))


def _check(settings: SelectSettings) -> None:
    if not settings.sources:
        raise SettingsError("no source given; name a DPR file, or - for stdin")
    if settings.output not in (None, STDIN) and settings.output in settings.sources:
        raise SettingsError(f"{settings.output}: is a source too; choose another --output")
    if settings.output is not None and settings.split:
        raise SettingsError("--split makes several files; give --output-dir instead of --output")
    outputs = [path for path in (settings.output, *_side_paths(settings)) if path]
    if len(set(outputs)) < len(outputs):
        raise SettingsError("--output, --passages-out and --questions-out must be different files")
    if settings.split_by != "row" and not settings.split:
        raise SettingsError(f"--split-by {settings.split_by}: there is no --split; {ADVICE}")
    check_split(settings.split or {})
    for name in settings.split or ():
        if not re.fullmatch(r"[\w.-]+", name):
            raise SettingsError(
                f"--split: {name!r} is not valid: it becomes the file {name}.jsonl; "
                "use letters, digits and _.- only"
            )


def _select_into_folder(settings: SelectSettings, run: Run) -> SelectReport:
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    inputs = {f"source {i}": path for i, path in enumerate(settings.sources)}
    inputs |= {f"exclude {i}": path for i, path in enumerate(settings.exclude)}
    if is_artifact(directory) and not all(Path(p).exists() for p in _side_paths(settings)):
        run = replace(run, restart=True)  # the side outputs are written while the rows are chosen
    with draft(directory, "examples", settings, inputs, run) as work:
        if work.done:
            report = msgspec.convert(work.done.counts, SelectReport)
            report.outputs = _outputs(directory, list(report.sets), settings)
            return report
        report, sizes = SelectReport(), _sizes(settings)
        with ExitStack() as stack:
            files = {
                name: (stack.enter_context(work.file(f"{name}.jsonl")), size)
                for name, size in sizes.items()
            }
            _write_sets(settings, report, run, files)
        report.outputs = _outputs(directory, list(sizes), settings)
        work.finish(msgspec.to_builtins(report))
    return report


def _outputs(directory: Path, names: list[str], settings: SelectSettings) -> list[str]:
    return [str(directory / f"{name}.jsonl") for name in names] + _side_paths(settings)


def _sizes(settings: SelectSettings) -> dict[str, int | None]:
    """How many rows each set takes; None: all that are of it. --num-items bounds their sum.

    The rows that qualify are counted in a pass of their own where a set is a share or the rest.
    """
    if not settings.split:
        return {"train": settings.num_items}
    if settings.split_by == "question":
        return dict.fromkeys(settings.split)
    rows = {name: size for name, size in settings.split.items() if isinstance(size, int)}
    if not needs_count(settings.split):
        return {**scaled(rows, settings.num_items)}
    total = sum(1 for _ in islice(_qualified(settings, SelectReport()), settings.num_items))
    return {**shared_out(settings.split, total)}


# --- which rows -----------------------------------------------------------------------------------


def _write_sets(
    settings: SelectSettings,
    report: SelectReport,
    run: Run,
    files: dict[str, tuple[BinaryIO, int | None]],
) -> None:
    """Send the selected rows to the files of their sets."""
    sizes = {name: size for name, (_, size) in files.items()}
    by_question = settings.split_by == "question"
    total = sum(filter(None, sizes.values())) if all(sizes.values()) else None
    most = settings.num_items if by_question else total
    placed = _by_question(settings, most) if by_question else _by_row(sizes)
    run.progress.start("selecting", total, "rows")
    report.sets = dict.fromkeys(sizes, 0)
    with ExitStack() as stack:
        side = _SideOutputs(settings, report, stack)
        for name, path, row in placed(_kept(settings, report, most)):
            row = _trimmed(row, settings)
            files[name][0].write(row.raw + b"\n")
            side.write(parse_example(row, path))
            report.sets[name] += 1
            report.kept += 1
            run.progress.advance(1)
        run.progress.finish()
        _check_kept(settings, report, 0 if by_question else total or settings.num_items or 0)
    for note in report.notes:
        run.progress.warn(note)


def _by_row(sizes: dict[str, int | None]) -> Placing:
    """Each set takes its number of rows, in order."""

    def placed(rows: Iterator[SourceRow]) -> Iterator[tuple[str, str, RawRow]]:
        for name, size in sizes.items():
            yield from ((name, *row) for row in islice(rows, size))

    return placed


def _by_question(settings: SelectSettings, most: int | None) -> Placing:
    """Each row goes to the set of its question; the questions are read in a pass of their own."""
    rows = _qualified(settings, SelectReport())
    if most:
        rows = _kept(settings, SelectReport(), most)
    seed = settings.seed if settings.shuffle else None
    sets = QuestionSets(starmap(_question_key, rows), settings.split or {}, seed)

    def placed(rows: Iterator[SourceRow]) -> Iterator[tuple[str, str, RawRow]]:
        for path, row in rows:
            if name := sets.of(_question_key(path, row)):
                yield name, path, row

    return placed


def _question_key(path: str, row: RawRow) -> int:
    return text_key(normalise(_decode_pools(row, path).question))


def _check_kept(settings: SelectSettings, report: SelectReport, asked: int) -> None:
    """Note that fewer rows were kept than `asked` for.

    Raises InputError where none is kept, and where a set got none.
    """
    if report.read and not report.kept:
        reasons = ", ".join(f"{count:,} {why}" for why, count in report.dropped.items())
        lacking = any(why.startswith(("no ", "fewer")) for why in report.dropped)
        raise InputError(
            f"{', '.join(settings.sources)}: none of {report.read:,} rows is kept ({reasons}); "
            f"ask for less{' with --require' if lacking else ''}"
        )
    empty = [name for name, count in report.sets.items() if not count]
    if settings.split and empty:
        raise InputError(
            f"{', '.join(settings.sources)}: {report.kept:,} rows qualify and {asked:,} are asked "
            f"for, so that {' and '.join(empty)} would be empty; {ADVICE}"
        )
    if report.kept < asked:
        counts = ", ".join(f"{name} {count}" for name, count in report.sets.items())
        report.notes.append(f"asked for {asked} rows, kept {report.kept} ({counts})")


def _kept(settings: SelectSettings, report: SelectReport, most: int | None) -> Iterator[SourceRow]:
    """The first `most` rows that qualify (None: all), or as many that are drawn at random."""
    rows = _qualified(settings, report)
    return _drawn(rows, most, settings.seed) if settings.shuffle else islice(rows, most)


def _qualified(settings: SelectSettings, report: SelectReport) -> Iterator[SourceRow]:
    """The rows of all sources that pass every filter; the reasons of the others are counted."""
    excluded = {normalise(q.question) for path in settings.exclude for q in read_questions(path)}
    seen: set[str] = set()
    passed = 0
    rows = ((path, row) for path in settings.sources for row in read_json_rows(open_stream(path)))
    for path, row in rows:
        report.read += 1
        pools = _decode_pools(row, path)
        reason = _reason_to_drop(pools, settings)
        if not reason and (settings.dedupe or excluded):
            question = normalise(pools.question)
            reason = "excluded question" if question in excluded else ""
            if settings.dedupe and not reason:
                reason = "question seen before" if question in seen else ""
                seen.add(question)
        if not reason:
            passed += 1
            reason = "before the offset" if passed <= settings.offset else ""
        if reason:
            report.dropped[reason] = report.dropped.get(reason, 0) + 1
        else:
            yield path, row


def _reason_to_drop(pools: _Pools, settings: SelectSettings) -> str:
    """Why a row does not qualify, or `""`."""
    needs = {
        "positive": (pools.positive_ctxs, settings.min_positives),
        "negative": (pools.negative_ctxs, settings.min_negatives),
        "hard_negative": (pools.hard_negative_ctxs, settings.min_hard_negatives),
    }
    if not pools.question.strip():
        return "empty question"
    if any(not answer.strip() for answer in pools.answers):
        return "empty answer"
    for name, (pool, least) in needs.items():
        least = max(least, 1 if name in settings.require else 0)
        if len(pool) < least:
            words = name.replace("_", " ")
            return f"no {words}" if least == 1 else f"fewer than {least} {words}s"
    return ""


def normalise(question: str) -> str:
    """A question without case, punctuation and extra space, to compare it with another."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    return " ".join("".join(c if _in_word(c) else " " for c in folded).split())


def _in_word(character: str) -> bool:
    """A letter, a digit or a mark: without its marks "किताब" would be another word."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _drawn(rows: Iterator[SourceRow], count: int | None, seed: int) -> Iterator[SourceRow]:
    """`count` rows (None: all) drawn uniformly in one pass, in random order.

    Reservoir sampling, Vitter 1985, algorithm R. The rows themselves lie in a spool, which is a
    temporary file once it passes SPOOL_BYTES.
    """
    draw, size = random.Random(seed), sys.maxsize if count is None else count
    places: list[tuple[str, int | str, int, int]] = []  # source, where, offset in the spool, length
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        for number, (path, row) in enumerate(rows):
            slot = number if number < size else draw.randrange(number + 1)
            if slot >= size:
                continue
            place = (path, row.where, spool.tell(), len(row.raw))
            spool.write(row.raw)
            places[slot : slot + 1] = [place]
        draw.shuffle(places)
        for path, where, offset, length in places:
            spool.seek(offset)
            yield path, RawRow(spool.read(length), where)


# --- what is written ------------------------------------------------------------------------------


def _trimmed(row: RawRow, settings: SelectSettings) -> RawRow:
    """The row on one line, with its pools cut as the settings say; else byte for byte."""
    limits = {
        "hard_negative_ctxs": settings.max_hard_negatives,
        "negative_ctxs": settings.max_negatives,
    }
    raw = row.raw
    if any(limit is not None for limit in limits.values()):
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        for pool, limit in limits.items():
            if limit is not None and pool in fields:
                kept = msgspec.json.decode(fields[pool], type=list[msgspec.Raw])[:limit]
                fields[pool] = msgspec.Raw(msgspec.json.encode(kept))
        raw = msgspec.json.encode(fields)
    if b"\n" in raw or b"\r" in raw:
        raw = msgspec.json.format(raw, indent=-1)
    return row._replace(raw=raw)


def _side_paths(settings: SelectSettings) -> list[str]:
    return [path for path in (settings.passages_out, settings.questions_out) if path]


CONFLICT = "some passages share an id and differ in text; the first of each was written"


class _SideOutputs:
    """--passages-out and --questions-out, filled as the rows go by.

    Memory is an id and a hash for each distinct passage.
    """

    def __init__(self, settings: SelectSettings, report: SelectReport, stack: ExitStack) -> None:
        self.report = report
        self.passages, self.questions = (
            stack.enter_context(write_file(path)) if path else None
            for path in (settings.passages_out, settings.questions_out)
        )
        self.questions_path = settings.questions_out or ""
        self.seen: dict[str, str] = {}
        if self.passages:
            report.passages = 0
            self.passages.write(PASSAGES_HEADER)

    def write(self, example: Example) -> None:
        """Write what belongs to the example that follows `report.kept` others."""
        if self.questions:
            gold = tuple(passage.id for passage in example.positives[:1])
            question = Question(str(self.report.kept), example.question, example.answers, gold)
            write_question(question, self.questions_path, self.questions)
        if not self.passages:
            return
        for passage in chain(example.positives, example.hard_negatives, example.negatives):
            content = content_id(passage.title, passage.text)
            first = self.seen.setdefault(passage.id, content)
            if first is content:
                self.passages.write(passage_line(passage))
            elif first != content and CONFLICT not in self.report.notes:
                self.report.notes.append(CONFLICT)
        self.report.passages = len(self.seen)
