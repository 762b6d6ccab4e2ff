"""The transformer that training starts from, whatever is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from dprkit.errors import InputError, MismatchError
from dprkit.interop.colbert import ForeignColbert
from dprkit.interop.foreign_reader import ForeignReader
from dprkit.interop.hub import local
from dprkit.interop.sources import read_foreign
from dprkit.interop.tower import Foreign
from dprkit.models.from_scratch import learn_tokenizer, tiny_roberta
from dprkit.models.reader_config import is_reader
from dprkit.progress import Run
from dprkit.records import Example
from dprkit.settings import ConvertSettings, TrainSettings
from dprkit.training.resolved_trainer import ResolvedTrainer


def scratch_transformer(
    settings: TrainSettings, files: Iterable[Iterable[Example]]
) -> tuple[nn.Module, Any]:
    """A small RoBERTa with random weights, and a tokenizer learned from the training files."""
    tokenizer = learn_tokenizer(_texts(chain.from_iterable(files)), settings.scratch_vocab_size)
    return tiny_roberta(settings, tokenizer.get_vocab_size()), tokenizer


def _texts(examples: Iterable[Example]) -> Iterator[str]:
    """All text of the training files, for the tokenizer to learn from."""
    for example in examples:
        yield example.question
        for passage in chain(example.positives, example.hard_negatives, example.negatives):
            yield f"{passage.title} {passage.text}"


def foreign_start(source: str, run: Run) -> tuple[str, Foreign | ForeignColbert]:
    """The kind of a foreign model, and what it holds. Raises InputError, MismatchError."""
    if is_reader(source):
        raise MismatchError(
            f"{source}: is a reader, which no retriever can start from; name a retriever or a "
            "transformer, or train a reader from it with dprkit train-reader --init"
        )
    kind, foreign = foreign_model(source, run)
    if isinstance(foreign, ForeignReader):
        raise MismatchError(
            f"{source}: is a reader ({kind}), which no retriever can start from; name a retriever "
            "or a transformer"
        )
    return kind, foreign


def foreign_model(source: str, run: Run) -> tuple[str, Foreign | ForeignColbert | ForeignReader]:
    """As `foreign_start`, also of a reader."""
    _check_form(source, local(source, run.progress.note))
    return read_foreign(ConvertSettings(source=source))


def _check_form(source: str, path: Path) -> None:
    """Refuse what only `convert` reads: it does so without running what is in it."""
    first = f"read it with dprkit convert {source} --output-dir MODEL, and start from MODEL"
    if path.is_file():
        raise InputError(f"{source}: is a file, not the folder of a model; {first}")
    if any(path.rglob("*.bin")) and not any(path.rglob("*.safetensors")):
        raise InputError(f"{source}: its weights are a pickle (.bin); {first}")


def make_ready(
    owners: Sequence[Any],
    settings: ResolvedTrainer,
    adapted: Callable[[nn.Module], nn.Module] = lambda backbone: backbone,
) -> None:
    """Dropout, adapters, activation checkpointing and compiling of a transformer, as asked for.

    `owners`: what has it as its `backbone`. `adapted`: puts adapters on it.
    """
    backbone: Any = owners[0].backbone
    if settings.dropout is not None:
        _set_dropout(backbone, settings.dropout)
    backbone = adapted(backbone)
    if settings.activation_checkpointing:
        _checkpoint_activations(backbone)
    if settings.compile:
        backbone.compile(dynamic=True)
    for owner in owners:
        owner.backbone = backbone
        # A compiled model would be compiled again for each pack.
        owner.packed &= not settings.compile


def _checkpoint_activations(backbone: Any) -> None:
    """Keep each layer's input and compute the rest again, with the same dropout."""
    if hasattr(backbone, "activation_checkpointing_enable"):  # its name since transformers 5
        backbone.activation_checkpointing_enable()
    else:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})


def _set_dropout(backbone: nn.Module, dropout: float) -> None:
    """Set every dropout inside a transformer; attention reads its share off these modules too."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
