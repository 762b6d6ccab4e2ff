"""train-reader: from files of examples or results to a reader artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.errors import need_extra
from dprkit.models.config import READER
from dprkit.progress import Run
from dprkit.settings import TrainReaderSettings, required
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest
from dprkit.store.stage_files import StageFiles
from dprkit.training.course import (
    CARD,
    CURVES,
    Course,
    counts_of,
    memory_told,
    reads_of,
    tell_if_untrained,
)
from dprkit.training.processes import Group
from dprkit.training.reader_card import reader_card
from dprkit.training.resolved_reader import (
    ResolvedReader,
    reader_defaults,
    reader_inputs,
    resolve_reader,
)

if TYPE_CHECKING:
    from dprkit.models.reader import ReaderModel
    from dprkit.models.reader_tokens import ReaderTokens
    from dprkit.training.reader_task import ReaderTask
    from dprkit.training.trainer import Trainer


class TrainReaderReport(msgspec.Struct):
    """What was trained: on how much, how long, how well."""

    reader: str
    identity: str = ""
    questions: int = 0
    """Those that were trained on."""
    dropped: int = 0
    """Questions without a passage that holds an answer within the length."""
    epochs: int = 0
    """Whole epochs and the one begun, if any."""
    steps: int = 0
    losses: list[float] = []
    """Mean training loss of each epoch, in nats a question."""
    valid: dict[str, Any] | None = None
    """The validation of the weights that were kept."""
    valid_before: dict[str, Any] | None = None
    best_epoch: int = 0
    best_step: int = 0
    untrained: bool = False
    """The weights are those that training began with: no validation was better, or no step done."""
    outputs: list[str] = []
    notes: list[str] = []


def train_reader(settings: TrainReaderSettings, run: Run = Run()) -> TrainReaderReport:
    """Train an extractive reader and write it as a reader artifact.

    Left alone when it is up to date; an interrupted run goes on where it was saved and ends with
    the same bytes. Starts the processes itself where `num_processes` says so; under torchrun or
    accelerate launch it is one of theirs, and the first of them writes and reports.

    Raises SettingsError, InputError, FormatError, MismatchError, DivergedError, MemoryShortage,
    ProcessError.
    """
    required(settings.output_dir, "--output-dir", "output")
    resolved = resolve_reader(settings)
    course = Course("reader", train_reader, TrainReaderReport, _train, _fit)
    inputs = reader_inputs(resolved.recorded)
    report: TrainReaderReport = course.run(resolved, resolved.recorded, inputs, run)
    return report


def files_of(settings: TrainReaderSettings) -> StageFiles:
    """What is read and written. Raises SettingsError, MissingExtra."""
    directory = required(settings.output_dir, "--output-dir", "output")
    settings = reader_defaults(settings)
    if settings.tensorboard:
        need_extra("tensorboard", "tensorboard")
    names = {"valid": "valid_file", "init": "init"}
    return StageFiles(reads_of(reader_inputs(settings), names), directory)


# --- training -------------------------------------------------------------------------------------


def _train(work: Draft, settings: ResolvedReader, group: Group) -> Manifest:
    from dprkit.models.probe_texts import PROBES
    from dprkit.models.reading import ENCODER, HEADS, load_reader_model
    from dprkit.training.checkpoints import BEST, EPOCHS, METRICS
    from dprkit.training.curves import READER_VIEW, draw_curves

    for name in (ENCODER, HEADS, READER, PROBES, METRICS, EPOCHS, CARD, CURVES):
        work.claim(name)  # what stands in the way is better found before training than after
    if settings.max_epochs == 0:
        return _start_only(work, settings)
    with memory_told():
        trainer, task, notes = _fit(work, work.directory, settings, group)
    at = trainer.at
    model, tokens = task.model, task.tokens
    if at.best is not None and at.best_step != at.step:
        task.save(work, below="last/")
        model, tokens = load_reader_model(work.directory / f"{BEST}{at.best_step}")
    trainer.journal.adopt()
    counts: dict[str, Any] = {
        "questions": sum(len(found.rows) for found in task.usable),
        "dropped": sum(sum(found.dropped.values()) for found in task.usable),
        "valid_questions": len(task.valid or ()),
        "notes": notes,
    } | counts_of(at, task.batches_per_epoch)
    tell_if_untrained(counts, settings.best_by, work.run.progress)
    if at.step:
        with work.file(CURVES, content=False) as file:
            file.write(draw_curves(work.directory / METRICS, READER_VIEW))
    return _finish(work, settings, model, tokens, counts)


def _fit(
    work: Draft | None, directory: Path, settings: ResolvedReader, group: Group
) -> tuple[Trainer, ReaderTask, list[str]]:
    """Train on this process's share; the notes are those about the training files."""
    from dprkit.models.bi_encoder import device
    from dprkit.training.optimisation import set_products
    from dprkit.training.reader_task import ReaderTask
    from dprkit.training.trainer import Trainer

    set_products(settings.precision, device())
    task = ReaderTask(settings, group, work.run if work else Run())
    notes = task.notes()
    if work:
        for note in notes:
            work.run.progress.warn(note)
        work.run.progress.note(task.extent())
    trainer = Trainer(task, settings, directory, group, work)
    trainer.fit()
    return trainer, task, notes


def _start_only(work: Draft, settings: ResolvedReader) -> Manifest:
    """Write the starting model as a reader, untrained."""
    from dprkit.training.reader_task import reader_before

    model, tokens = reader_before(settings, work.run)
    counts = {"questions": 0, "steps": 0, "epochs": 0, "losses": [], "untrained": True}
    return _finish(work, settings, model, tokens, counts)


def _finish(
    work: Draft,
    settings: ResolvedReader,
    model: ReaderModel,
    tokens: ReaderTokens,
    counts: dict[str, Any],
) -> Manifest:
    """Write the reader, its probes and its card."""
    from dprkit.models.reader_probes import save_reader_probes
    from dprkit.models.reading import save_reader
    from dprkit.training.checkpoints import BEST, CHECKPOINT

    save_reader(work, model, tokens)
    save_reader_probes(work, model, tokens)
    with work.file(CARD, content=False) as card:
        card.write(reader_card(settings.recorded, model.config, counts).encode())
    counts |= {"packed": not model.padded}
    return work.finish(counts, drop=(BEST, CHECKPOINT))
