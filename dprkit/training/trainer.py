"""train: from a training file to a retriever artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.artifacts import Draft, Manifest, draft
from dprkit.errors import MismatchError, SettingsError, nearest
from dprkit.models.config import CONFIG, RetrieverConfig, is_retriever, load_config
from dprkit.progress import Run
from dprkit.settings import TrainSettings, record_of, required
from dprkit.training.card import model_card

if TYPE_CHECKING:
    from dprkit.training.batches import ExampleFile
    from dprkit.training.loop import Progression

CARD = "README.md"
PRETRAINED_LR = 2e-5
COSINE_TEMPERATURE = 0.05
SCRATCH_LR = 1e-3
PRETRAINED_BATCH = 32
SCRATCH_BATCH = 8
SCRATCH_PROJECTION = 20
SCRATCH_DROPOUT = 0.2
SHAPE = (
    "shared",
    "pooling",
    "similarity",
    "temperature",
    "title_join",
    "question_max_length",
    "passage_max_length",
)
"""What a retriever is; training cannot change it."""


class TrainReport(msgspec.Struct):
    """What was trained: on how much, how long, how well."""

    retriever: str
    identity: str = ""
    examples: int = 0
    epochs: int = 0
    steps: int = 0
    losses: list[float] = []
    """Mean training loss of each epoch, in nats a question."""
    valid: dict[str, Any] | None = None
    """The validation of the epoch that was kept."""
    best_epoch: int = 0
    outputs: list[str] = []
    notes: list[str] = []


def train(settings: TrainSettings, run: Run = Run()) -> TrainReport:
    """Train a bi-encoder and write it as a retriever artifact.

    Left alone when it is up to date; an interrupted run goes on after its last whole epoch and
    ends with the same bytes. Raises SettingsError, InputError, FormatError, MismatchError.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    settings = _with_defaults(settings)
    inputs = _inputs(settings)
    with draft(directory, "retriever", settings_record(settings), inputs, run) as work:
        if work.done:
            return _report(directory, work.done)
        return _report(directory, _train(work, settings))


def settings_record(settings: TrainSettings) -> dict[str, Any]:
    """What the manifest keeps: a start from a folder counts by its bytes, from a hub by name."""
    hub = settings.init is not None and not Path(settings.init).exists()
    return record_of(settings) | ({"init": settings.init} if hub else {})


def _with_defaults(settings: TrainSettings) -> TrainSettings:
    """Fill in what depends on other settings and on the files that are there."""
    if settings.init is not None and is_retriever(settings.init):
        settings = _as_the_retriever(settings, load_config(settings.init))
    scratch = settings.init is None
    if scratch and settings.scratch_hidden_size % settings.scratch_heads:
        raise SettingsError(
            f"--scratch-heads {settings.scratch_heads} does not divide "
            f"--scratch-hidden-size {settings.scratch_hidden_size}"
        )
    cosine = settings.similarity == "cosine"
    defaults: dict[str, Any] = {
        "shared": False,
        "similarity": "dot",
        "title_join": "pair",
        "question_max_length": 64,
        "passage_max_length": 256,
        "batch_size": SCRATCH_BATCH if scratch else PRETRAINED_BATCH,
        "valid_file": _valid_beside(settings.train_file),
        "pooling": "mean" if scratch else "cls",
        "lr": SCRATCH_LR if scratch else PRETRAINED_LR,
        "temperature": COSINE_TEMPERATURE if cosine else 1.0,
        "projection": SCRATCH_PROJECTION if scratch else 0,
        "output_dropout": SCRATCH_DROPOUT if scratch else 0.0,
    }
    missing = {k: v for k, v in defaults.items() if getattr(settings, k) is None}
    return msgspec.structs.replace(settings, **missing)


def _valid_beside(train_file: str | None) -> str | None:
    """valid.jsonl in the folder of the training file, if it is there."""
    if train_file is None:
        return None
    beside = Path(train_file).with_name("valid.jsonl")
    return str(beside) if beside.is_file() and beside != Path(train_file) else None


