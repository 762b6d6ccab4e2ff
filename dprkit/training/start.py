"""The model before training: from scratch, from a transformer, or from a retriever."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from torch import nn

from dprkit.errors import SettingsError
from dprkit.models.bi_encoder import BiEncoder, Encoder, device
from dprkit.models.checkpoints import load_backbone, load_bi_encoder, tokens_for
from dprkit.models.config import RetrieverConfig, is_retriever
from dprkit.models.scratch import learn_tokenizer, tiny_roberta
from dprkit.models.tokens import Tokens, load_tokenizer
from dprkit.records import Example
from dprkit.settings import TrainSettings


def starting_model(
    settings: TrainSettings, examples: Sequence[Example]
) -> tuple[BiEncoder, Tokens]:
    """The model before training: from scratch, from a transformer, or from a retriever."""
    if settings.init is None:
        return _from_scratch(settings, examples)
    if is_retriever(settings.init):
        return load_bi_encoder(settings.init, settings.output_dropout or 0.0)
    return _from_transformer(settings, settings.init)


def _config(settings: TrainSettings) -> RetrieverConfig:
    return RetrieverConfig(
        shared=bool(settings.shared),
        pooling=settings.pooling or "cls",
        projection=settings.projection or None,
        similarity=settings.similarity or "dot",
        temperature=settings.temperature or 1.0,
        title_join=settings.title_join or "pair",
        question_max_length=settings.question_max_length or 64,
        passage_max_length=settings.passage_max_length or 256,
    )


def _from_scratch(settings: TrainSettings, examples: Sequence[Example]) -> tuple[BiEncoder, Tokens]:

    config = _config(settings)
    tokenizer = learn_tokenizer(_texts(examples), settings.scratch_vocab_size)
    size = tokenizer.get_vocab_size()
    model = _two_towers(lambda: tiny_roberta(settings, size), config, settings.output_dropout or 0)
    _check_lengths(model, settings)
    return model, tokens_for(tokenizer, config)


def _from_transformer(settings: TrainSettings, source: str) -> tuple[BiEncoder, Tokens]:

    config = _config(settings)
    model = _two_towers(lambda: load_backbone(source), config, settings.output_dropout or 0)
    _check_lengths(model, settings)
    return model, tokens_for(load_tokenizer(source), config)


def _two_towers(
    backbone: Callable[[], nn.Module], config: RetrieverConfig, dropout: float
) -> BiEncoder:

    question = Encoder(backbone(), config, dropout)
    # As in DPR, the towers are equal at first and part in training.
    passage = question if config.shared else copy.deepcopy(question)
    return BiEncoder(question, passage, config).to(device())


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
