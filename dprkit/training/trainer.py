"""train: from a training file to a retriever artifact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.artifacts import Draft, Manifest, draft, is_artifact
from dprkit.errors import MismatchError, SettingsError, nearest
from dprkit.progress import Run
from dprkit.records import Example
from dprkit.settings import TrainSettings, record_of, required

if TYPE_CHECKING:
    from dprkit.models.bi_encoder import BiEncoder, RetrieverConfig
    from dprkit.models.tokens import Tokens
    from dprkit.training.batches import ExampleFile
    from dprkit.training.loop import Progression

PRETRAINED_LR = 2e-5
COSINE_TEMPERATURE = 0.05
HUB = "hub:"


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
    with draft(directory, "retriever", record_of(settings), _inputs(settings), run) as work:
        if work.done:
            return _report(directory, work.done)
        work.save()
        return _report(directory, _train(work, settings))


def _with_defaults(settings: TrainSettings) -> TrainSettings:
    """Fill in what depends on other settings and on the files that are there."""
    scratch = settings.init is None
    valid = settings.valid_file
    if valid is None and settings.train_file:
        beside = Path(settings.train_file).with_name("valid.jsonl")
        different = beside != Path(settings.train_file)
        valid = str(beside) if beside.is_file() and different else None
    cosine = settings.similarity == "cosine"
    chosen: dict[str, Any] = {
        "valid_file": valid,
        "pooling": settings.pooling or ("mean" if scratch else "cls"),
        "lr": settings.lr or (1e-3 if scratch else PRETRAINED_LR),
        "temperature": settings.temperature or (COSINE_TEMPERATURE if cosine else 1.0),
    }
    if settings.projection is None:
        chosen["projection"] = 20 if scratch else 0
    if settings.output_dropout is None:
        chosen["output_dropout"] = 0.2 if scratch else 0.0
    return msgspec.structs.replace(settings, **chosen)


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

    from dprkit.models.checkpoints import save_probes, save_retriever
    from dprkit.training.batches import ExampleFile
    from dprkit.training.loop import METRICS, Trainer

    inputs = _inputs(settings)
    examples, valid = (
        ExampleFile(inputs[name]) if name in inputs else None for name in ("train", "valid")
    )
    _tell(work, settings, examples, valid)
    torch.manual_seed(settings.seed)
    model, tokens = _start(settings, examples)
    trainer = Trainer(work, model, tokens, settings, settings.lr or PRETRAINED_LR)
    at = trainer.fit(examples or [], valid)
    if at.best_epoch != at.epoch:
        save_retriever(work, model, tokens, below="last/")
        model, tokens = _best(work)
    save_probes(work, model, tokens)
    work.remove(at.checkpoint)
    work.adopt(METRICS)
    counts = _counts(at, examples, valid)
    with work.file("README.md", content=False) as card:
        card.write(_model_card(settings, counts).encode())
    return work.finish(counts)


def _best(work: Draft) -> tuple[BiEncoder, Tokens]:
    from dprkit.models.checkpoints import load_bi_encoder

    return load_bi_encoder(work.directory)


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


def _start(settings: TrainSettings, examples: ExampleFile | None) -> tuple[BiEncoder, Tokens]:
    """The model before training: from scratch, from a transformer, or from a retriever."""
    from dprkit.models.checkpoints import load_bi_encoder

    dropout = settings.output_dropout or 0.0
    if settings.init is None:
        return _from_scratch(settings, examples or [])
    if is_artifact(settings.init) or (Path(settings.init) / "retriever.yaml").is_file():
        model, tokens = load_bi_encoder(settings.init, dropout)
        _check_same_shape(settings, model.config)
        return model, tokens
    return _from_transformer(settings, settings.init)


def _config(settings: TrainSettings) -> RetrieverConfig:
    from dprkit.models.bi_encoder import RetrieverConfig

    return RetrieverConfig(
        shared=settings.shared,
        pooling=settings.pooling or "cls",
        projection=settings.projection or None,
        similarity=settings.similarity,
        temperature=settings.temperature or 1.0,
        title_join=settings.title_join,
        question_max_length=settings.question_max_length,
        passage_max_length=settings.passage_max_length,
    )


def _check_same_shape(settings: TrainSettings, config: RetrieverConfig) -> None:
    """A retriever that training starts from keeps its pooling and similarity."""
    wanted = _config(settings)
    for name in ("pooling", "similarity", "title_join", "shared"):
        mine, theirs = getattr(wanted, name), getattr(config, name)
        default = TrainSettings.__struct_defaults__[TrainSettings.__struct_fields__.index(name)]
        if mine not in (theirs, default):
            raise MismatchError(
                f"{settings.init}: has {name} {theirs!r}; it cannot become {mine!r}"
            )


def _from_scratch(settings: TrainSettings, examples: Sequence[Example]) -> tuple[BiEncoder, Tokens]:
    from dprkit.models.checkpoints import tokens_for
    from dprkit.models.scratch import learn_tokenizer, tiny_roberta

    config = _config(settings)
    tokenizer = learn_tokenizer(_texts(examples), settings.scratch_vocab_size)
    size = tokenizer.get_vocab_size()
    model = _two_towers(lambda: tiny_roberta(settings, size), config, settings.output_dropout or 0)
    _check_lengths(model, settings)
    return model, tokens_for(tokenizer, config)


def _from_transformer(settings: TrainSettings, source: str) -> tuple[BiEncoder, Tokens]:
    from dprkit.models.checkpoints import load_backbone, tokens_for
    from dprkit.models.tokens import load_tokenizer

    config = _config(settings)
    model = _two_towers(lambda: load_backbone(source), config, settings.output_dropout or 0)
    _check_lengths(model, settings)
    return model, tokens_for(load_tokenizer(source), config)


def _two_towers(backbone: Any, config: RetrieverConfig, dropout: float) -> BiEncoder:
    from dprkit.models.bi_encoder import BiEncoder, Encoder

    question = Encoder(backbone(), config, dropout)
    passage = question if config.shared else Encoder(backbone(), config, dropout)
    passage.load_state_dict(question.state_dict())  # as in DPR, the towers part in training
    return BiEncoder(question, passage, config)


def _check_lengths(model: BiEncoder, settings: TrainSettings) -> None:
    config: Any = model.passage_encoder.backbone.config
    room = getattr(config, "max_position_embeddings", 1 << 30)
    if "roberta" in str(getattr(config, "model_type", "")):
        room -= 2  # its first position is the padding's id plus one
    for name in ("question_max_length", "passage_max_length"):
        if getattr(settings, name) > room:
            flag = name.replace("_", "-")
            raise SettingsError(f"--{flag}: the model reads at most {room} tokens")


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    """All text of the training file, for the tokenizer to learn from."""
    for example in examples:
        yield example.question
        for passage in chain(example.positives, example.hard_negatives, example.negatives):
            yield f"{passage.title} {passage.text}"


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


def _model_card(settings: TrainSettings, counts: dict[str, Any]) -> str:
    """README.md of a retriever: what it is, what it was trained on, how to load it."""
    valid = counts["valid"]
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in (valid or {}).items())
    start = settings.init or "random weights"
    table = f"| validation | |\n|---|---:|\n{figures}\n" if valid else "It was not validated.\n"
    values = msgspec.to_builtins(settings)
    recipe = "\n".join(f"    {k}: {v}" for k, v in values.items() if not k.endswith("_dir"))
    return f"""# A dprkit retriever

A bi-encoder ({settings.pooling} pooling, {settings.similarity}) that started from {start} and was
trained on {counts["examples"]} examples for {counts["epochs"]} epochs ({counts["steps"]} steps).
The weights are those of epoch {counts["best_epoch"]}.

{table}
## Use

    dprkit encode-corpus --retriever THIS_FOLDER --passages passages.tsv

    import dprkit
    retriever = dprkit.load_retriever("THIS_FOLDER")
    retriever.encode_questions(["who wrote hamlet"])          # (1, D)

    from transformers import AutoModel, AutoTokenizer
    AutoModel.from_pretrained("THIS_FOLDER/question_encoder")  # see retriever.yaml

## Settings

{recipe}
"""
