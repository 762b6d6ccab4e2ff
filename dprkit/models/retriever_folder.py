"""Retrievers on disk: what a retriever folder holds, written and read.

    retriever.yaml                 the RetrieverConfig, or the ColbertConfig
    question_encoder/              Hugging Face layout: config.json, model.safetensors, tokenizer
    passage_encoder/               the same; absent where one encoder serves both, as in a ColBERT
                                   model, and only a projection where one transformer has two heads
    */projection.safetensors       weight (D, H) and bias (D), where there is a projection; the
                                   weight alone in a ColBERT model; the weights of each layer of
                                   `heads`, by its number
    probes.safetensors             32 texts with their vectors (dprkit.models.probe_texts)

Only safetensors are read; nothing is unpickled.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from torch import nn

from dprkit import hub
from dprkit.errors import InputError, MismatchError, loading, reading
from dprkit.models.bi_encoder import BiEncoder, Encoder, device
from dprkit.models.config import (
    CONFIG,
    PASSAGE,
    QUESTION,
    ColbertConfig,
    RetrieverConfig,
    Side,
    bi_encoder_config,
    load_config,
)
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens, late_tokens
from dprkit.models.nested_sizes import refuse_misfit
from dprkit.models.tokens import Files, Tokens, load_tokenizer, load_tokens
from dprkit.store.atomic_files import check_readable
from dprkit.store.drafts import Draft

PROJECTION = "projection.safetensors"


# --- reading ------------------------------------------------------------------------------------


def load_model(
    directory: Path | str, output_dropout: float = 0.0
) -> tuple[BiEncoder | Colbert, Tokens]:
    """The model, in evaluation mode on `device()`, and the tokenizer of a retriever folder."""
    if isinstance(load_config(directory), ColbertConfig):
        return load_colbert(directory, output_dropout)
    return load_bi_encoder(directory, output_dropout)


def load_colbert(directory: Path | str, output_dropout: float = 0.0) -> tuple[Colbert, LateTokens]:
    """As `load_model`, of a ColBERT model. Raises MismatchError for another kind."""
    directory, config = Path(directory), load_config(directory)
    if not isinstance(config, ColbertConfig):
        raise MismatchError(
            f"{directory}: is a bi-encoder, which gives one vector for each text; name a ColBERT "
            "model, as dprkit train --kind colbert makes one"
        )
    folder = directory / QUESTION
    tokens = late_tokens(load_tokenizer(folder), config, directory)
    model = Colbert(load_transformer(folder)[0], tokens, output_dropout)
    _load_projection(model.projection, folder)
    return model.eval().to(device()), tokens


def load_bi_encoder(directory: Path | str, output_dropout: float = 0.0) -> tuple[BiEncoder, Tokens]:
    """As `load_model`, of a bi-encoder. Raises MismatchError for another kind."""
    directory, config = Path(directory), bi_encoder_config(directory, "what is asked for")
    question = _load_encoder(directory / QUESTION, config, output_dropout)
    passage = question
    if config.separate_heads:
        passage = _load_head(directory / PASSAGE, question.backbone, config, output_dropout)
    elif not config.shared:
        passage = _load_encoder(directory / PASSAGE, config, output_dropout)
    tokens = load_tokens(directory, config)
    return BiEncoder(question, passage, config).eval().to(device()), tokens


def _load_encoder(folder: Path, config: RetrieverConfig, dropout: float) -> Encoder:
    return _load_head(folder, load_transformer(folder)[0], config, dropout)


def _load_head(
    folder: Path, backbone: nn.Module, config: RetrieverConfig, dropout: float
) -> Encoder:
    encoder = Encoder(backbone, config, dropout)
    if encoder.projection is not None:
        _load_projection(encoder.projection, folder)
    refuse_misfit(config.truncate_dim or 1, encoder.width, folder, "truncate_dim")
    return encoder


def _load_projection(projection: nn.Module, folder: Path) -> None:
    from safetensors.torch import load_file

    path = folder / PROJECTION
    with reading(path), loading(path, "no projection could be loaded from there"):
        projection.load_state_dict(load_file(path))


def load_transformer(folder: Path | str) -> tuple[nn.Module, list[str]]:
    """The transformer of a Hugging Face folder, in float32, without its pooler.

    And the weights of heads that are passed over.

    Raises InputError where there is none, where it lacks weights (a model with some of its weights
    made up at random would look like one that works), and where it has weights that transformers
    leaves out.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; no model could be loaded from there")
    check_readable(folder)
    hush()
    with loading(folder, "no model could be loaded from there"):
        model, info = loader_of(folder).from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # `whole` names them
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    return whole(model, info, folder)


T5 = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
"""Types of models of which the encoder is read, and its class; AutoModel has the decoder too."""


def loader_of(folder: Path | str) -> Any:
    """The class of transformers that loads the transformer of a folder."""
    import transformers

    path = Path(folder) / "config.json"
    said = msgspec.json.decode(path.read_bytes()) if path.is_file() else {}
    return getattr(transformers, T5.get(str(said.get("model_type")), "AutoModel"))


