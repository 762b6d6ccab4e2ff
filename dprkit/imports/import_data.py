"""import-data: data of other tools -> passages, questions, examples and judgements of dprkit.

Items go through one by one, batch by batch into files that grow, and progress.json says how far
they are whole. A run that was killed is gone on with by reading again and passing over what is
written; it ends with the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.judgements_by_question import JudgementFile
from dprkit.data.split_sizes import ADVICE
from dprkit.data.streams import STDIN
from dprkit.errors import InputError, SettingsError
from dprkit.imports.derived import passages_of_examples
from dprkit.imports.examples import ExampleMaker, JudgedFile, examples_file
from dprkit.imports.hub_names import fetched
from dprkit.imports.items import Dropped, Item, Place, Tally
from dprkit.imports.kinds import kinds_of
from dprkit.imports.output import (
    PASSAGES,
    QRELS,
    QRELS_HEADER,
    QUESTIONS,
    Batch,
    example_line,
    qrels_of,
)
from dprkit.imports.splits import Splits
from dprkit.progress import Run
from dprkit.settings import ImportSettings, required
from dprkit.store.atomic_files import sync
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.stage_files import StageFiles

GROWING = "growing."
BLOCK = 256
"""Examples that are written together."""
SAVED_EVERY = 5.0
"""Seconds of work that a killed run loses at most, and a batch."""


class ImportDataReport(msgspec.Struct):
    """What was read, what was written, and what was left out and why."""

    read: int = 0
    """Items of all sorts, those among them that were left out."""
    written: dict[str, int] = {}
    dropped: dict[str, Dropped] = {}
    understood: dict[str, str] = {}
    """source -> its kind, and what each of its columns is taken for."""
    notes: list[str] = []
    outputs: list[str] = []


def import_data(settings: ImportSettings, run: Run = Run()) -> ImportDataReport:
    """Read `settings.sources` and write what they hold into a folder, which is an artifact.

    Raises SettingsError for settings that contradict each other, FormatError for a source that
    breaks its form, and InputError where nothing comes of the sources.
    """
    directory = Path(str(files_of(settings).folder))
    settings = fetched(settings, run.progress.note)
    inputs = {f"source {number}": path for number, path in enumerate(settings.sources)}
    inputs |= {"tokenizer": settings.tokenizer} if settings.tokenizer else {}
    with draft(directory, "data", settings, inputs, run) as work:
        report = _done(work) or _import(work, settings, run)
    for note in report.notes:
        (run.progress.note if work.done else run.progress.warn)(note)
    report.outputs = [str(directory / name) for name in sorted(work.record.files)] or [
        str(directory / name) for name in sorted(work.done.files if work.done else ())
    ]
    return report


def files_of(settings: ImportSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for settings that contradict each other."""
    check(settings)
    directory = required(settings.output_dir, "--output-dir", "output")
    return StageFiles({"sources": settings.sources}, directory)


def check(settings: ImportSettings) -> None:
    """Raise SettingsError for no source, for one that cannot be read again, and for --split."""
    if not settings.sources:
        raise SettingsError("no source given; name files or folders to import")
    if STDIN in settings.sources:
        raise SettingsError("-: a source is read more than once; save the stream to a file first")
    splits_of(settings)


def splits_of(settings: ImportSettings) -> Splits | None:
    """The sets of --split, if there are any. Raises SettingsError for shares that cannot be."""
    if settings.split_by != "question" and not settings.split:
        raise SettingsError(f"--split-by {settings.split_by}: there is no --split; {ADVICE}")
    return Splits(settings.split, settings.split_by, settings.seed) if settings.split else None


def _done(work: Draft) -> ImportDataReport | None:
    return msgspec.convert(work.done.counts, ImportDataReport) if work.done else None


def _import(work: Draft, settings: ImportSettings, run: Run) -> ImportDataReport:
    tally = Tally()
    splits = splits_of(settings)
    batch = Batch(tally, splits)
    names = _grow(work, settings, run, batch)
    read = sum(batch.written.values()) + sum(one.count for one in tally.dropped.values())
    _move_in(work, names)
    wanted = [made for made in _wanted(names) if made.target not in names]
    _move_in(work, sorted(_make_examples(work, settings, run, batch, wanted)))
    if "examples" in batch.written and "passages" not in batch.written:
        batch.written["passages"] = passages_of_examples(work, tally)
    if splits:
        with _nothing_left(work):
            splits.check()
        tally.notes += splits.notes()
    tally.notes += unused_columns(settings, tally)
    report = ImportDataReport(
        read=read,
        written=batch.written,
        dropped=tally.dropped,
        understood=tally.understood,
        notes=tally.notes,
    )
    work.finish(msgspec.to_builtins(report))
    return report


def unused_columns(settings: ImportSettings, tally: Tally) -> list[str]:
    """What to tell of names in --columns that no source has."""
    told = "\n".join(tally.understood.values()).lower()
    return [
        f"--columns {held}={name}: no source has this column"
        for held, name in (settings.columns or {}).items()
        if isinstance(name, str) and f"{held} from {name.lower()}" not in told
    ]


@contextmanager
def _nothing_left(work: Draft) -> Iterator[None]:
    """Leave nothing half done where the block finds that there is nothing to go on with."""
    try:
        yield
    except InputError:
        work.state.clear()
        raise


