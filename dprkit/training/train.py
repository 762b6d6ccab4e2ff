"""train: from training files to a retriever artifact."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.errors import MemoryShortage, SettingsError, need_extra
from dprkit.memory import ran_out
from dprkit.models.config import CONFIG, PASSAGE, QUESTION
from dprkit.progress import Run
from dprkit.settings import TrainSettings, required
from dprkit.store.artifacts import draft, preview
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest
from dprkit.store.stage_files import StageFiles
from dprkit.training.model_card import model_card
from dprkit.training.processes import Group, join, joined, launch
from dprkit.training.resolve import (
    inputs_of,
    more_to_record,
    weighted_files,
    with_defaults,
)

if TYPE_CHECKING:
    from dprkit.data.example_file import ExampleFile
    from dprkit.models.tokens import Tokens
    from dprkit.records import Passage
    from dprkit.training.batches import Draw, Mixture, Plan, Preparation
    from dprkit.training.gradients import GradientEngine
    from dprkit.training.journal import Progression
    from dprkit.training.trainer import Trainer

CARD, CURVES = "README.md", "curves.svg"


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
    """The validation of the weights that were kept."""
    valid_before: dict[str, Any] | None = None
    best_epoch: int = 0
    best_step: int = 0
    untrained: bool = False
    """The weights are those that training began with: no validation was better, or no step done."""
    outputs: list[str] = []
    notes: list[str] = []


def train(settings: TrainSettings, run: Run = Run()) -> TrainReport:
    """Train a bi-encoder and write it as a retriever artifact.

    Left alone when it is up to date; an interrupted run goes on where it was saved and ends with
    the same bytes. Starts the processes itself where `num_processes` says so; under torchrun or
    accelerate launch it is one of theirs, and the first of them writes and reports.

    Raises SettingsError, InputError, FormatError, MismatchError, DivergedError, MemoryShortage,
    ProcessError.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    settings = with_defaults(settings)
    inputs, more = inputs_of(settings), more_to_record(settings)
    if settings.num_processes > 1 and not joined():
        there = preview(directory, "retriever", settings, inputs, run, more).done
        if there:
            return _report(directory, there)
        return launch(train, settings, run, settings.num_processes)
    group = join()
    if not group.first:
        return _follow(directory, settings, group)
    with draft(directory, "retriever", settings, inputs, run, more) as work:
        group.agree(work.done is not None)
        return _report(directory, work.done or _train(work, settings, group))


def files_of(settings: TrainSettings) -> StageFiles:
    """What is read and written. Raises SettingsError, InputError, MismatchError, MissingExtra."""
    directory = required(settings.output_dir, "--output-dir", "output")
    settings = with_defaults(settings)
    if settings.lora_rank:
        need_extra("lora", "peft")
    if settings.tensorboard:
        need_extra("tensorboard", "tensorboard")
    names = {"valid": "valid_file", "corpus": "valid_corpus", "init": "init"}
    reads: dict[str, list[str]] = {}
    for name, path in inputs_of(settings).items():
        reads.setdefault(names.get(name, "train_file"), []).append(path)
    return StageFiles(reads, directory)


def _follow(directory: Path, settings: TrainSettings, group: Group) -> TrainReport:
    """Train along with the first process, which writes and reports."""
    if not group.agree(False) and settings.max_epochs != 0:
        _fit(None, directory, settings, group)
    return TrainReport(str(directory))


# --- training -------------------------------------------------------------------------------------


def _train(work: Draft, settings: TrainSettings, group: Group) -> Manifest:
    from dprkit.models.checkpoints import PROBES, load_bi_encoder, save_probes, save_retriever
    from dprkit.training.curves import draw_curves
    from dprkit.training.initial_model import finished
    from dprkit.training.journal import BEST, CHECKPOINT, EPOCHS, METRICS

    for name in (QUESTION, PASSAGE, CONFIG, PROBES, METRICS, EPOCHS, CARD, CURVES):
        work.claim(name)  # what stands in the way is better found before training than after
    if settings.max_epochs == 0:
        return _start_only(work, settings)
    try:
        trainer, tokens, facts = _fit(work, work.directory, settings, group)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise MemoryShortage(
            "out of memory beside the steps themselves: a smaller model or --valid-every never "
            "takes less; what was saved is kept"
        ) from None
    at = trainer.at
    model = finished(trainer.engine.model, trainer.objective.temperature)  # type: ignore[arg-type]
    if at.best is not None and at.best_step != at.step:
        save_retriever(work, model, tokens, below="last/")
        model, tokens = load_bi_encoder(work.directory / f"{BEST}{at.best_step}")
    save_retriever(work, model, tokens)
    save_probes(work, model, tokens)
    trainer.journal.adopt()
    counts = facts | _counts(at, trainer.plan)
    if counts["untrained"]:
        note = (
            f"no validation had a better {settings.best_by} than the one before training: the "
            "weights that are kept are the untrained ones"
        )
        work.run.progress.warn(note)
        counts["notes"].append(note)
    if at.step:
        with work.file(CURVES, content=False) as file:
            file.write(draw_curves(work.directory / METRICS))
    with work.file(CARD, content=False) as card:
        card.write(model_card(settings, model.config, counts).encode())
    return work.finish(counts, drop=(BEST, CHECKPOINT))


