"""train: from training files to a retriever artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.scored_files import refuse_two_teachers
from dprkit.errors import need_extra
from dprkit.models.config import CONFIG, PASSAGE, QUESTION
from dprkit.progress import Run
from dprkit.settings import TrainSettings, required
from dprkit.store.drafts import Draft
from dprkit.store.manifests import (
    PASSAGE_SIDE_OF,
    Manifest,
    is_artifact,
    passage_sides,
    read_manifest,
)
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
from dprkit.training.model_card import model_card
from dprkit.training.processes import Group
from dprkit.training.resolved_settings import (
    ResolvedSettings,
    inputs_of,
    resolve,
    sampled_files,
    with_defaults,
)

if TYPE_CHECKING:
    from dprkit.models.bi_encoder import BiEncoder
    from dprkit.models.late_interaction import Colbert
    from dprkit.models.tokens import Tokens
    from dprkit.training.retriever_task import RetrieverTask
    from dprkit.training.trainer import Trainer


class TrainReport(msgspec.Struct):
    """What was trained: on how much, how long, how well."""

    retriever: str
    identity: str = ""
    examples: int = 0
    epochs: int = 0
    """Whole epochs and the one begun, if any."""
    steps: int = 0
    losses: list[float] = []
    """Mean training loss of each epoch, in nats a question."""
    valid: dict[str, Any] | None = None
    """The validation of the weights that were kept, before any averaging."""
    valid_before: dict[str, Any] | None = None
    valid_averaged: dict[str, Any] | None = None
    """The validation of the weights that are written, averaged with those before training."""
    teacher: dict[str, float] | None = None
    """The teacher's lists at the temperature that was taken (teacher_lists.py)."""
    best_epoch: int = 0
    best_step: int = 0
    untrained: bool = False
    """The weights are those that training began with: no validation was better, or no step done."""
    passage_side_of: list[str] = []
    """Of --freeze passage: the identities of retrievers whose indexes this one can be asked by."""
    outputs: list[str] = []
    notes: list[str] = []


def train(settings: TrainSettings, run: Run = Run()) -> TrainReport:
    """Train a bi-encoder or a ColBERT model and write it as a retriever artifact.

    Left alone when it is up to date; an interrupted run goes on where it was saved and ends with
    the same bytes. Starts the processes itself where `num_processes` says so; under torchrun or
    accelerate launch it is one of theirs, and the first of them writes and reports.

    Raises SettingsError, InputError, FormatError, MismatchError, DivergedError, MemoryShortage,
    ProcessError.
    """
    required(settings.output_dir, "--output-dir", "output")
    resolved = resolve(settings)
    if resolved.teacher is not None:
        refuse_two_teachers(path for path, _ in resolved.files)
    course = Course("retriever", train, TrainReport, _train, _fit)
    inputs = inputs_of(resolved.recorded)
    report: TrainReport = course.run(resolved, resolved.recorded, inputs, run)
    return report


def files_of(settings: TrainSettings) -> StageFiles:
    """What is read and written. Raises SettingsError, InputError, MismatchError, MissingExtra."""
    directory = required(settings.output_dir, "--output-dir", "output")
    settings = with_defaults(settings)
    if settings.lora_rank:
        need_extra("lora", "peft")
    if settings.tensorboard:
        need_extra("tensorboard", "tensorboard")
    names = {"valid": "valid_file", "corpus": "valid_corpus", "init": "init", "whiten": "whiten"}
    return StageFiles(reads_of(inputs_of(settings), names), directory)


# --- training -------------------------------------------------------------------------------------