def _move_in(work: Draft, names: Iterable[str]) -> None:
    for name in names:
        work.move_in(name, work.directory / f"{GROWING}{name}")


def _nothing(settings: ImportSettings, tally: Tally) -> str:
    sources = ", ".join(settings.sources)
    reasons = "; ".join(
        f"{dropped.count:,} dropped: {why} (first at {dropped.first})"
        for why, dropped in tally.dropped.items()
    )
    return f"{sources}: nothing to import ({reasons or 'no rows'}); see --dry-run"


# --- read and written -----------------------------------------------------------------------------


def placed_items(settings: ImportSettings, tally: Tally) -> Iterator[tuple[Item, Place]]:
    """The items of all sources, each with its place for a message."""
    for source, kind in zip(settings.sources, kinds_of(settings), strict=True):
        tally.at = None
        tally.understand(source, kind.sentence)
        for number, item in enumerate(kind.items(Path(source), settings, tally), start=1):
            yield item, tally.place(source, number)


def _grow(work: Draft, settings: ImportSettings, run: Run, batch: Batch) -> list[str]:
    """Write the items that are not written yet; the names of the files, in order."""
    done: int = work.state.get("items", 0)
    sizes: dict[str, int] = dict(work.state.get("bytes", {}))
    for name, size in sizes.items():
        work.rewind(f"{GROWING}{name}", size, name)
    run.progress.start("importing", None, "rows")
    items, saved, shown = 0, time.monotonic(), 0
    for item, place in placed_items(settings, batch.tally):
        batch.add(item, place)
        items += 1
        if not batch.full and items != done:
            continue
        _append(work, batch.flush(), sizes, items > done)
        run.progress.advance(items - shown)
        shown = items
        if items > done and time.monotonic() - saved >= SAVED_EVERY:
            _save(work, items, sizes)
            saved = time.monotonic()
    _append(work, batch.flush(), sizes, items > done)
    run.progress.advance(items - shown)
    run.progress.finish()
    if not batch.written:
        raise InputError(_nothing(settings, batch.tally))
    _save(work, items, sizes)
    return sorted(sizes)


class _Wanted(NamedTuple):
    """A file of examples to make, the file of questions that it is made of, and the judgements."""

    target: str
    questions: str
    qrels: str = ""
    judged_only: bool = False
    """Whether the questions are those of all splits, and the judgements those of one."""


def _wanted(names: list[str]) -> Iterator[_Wanted]:
    """The examples that can be made of the files with these names.

    Those of a split are made of its own judgements alone, so that none of them tells another's.
    """
    qrels = {name for name in names if name.endswith(QRELS)}
    for name in names:
        if not name.endswith(QUESTIONS):
            continue
        split = name.removesuffix(QUESTIONS).removesuffix(".")
        own = next((file for file in (qrels_of(split), QRELS) if file in qrels), "")
        if own or split or not qrels:
            yield _Wanted(examples_file(name), name, own)
        else:
            for file in sorted(qrels):
                yield _Wanted(f"{file.removesuffix(f'.{QRELS}')}.jsonl", name, file, True)


def _make_examples(
    work: Draft, settings: ImportSettings, run: Run, batch: Batch, wanted: list[_Wanted]
) -> set[str]:
    """Let the files of examples that are wanted grow; which of them grew.

    `wanted`: where no source has examples of its own, which would be there twice.
    Their sizes are not saved: a run that was stopped here makes the examples again.
    """
    sizes, folder = dict(work.state["bytes"]), work.directory
    judged = {name: batch.lines[name].of for name in sizes if name.endswith(QRELS)}
    if not wanted or PASSAGES not in sizes or not (batch.has_gold or judged):
        return set()
    maker = ExampleMaker(
        PassageFile(folder / PASSAGES, run.progress.note), settings.min_grade, batch.tally
    )
    files = {
        name: JudgedFile(JudgementFile(folder / name, run.progress.note), place)
        for name, place in judged.items()
    }
    run.progress.start("making examples", None, "rows")
    grown = set()
    for target, name, qrels, judged_only in wanted:
        made = maker.of(folder / name, files.get(qrels), judged_only)
        while block := list(islice(made, BLOCK)):
            _append(work, {target: b"".join(map(example_line, block))}, sizes, True)
            batch.written["examples"] = batch.written.get("examples", 0) + len(block)
            run.progress.advance(len(block))
            grown.add(target)
    run.progress.finish()
    for file in files.values():
        maker.see_unasked(file)
    with _nothing_left(work):
        maker.check(batch.written.get("judgements", 0))
    batch.tally.notes += maker.notes()
    return grown


def _append(work: Draft, grown: dict[str, bytes], sizes: dict[str, int], write: bool) -> None:
    """Let the files grow, unless a run before has written this."""
    for name, made in grown.items() if write else ():
        if name not in sizes:
            work.rewind(f"{GROWING}{name}", 0, name)
            sizes[name] = 0
            made = (QRELS_HEADER if name.endswith(QRELS) else b"") + made
        sizes[name] += work.append(f"{GROWING}{name}", made)


def _save(work: Draft, items: int, sizes: dict[str, int]) -> None:
    for name in sizes:  # on the disk before it counts
        sync(work.directory / f"{GROWING}{name}")
    work.state.update(items=items, bytes=dict(sizes))
    work.save()