def _fit(
    work: Draft | None, directory: Path, settings: TrainSettings, group: Group
) -> tuple[Trainer, Tokens, dict[str, Any]]:
    """Train on this process's share; the trainer, the tokens, and what to tell of the data."""
    import torch

    from dprkit.models.bi_encoder import device
    from dprkit.training.batches import Draw, Mixture, Plan, Preparation, Prepared
    from dprkit.training.feed import Feed
    from dprkit.training.gradients import GradientEngine
    from dprkit.training.initial_model import starting_model
    from dprkit.training.journal import Journal, Progression, load_state
    from dprkit.training.objectives import CONTRASTIVE, SYMMETRIC, ScoreObjective
    from dprkit.training.optimisation import autocasting, set_products
    from dprkit.training.trainer import Trainer
    from dprkit.training.validation import Validator

    set_products(settings.precision, device())
    files = _open_files(work, settings, group)
    mixture = Mixture(files, [weight for _, weight in weighted_files(settings)])
    size = settings.batch_size or 1
    plan = Plan(mixture, size, settings.seed, settings.mix, settings.same_title)
    valid = _validation_rows(settings)
    at = msgspec.convert(group.agree(dict(work.state) if work else {}), Progression)
    torch.manual_seed(settings.seed)
    run = work.run if work else Run()
    model, tokens = starting_model(settings, chain.from_iterable(files), run)
    engine = GradientEngine(model, group, autocasting(settings.precision, device()))
    temperature = settings.temperature or model.config.temperature
    losses = SYMMETRIC if settings.symmetric else CONTRASTIVE
    objective = ScoreObjective(temperature, settings.learn_temperature, losses).to(device())
    trainer = Trainer(engine, objective, plan, Journal(work, settings), settings, at)
    if at.checkpoints:
        load_state(directory / at.checkpoints[-1], trainer.state)
    group.copy([*model.parameters(), *model.buffers()])
    draw = Draw(
        settings.hard_negatives,
        settings.negatives,
        settings.seed,
        settings.hard_negatives_top,
        settings.hard_negatives_by,
        settings.fresh_negatives,
    )
    # The tokenizer is set to a length at each use, and the feed works beside validation.
    source = Preparation(
        plan, draw, copy.deepcopy(tokens), settings.mask_answers, settings.loss_weights
    )
    if group.agree(not at.step or bool(work and "chunk_size" in work.changed)):
        at.chunk_texts = group.agree(_chunk_texts(engine, source, settings))
    notes = _without_negatives(settings, plan, draw, valid) if work else []
    _tell(work, settings, trainer, valid, notes)
    validate = None
    if valid:
        validate = Validator(engine, objective, tokens, valid, settings, _corpus(settings))
    feed: Feed[Prepared] = Feed(source, at.step, trainer.steps, settings.num_workers)
    with feed:
        trainer.fit(feed, tokens, validate)
    facts = {
        "examples": sum(map(len, files)),
        "valid_examples": len(valid or ()),
        "notes": notes,
    }
    return trainer, tokens, facts


def _validation_rows(settings: TrainSettings) -> Mixture | None:
    """The rows to validate on; None: there is no validation."""
    from dprkit.data.example_file import ExampleFile
    from dprkit.training.batches import Mixture

    if not settings.valid_file or settings.valid_every == "never":
        return None
    return Mixture([ExampleFile(settings.valid_file)], [1.0])


def _open_files(work: Draft | None, settings: TrainSettings, group: Group) -> list[ExampleFile]:
    """The training files; the first process makes their indexes, the others wait for them."""
    from dprkit.data.example_file import ExampleFile

    if not group.first:
        group.agree(None)
    note = (work.run if work else Run()).progress.note
    files = [ExampleFile(path, note) for path, _ in weighted_files(settings)]
    if group.first:
        group.agree(None)
    return files


def _chunk_texts(
    engine: GradientEngine, source: Preparation, settings: TrainSettings
) -> int | None:
    """Texts in a chunk, settled once: another number would give other dropout."""
    from dprkit.training.step_memory import chunk_that_fits, free_bytes

    if settings.chunk_size != "auto":
        return int(settings.chunk_size) if settings.chunk_size else None
    batch = source(0)
    engine.model.train()  # what dropout keeps counts too
    return chunk_that_fits(engine, batch.sides, free_bytes(engine.device))


def _corpus(settings: TrainSettings) -> Callable[[], Iterator[Passage]] | None:
    from dprkit.data.passages import read_passages

    path = settings.valid_corpus
    return partial(read_passages, path) if path else None


