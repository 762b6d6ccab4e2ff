"""The model before training, made ready to train; and what is kept of it afterwards."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec
from torch import nn

from dprkit.errors import MissingExtra, SettingsError
from dprkit.models.bi_encoder import BiEncoder, Encoder, device, positions
from dprkit.models.checkpoints import load_backbone, load_bi_encoder
from dprkit.models.config import RetrieverConfig, is_retriever
from dprkit.models.scratch import learn_tokenizer, tiny_roberta
from dprkit.models.tokens import Tokens, load_tokenizer, tokens_for
from dprkit.records import Example
from dprkit.settings import TrainSettings


def starting_model(
    settings: TrainSettings, examples: Iterable[Example]
) -> tuple[BiEncoder, Tokens]:
    """The model before training: from scratch, from a transformer, or from a retriever."""
    if settings.init is None:
        model, tokens = _from_scratch(settings, examples)
    elif is_retriever(settings.init):
        model, tokens = load_bi_encoder(settings.init, settings.output_dropout or 0.0)
    else:
        model, tokens = _from_transformer(settings, settings.init)
    return _prepared(model, settings), tokens


def _prepared(model: BiEncoder, settings: TrainSettings) -> BiEncoder:
    """Adapters, activation checkpointing and compiling, where they are asked for."""
    for encoders in _by_backbone(model):
        backbone: Any = encoders[0].backbone
        if settings.dropout is not None:
            _set_dropout(backbone, settings.dropout)
        if settings.lora_rank:
            backbone = _adapted(backbone, settings)
        if settings.activation_checkpointing:
            _checkpoint_activations(backbone)
        if settings.compile:
            backbone.compile(dynamic=True)
        for encoder in encoders:
            encoder.backbone = backbone
            encoder.packed &= not settings.compile  # packs have other shapes in every pass
    return model.to(device())


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


def finished(model: BiEncoder, temperature: float) -> BiEncoder:
    """The trained model as it is kept: adapters merged into its weights, the temperature noted."""
    config = msgspec.structs.replace(model.config, temperature=temperature)
    question, passage = model.question_encoder, model.passage_encoder
    if hasattr(question.backbone, "merge_and_unload"):
        question = _merged(question)
        if config.separate_heads:
            passage = copy.deepcopy(passage)  # its own head on the one transformer
            passage.backbone = question.backbone
        else:
            passage = question if config.shared else _merged(passage)
    return BiEncoder(question, passage, config)


def _by_backbone(model: BiEncoder) -> list[list[Encoder]]:
    """The encoders, those with one transformer together."""
    both = [model.question_encoder, model.passage_encoder]
    return [both] if both[0].backbone is both[1].backbone else [[encoder] for encoder in both]


def _adapted(backbone: nn.Module, settings: TrainSettings) -> nn.Module:
    """`backbone` with low-rank adapters on its linear layers, the only weights that learn.

    Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("peft", "lora") from None

    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        target_modules="all-linear",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks by a name that is going
        adapted: nn.Module = get_peft_model(backbone, config)
    return adapted


def _merged(encoder: Encoder) -> Encoder:
    merged = copy.deepcopy(encoder)
    adapted: Any = merged.backbone
    merged.backbone = adapted.merge_and_unload()
    return merged


def _config(settings: TrainSettings) -> RetrieverConfig:
    return RetrieverConfig(
        shared=bool(settings.shared or settings.separate_heads),
        separate_heads=bool(settings.separate_heads),
        pooling=settings.pooling or "cls",
        projection=settings.projection or None,
        similarity=settings.similarity or "dot",
        temperature=settings.temperature or 1.0,
        title_join=settings.title_join or "pair",
        question_max_length=settings.question_max_length or 64,
        passage_max_length=settings.passage_max_length or 256,
    )


def _from_scratch(settings: TrainSettings, examples: Iterable[Example]) -> tuple[BiEncoder, Tokens]:
    config = _config(settings)
    tokenizer = learn_tokenizer(_texts(examples), settings.scratch_vocab_size)
    size = tokenizer.get_vocab_size()
    model = _two_towers(lambda: tiny_roberta(settings, size), config, settings)
    return model, tokens_for((tokenizer, {}), config)


def _from_transformer(settings: TrainSettings, source: str) -> tuple[BiEncoder, Tokens]:
    config = _config(settings)
    model = _two_towers(lambda: load_backbone(source), config, settings)
    return model, tokens_for(load_tokenizer(source), config)


def _two_towers(
    backbone: Callable[[], nn.Module], config: RetrieverConfig, settings: TrainSettings
) -> BiEncoder:
    question = Encoder(backbone(), config, settings.output_dropout or 0.0)
    _check_lengths(question, settings)
    # As in DPR, the towers are equal at first and part in training.
    passage = question if config.shared else copy.deepcopy(question)
    if config.separate_heads:
        passage = Encoder(question.backbone, config, settings.output_dropout or 0.0)
        passage.load_state_dict(question.state_dict())
    return BiEncoder(question, passage, config)


def _check_lengths(encoder: Encoder, settings: TrainSettings) -> None:
    room = positions(encoder.backbone.config)
    for name in ("question_max_length", "passage_max_length"):
        if getattr(settings, name) > room:
            flag = name.replace("_", "-")
            raise SettingsError(f"--{flag}: the model reads at most {room} tokens")


def _texts(examples: Iterable[Example]) -> Iterator[str]:
    """All text of the training files, for the tokenizer to learn from."""
    for example in examples:
        yield example.question
        for passage in chain(example.positives, example.hard_negatives, example.negatives):
            yield f"{passage.title} {passage.text}"