def _train(work: Draft, settings: ResolvedSettings, group: Group) -> Manifest:
    from dprkit.models.probe_texts import PROBES
    from dprkit.models.retriever_folder import load_model
    from dprkit.training.check_teacher import figures_of
    from dprkit.training.checkpoints import BEST, EPOCHS, METRICS
    from dprkit.training.curves import draw_curves

    for name in (QUESTION, PASSAGE, CONFIG, PROBES, METRICS, EPOCHS, CARD, CURVES):
        work.claim(name)  # what stands in the way is better found before training than after
    if settings.whiten:
        PassageFile(settings.whiten, work.run.progress.note)  # refused now, if it is no corpus
    if settings.max_epochs == 0:
        return _start_only(work, settings)
    with memory_told():
        trainer, task, notes = _fit(work, work.directory, settings, group)
    at = trainer.at
    model, tokens = task.finished()
    if at.best is not None and at.best_step != at.step:
        task.save(work, below="last/")
        model, tokens = load_model(work.directory / f"{BEST}{at.best_step}")
    averaged = task.average(model) if task.start else None
    trainer.journal.adopt()
    counts: dict[str, Any] = {
        "examples": sum(map(len, task.examples.files)),
        "valid_examples": len(task.valid or ()),
        "notes": notes,
    } | counts_of(at, task.batches_per_epoch)
    if task.teacher_lists:
        counts["teacher"] = figures_of(task)
    if averaged:
        counts["valid_averaged"] = averaged
    tell_if_untrained(counts, settings.best_by, work.run.progress)
    if at.step:
        with work.file(CURVES, content=False) as file:
            file.write(draw_curves(work.directory / METRICS))
    return _finish(work, settings, model, tokens, counts)


def _fit(
    work: Draft | None, directory: Path, settings: ResolvedSettings, group: Group
) -> tuple[Trainer, RetrieverTask, list[str]]:
    """Train on this process's share; the notes are those of the examples."""
    from dprkit.models.bi_encoder import device
    from dprkit.training.check_examples import tell_about
    from dprkit.training.optimisation import set_products
    from dprkit.training.retriever_task import RetrieverTask
    from dprkit.training.trainer import Trainer

    set_products(settings.precision, device())
    task = RetrieverTask(settings, group, work.run if work else Run())
    notes = tell_about(task, work.run.progress) if work else []
    trainer = Trainer(task, settings, directory, group, work)
    trainer.fit()
    return trainer, task, notes


def _start_only(work: Draft, settings: ResolvedSettings) -> Manifest:
    """Write the starting model as a retriever, untrained."""
    import torch

    from dprkit.data.examples_by_row import ExampleFile
    from dprkit.training.initial_model import finished, starting_model

    torch.manual_seed(settings.seed)
    read = sampled_files(settings) if settings.init else [path for path, _ in settings.files]
    files = [ExampleFile(path, leave_out=settings.left_out) for path in read]
    model, tokens = starting_model(settings, files, work.run)
    model = finished(model, settings.temperature or model.config.temperature)
    counts = {"examples": sum(map(len, files)), "steps": 0, "epochs": 0, "losses": []}
    return _finish(work, settings, model, tokens, counts | {"untrained": True})


def _finish(
    work: Draft,
    settings: ResolvedSettings,
    model: BiEncoder | Colbert,
    tokens: Tokens,
    counts: dict[str, Any],
) -> Manifest:
    """Write the retriever, its probes and its card."""
    from dprkit.models.bi_encoder import BiEncoder
    from dprkit.models.probe_texts import save_probes
    from dprkit.models.retriever_folder import save_retriever
    from dprkit.training.checkpoints import BEST, CHECKPOINT
    from dprkit.training.whitening import sample_of, whitened

    if sides := _passage_side(work, settings):
        counts |= {PASSAGE_SIDE_OF: sides}
    if settings.whiten and isinstance(model, BiEncoder):
        work.run.progress.note(f"whitening the vectors by passages of {settings.whiten}")
        sample = sample_of(PassageFile(settings.whiten))
        model = whitened(model, tokens, sample, settings.whiten_strength)
    save_retriever(work, model, tokens)
    save_probes(work, model, tokens)
    with work.file(CARD, content=False) as card:
        card.write(model_card(settings.recorded, model.config, counts).encode())
    counts |= {"packed": not model.padded}
    return work.finish(counts, drop=(BEST, CHECKPOINT))


def _passage_side(work: Draft, settings: ResolvedSettings) -> list[str]:
    """The identities of the retrievers whose encoder of passages this one keeps."""
    if not settings.freeze:
        return []
    if is_artifact(settings.init):
        return passage_sides(read_manifest(settings.init))
    work.run.progress.note(
        f"{settings.init}: is no artifact of dprkit, so an index knows the trained retriever's "
        "passages by that one alone; dprkit convert makes an artifact of it"
    )
    return []