def _without_negatives(
    settings: TrainSettings, plan: Plan, draw: Draw, valid: Mixture | None
) -> list[str]:
    """What to say of questions that have nothing to be told apart from."""
    from dprkit.training.batches import Plan, lonely_questions

    notes = []
    lonely, seen = lonely_questions(plan, draw, settings.mask_answers)
    if lonely:
        of = seen if seen >= len(plan.mixture) else f"the first {seen}"
        advice = "raise --batch-size or give negatives"
        notes.append(f"{lonely} of {of} questions have no negative: {advice}")
    if valid:
        in_order = Plan(valid, plan.batch_size, None)
        draw = draw._replace(seed=None)
        lonely, seen = lonely_questions(in_order, draw, settings.mask_answers)
        if lonely:
            of = seen if seen >= len(valid) else f"the first {seen}"
            notes.append(
                f"{lonely} of {of} validation questions have no negative: loss and accuracy "
                "count them as right"
            )
    return notes


def _tell(
    work: Draft | None,
    settings: TrainSettings,
    trainer: Trainer,
    valid: Mixture | None,
    notes: list[str],
) -> None:
    if work is None:
        return
    note, warn, plan = work.run.progress.note, work.run.progress.warn, trainer.plan
    rows = sum(map(len, plan.mixture.files))
    for file in (*plan.mixture.files, *(valid.files if valid else ())):
        if file.dropped:
            places = ", ".join(file.dropped_where) + (", ..." if file.dropped > 5 else "")
            warn(f"{file.path}: {file.dropped} rows without a positive are left out ({places})")
    if rows < (settings.batch_size or 1):
        warn(
            f"fewer rows than a batch has ({rows} of {settings.batch_size}): each batch is smaller"
        )
    for line in notes:
        warn(line)
    if plan.batches_per_epoch > -(-len(plan.mixture) // plan.batch_size):
        note(
            f"one passage is the positive of many rows: an epoch has {plan.batches_per_epoch} "
            f"batches of at most {-(-len(plan.mixture) // plan.batches_per_epoch)} questions"
        )
    if valid:
        note(f"training on {rows} examples, validating on {len(valid)}")
        if shared := _shared_questions(plan.mixture, valid):
            warn(f"validation questions that are training questions too: {shared}")
    else:
        why = "--valid-every never" if settings.valid_file else "no --valid-file"
        note(f"training on {rows} examples without validation ({why})")
    if trainer.at.chunk_texts:
        note(f"gradients are cached in chunks of {trainer.at.chunk_texts} passages")
    _tell_schedule(work, settings, trainer)


def _tell_schedule(work: Draft, settings: TrainSettings, trainer: Trainer) -> None:
    """What another end of training does to a run that is half done."""
    from dprkit.training.trainer import total_steps

    if not set(work.changed) & {"max_epochs", "max_steps"}:
        return
    at = trainer.at.step
    if trainer.steps < at:
        raise SettingsError(
            f"{at} steps are done already, more than the {trainer.steps} asked for; "
            "ask for more, or begin again with --restart"
        )
    before = total_steps(
        msgspec.structs.replace(settings, **work.changed), trainer.plan.batches_per_epoch
    )
    work.run.progress.warn(
        f"training ends after step {trainer.steps} instead of {before}: the first {at} steps had "
        f"the learning rates that lead to {before}, those to come have the ones that lead to "
        f"{trainer.steps}"
    )


def _shared_questions(mixture: Mixture, valid: Mixture) -> int:
    """Questions of both sets, by the keys that the files' indexes have of them."""
    import numpy as np

    trained = np.concatenate([file.questions for file in mixture.files])
    return len(np.intersect1d(trained, valid.files[0].questions))


def _start_only(work: Draft, settings: TrainSettings) -> Manifest:
    """Write the starting model as a retriever, untrained."""
    import torch

    from dprkit.data.example_file import ExampleFile
    from dprkit.models.checkpoints import save_probes, save_retriever
    from dprkit.training.initial_model import finished, starting_model

    torch.manual_seed(settings.seed)
    files = [] if settings.init else [ExampleFile(path) for path, _ in weighted_files(settings)]
    model, tokens = starting_model(settings, chain.from_iterable(files), work.run)
    model = finished(model, settings.temperature or model.config.temperature)
    save_retriever(work, model, tokens)
    save_probes(work, model, tokens)
    counts = {"examples": sum(map(len, files)), "steps": 0, "epochs": 0, "losses": []}
    counts["untrained"] = True
    with work.file(CARD, content=False) as card:
        card.write(model_card(settings, model.config, counts).encode())
    return work.finish(counts)


# --- telling --------------------------------------------------------------------------------------


def _counts(at: Progression, plan: Plan) -> dict[str, Any]:
    size = plan.batches_per_epoch
    epochs = -(-at.step // size)
    return {
        "epochs": epochs,
        "steps": at.step,
        "losses": at.losses,
        "best_step": at.best_step if at.best else at.step,
        "untrained": not (at.best_step if at.best else at.step),
        "best_epoch": -(-at.best_step // size) if at.best else epochs,
        "valid": at.best,
        "valid_before": at.history[0] if at.history else None,
        "chunk_texts": at.chunk_texts,
    }


def _report(directory: Path, manifest: Manifest) -> TrainReport:
    known = {field.name for field in msgspec.structs.fields(TrainReport)}
    return TrainReport(
        retriever=str(directory),
        identity=manifest.identity,
        outputs=[str(directory)],
        **{name: value for name, value in manifest.counts.items() if name in known},
    )