def of_config(config: Any) -> Any:
    """The transformer that a config describes, with random weights."""
    import transformers

    if config.model_type in T5:
        return getattr(transformers, T5[config.model_type])(config)
    auto: Any = transformers.AutoModel
    return auto.from_config(config, trust_remote_code=False)


IDLE = re.compile(
    r"^(cls|lm_head|mlm_head|lm_loss|pooler|classifier|pre_classifier|score|head|regressor"
    r"|qa_outputs|qa_classifier|start_logits|end_logits|answer_class|sequence_summary"
    r"|predictions|lm_predictions|mask_predictions|discriminator_predictions"
    r"|generator_predictions|generator_lm_head|vocab_transform|vocab_layer_norm"
    r"|vocab_projector|seq_relationship|sop_classifier|logits_proj)\."
    r"|(^|\.)(position_ids|token_type_ids|inv_freq)$|^decoder\.(weight|bias)$"
)
"""Weights of heads that stand behind the last states, and buffers: without them it is the same."""


def whole(model: Any, info: dict[str, Any], where: Path | str) -> tuple[nn.Module, list[str]]:
    """A model that transformers loaded, without its pooler, and the weights it has no use for.

    `info`: what `output_loading_info` gives. Raises InputError if it lacks weights, or has weights
    that transformers drops although they may change vectors, such as those of relative positions.
    """
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        raise InputError(
            f"{where}: its weights lack {', '.join(missing[:3])}; name the folder of a whole model"
        )
    if other := sorted(str(one[0]) for one in info["mismatched_keys"]):
        raise InputError(
            f"{where}: its weights do not fit its config: {other[0]} has another shape; "
            "take both from one model"
        )
    decoder = "decoder." if model.config.model_type in T5 else "no such weight"
    left = sorted(info["unexpected_keys"])
    base = f"{model.base_model_prefix}."
    strange = [key for key in left if not IDLE.search(key.removeprefix(base))]
    if strange := [key for key in strange if not key.startswith(decoder)]:
        raise InputError(
            f"{where}: its weights have {', '.join(strange[:3])}, which transformers' "
            f"{type(model).__name__} does not use; it is another kind of model"
        )
    if getattr(model, "pooler", None) is not None:
        # SqueezeBERT asks its pooler whether it has one or not.
        model.pooler = nn.Identity() if model.config.model_type == "squeezebert" else None
    return cast(nn.Module, model), left


def hush() -> None:
    """Keep transformers' bars and load reports off stderr: dprkit tells what matters itself."""
    from transformers import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub.hush()


# --- writing ------------------------------------------------------------------------------------


def save_retriever(
    work: Draft, model: BiEncoder | Colbert, tokens: Tokens, below: str = ""
) -> None:
    """Write a retriever's folders and retriever.yaml into an artifact, below the folder `below`."""
    import yaml

    content = not below
    first: Encoder | Colbert = model if isinstance(model, Colbert) else model.question_encoder
    with work.folder(below + QUESTION, content=content) as folder:
        _save_encoder(folder, first)
        save_tokenizer(folder, tokens, "question")
    if isinstance(model, BiEncoder) and (model.config.separate_heads or not model.config.shared):
        with work.folder(below + PASSAGE, content=content) as folder:
            _save_encoder(folder, model.passage_encoder, head_alone=model.config.shared)
            if not model.config.shared:
                save_tokenizer(folder, tokens, "passage")
    with work.file(below + CONFIG, content=content) as file:
        file.write(yaml.safe_dump(model.config.document(), sort_keys=False).encode())


def _save_encoder(folder: Path, encoder: Encoder | Colbert, head_alone: bool = False) -> None:
    from safetensors.torch import save_file

    hush()
    if not head_alone:
        backbone: Any = encoder.backbone
        backbone.save_pretrained(folder)
    if encoder.projection is not None:
        save_file(encoder.projection.state_dict(), folder / PROJECTION)


def save_tokenizer(folder: Path, tokens: Tokens, side: Side) -> None:
    """Write a side's tokenizer so that AutoTokenizer reads the folder: its own files, if any."""
    write_tokenizer(folder, tokens.of[side], tokens.config.longest)


def write_tokenizer(folder: Path, loaded: tuple[Any, Files], longest: int) -> None:
    """As `save_tokenizer`, of a tokenizer with its files. `longest`: tokens of the longest text."""
    tokenizer, files = loaded
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if not files:
        _hf_tokenizer(tokenizer, longest).save_pretrained(folder)


def _hf_tokenizer(tokenizer: Any, longest: int) -> Any:
    """A tokenizer that was learned here, as transformers has it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer.no_truncation()
    vocabulary = tokenizer.get_vocab()
    names = {
        "pad_token": ("<pad>", "[PAD]"),
        "unk_token": ("<unk>", "[UNK]"),
        "cls_token": ("<s>", "[CLS]"),
        "sep_token": ("</s>", "[SEP]"),
        "mask_token": ("<mask>", "[MASK]"),
    }
    special = {
        role: next(token for token in spellings if token in vocabulary)
        for role, spellings in names.items()
        if set(spellings) & set(vocabulary)
    }
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=min(longest, 1 << 20),
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )
