"""A bi-encoder from scratch: a tokenizer learned from the training text and a tiny RoBERTa.

The model of hudeven's DPR example (a RoBERTa of one layer, one head and 200 dimensions, projected
to 20, trained in two towers), with what was wrong there put right: the vocabulary is saved,
padding is masked, texts are cut to the positions there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import nn

from dprkit.settings import TrainSettings

MAX_POSITIONS = 514

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def learn_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A lower-casing byte-level BPE tokenizer (tokenizers.Tokenizer) of at most `vocab_size`."""
    import tokenizers
    from tokenizers import normalizers, pre_tokenizers

    tokenizer: Any = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin, end = ((token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>"))
    roberta = tokenizers.processors.RobertaProcessing(end, begin, trim_offsets=False)
    tokenizer.post_processor = roberta
    return tokenizer


def tiny_roberta(settings: TrainSettings, vocab_size: int) -> nn.Module:
    """A RoBERTa with random weights, of the size that the scratch settings give."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=vocab_size,
        hidden_size=settings.scratch_hidden_size,
        num_hidden_layers=settings.scratch_layers,
        num_attention_heads=settings.scratch_heads,
        intermediate_size=4 * settings.scratch_hidden_size,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=settings.scratch_dropout,
        attention_probs_dropout_prob=settings.scratch_dropout,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model: Any = RobertaModel(config, add_pooling_layer=False)
    # Position vectors start at 0, so that at first two texts are alike by their words alone. With
    # random positions 120 examples teach this model next to nothing (docs/log.md).
    nn.init.zeros_(model.embeddings.position_embeddings.weight)
    nn.init.zeros_(model.embeddings.token_type_embeddings.weight)
    return cast(nn.Module, model)