def _as_the_retriever(settings: TrainSettings, config: RetrieverConfig) -> TrainSettings:
    """A retriever that training starts from keeps its shape; settings may not contradict it."""
    shape = {name: getattr(config, name) for name in SHAPE} | {"projection": config.projection or 0}
    for name, theirs in shape.items():
        mine = getattr(settings, name)
        if mine not in (theirs, None):
            raise MismatchError(
                f"{settings.init}: has {name} {theirs!r}; it cannot become {mine!r}"
            )
    return msgspec.structs.replace(settings, **shape)


def _inputs(settings: TrainSettings) -> dict[str, str]:
    """The files that the result depends on; a start from scratch or training needs examples."""
    files = {"valid": settings.valid_file} if settings.max_epochs else {}
    if settings.max_epochs or settings.init is None:
        files["train"] = required(settings.train_file, "--train-file", "training file")
    if settings.init is not None and Path(settings.init).exists():
        files["init"] = settings.init
    elif settings.init is not None and settings.init.startswith((".", "/", "~")):
        raise SettingsError(f"--init: {settings.init}: no such folder{_beside(settings.init)}")
    return {name: path for name, path in files.items() if path}


def _beside(path: str) -> str:
    parent = Path(path).parent
    return nearest(Path(path).name, [p.name for p in parent.iterdir()]) if parent.is_dir() else ""


# --- training -------------------------------------------------------------------------------------


def _train(work: Draft, settings: TrainSettings) -> Manifest:
    import torch

    from dprkit.models.checkpoints import (
        PASSAGE,
        PROBES,
        QUESTION,
        load_bi_encoder,
        save_probes,
        save_retriever,
    )
    from dprkit.training.batches import ExampleFile
    from dprkit.training.loop import BEST, CHECKPOINT, METRICS, Trainer
    from dprkit.training.start import starting_model

    for name in (QUESTION, PASSAGE, CONFIG, PROBES, METRICS, CARD):
        work.claim(name)  # what stands in the way is better found before training than after
    inputs = _inputs(settings)
    examples, valid = (
        ExampleFile(inputs[name]) if name in inputs else None for name in ("train", "valid")
    )
    _tell(work, settings, examples, valid)
    torch.manual_seed(settings.seed)
    model, tokens = starting_model(settings, examples or [])
    trainer = Trainer(work, model, tokens, settings, settings.lr or PRETRAINED_LR)
    at = trainer.fit(examples or [], valid)
    if at.best_epoch != at.epoch:
        save_retriever(work, model, tokens, below="last/")
        model, tokens = load_bi_encoder(work.directory / f"{BEST}{at.best_epoch}")
    save_retriever(work, model, tokens)
    save_probes(work, model, tokens)
    work.adopt(METRICS)
    counts = _counts(at, examples, valid)
    with work.file(CARD, content=False) as card:
        card.write(model_card(settings, counts).encode())
    return work.finish(counts, drop=(BEST, CHECKPOINT))


def _tell(
    work: Draft, settings: TrainSettings, examples: ExampleFile | None, valid: ExampleFile | None
) -> None:
    note = work.run.progress.note
    if examples and examples.dropped:
        note(f"{settings.train_file}: {examples.dropped} rows without a positive are left out")
    if valid:
        note(f"training on {len(examples or [])} examples, validating on {len(valid)}")
        shared = {e.question for e in examples or []} & {e.question for e in valid}
        if shared:
            note(f"{len(shared)} validation questions are training questions too")
    elif settings.max_epochs:
        note(f"training on {len(examples or [])} examples without validation (--valid-file)")


# --- telling --------------------------------------------------------------------------------------


def _counts(
    at: Progression, examples: ExampleFile | None, valid: ExampleFile | None
) -> dict[str, Any]:
    return {
        "examples": len(examples or []),
        "valid_examples": len(valid or []),
        "epochs": at.epoch,
        "steps": at.step,
        "losses": at.losses,
        "best_epoch": at.best_epoch,
        "valid": msgspec.to_builtins(at.best),
        "valid_before": msgspec.to_builtins(at.history[0]) if at.history else None,
    }


def _report(directory: Path, manifest: Manifest) -> TrainReport:
    counts = manifest.counts
    return TrainReport(
        retriever=str(directory),
        identity=manifest.identity,
        examples=counts["examples"],
        epochs=counts["epochs"],
        steps=counts["steps"],
        losses=counts["losses"],
        valid=counts["valid"],
        best_epoch=counts["best_epoch"],
        outputs=[str(directory)],
    )
