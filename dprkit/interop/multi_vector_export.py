"""A ColBERT model as a multi-vector folder of sentence-transformers 6, or as PyLate's.

sentence-transformers knows no marker that is a token: a marker is text before a text there, in
which the tokenizer has to know the token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dprkit.errors import InputError
from dprkit.interop.multi_vector_files import DENSE, IDENTITY, PYLATE_DENSE, TOKENS
from dprkit.interop.sentence_transformer_files import (
    CONFIG,
    DOCUMENT,
    LENGTHS,
    MODULES,
    PLAIN_TEXT,
    QUERY,
)
from dprkit.interop.sentence_transformers import write_json
from dprkit.models.config import ColbertConfig
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens
from dprkit.models.retriever_folder import save_tokenizer
from dprkit.models.tokens import TOKENIZER, transformers_tokenizer
from dprkit.records import Passage

SHORT = "who", "a 1"
"""Texts that no length cuts, by which a prompt is tried."""
TYPE = "sentence_transformers.base.modules."
MASK = "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"


def write(model: Colbert, tokens: LateTokens, folder: Path, source: str) -> list[str]:
    """A folder that sentence-transformers' MultiVectorEncoder loads, from 6 on.

    A marker becomes a special token that the prompt begins with. Raises InputError where the
    library would read a text otherwise than the model.
    """
    config = model.config
    _write_transformer(folder, model, tokens)
    _register_markers(folder, tokens)
    expansion = {
        "strategy": "min" if config.expansion == "least" else "fixed",
        "attend": config.attend_to_expansion,
        "token": None,
        "length": config.expansion_length
        if config.expansion == "least"
        else config.question_max_length,
    }
    lengths = {
        "transformer_task": "feature-extraction",
        "modality_config": PLAIN_TEXT,
        "module_output_name": TOKENS,
        "query_length": None if config.expansion == "fixed" else config.question_max_length,
        "document_length": config.passage_max_length,
        "query_expansion": None if config.expansion == "none" else expansion,
    }
    write_json(folder / LENGTHS[0], lengths)
    mask = {"skiplist_words": config.skip, "skiplist_tasks": [DOCUMENT]}
    place = {"module_input_name": TOKENS, "module_output_name": TOKENS}
    write_json(folder / "2_MultiVectorMask/config.json", mask | {"keep_only_token_ids": None})
    write_json(folder / "3_Normalize/config.json", place)
    _write_dense(folder / "1_Dense", model, place)
    types = {
        "": f"{TYPE}transformer.Transformer",
        "1_Dense": DENSE,
        "2_MultiVectorMask": MASK,
        "3_Normalize": f"{TYPE}normalize.Normalize",
    }
    _write_modules(folder, types)
    own = {
        "model_type": "MultiVectorEncoder",
        "prompts": _prompts(folder, tokens, source),
        "default_prompt_name": None,
        "similarity_fn_name": "maxsim",
    }
    write_json(folder / CONFIG, own)
    return ["the projection is 1_Dense", _titles(config)]


def write_pylate(model: Colbert, tokens: LateTokens, folder: Path, source: str) -> list[str]:
    """A folder that PyLate's ColBERT loads, and sentence-transformers from 6 on.

    Raises InputError for a model that PyLate cannot hold.
    """
    config = model.config
    if config.expansion == "least":
        raise InputError(
            f"{source}: its questions have no one length (expansion least), which PyLate cannot "
            "hold; try another --to"
        )
    _write_transformer(folder, model, tokens)
    write_json(folder / LENGTHS[0], {"max_seq_length": config.longest, "do_lower_case": False})
    _write_dense(folder / "1_Dense", model, {})
    _write_modules(
        folder, {"": "sentence_transformers.models.Transformer", "1_Dense": PYLATE_DENSE}
    )
    own = {
        "model_type": "ColBERT",
        "prompts": {QUERY: config.question_prefix, DOCUMENT: config.passage_prefix},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": config.question_marker,
        "document_prefix": config.passage_marker,
        "query_length": config.question_max_length,
        "document_length": config.passage_max_length,
        "attend_to_expansion_tokens": config.attend_to_expansion,
        "skiplist_words": config.skip,
        "do_query_expansion": config.expansion == "fixed",
    }
    write_json(folder / CONFIG, own)
    told = ["the projection is 1_Dense", _titles(config)]
    if config.question_prefix or config.passage_prefix:
        told.append("the prefixes are prompts, which PyLate puts before texts when it is asked to")
    return told


def _titles(config: ColbertConfig) -> str:
    return f"titles join by {config.title_join!r}, which the library leaves to its user"


def _write_transformer(folder: Path, model: Colbert, tokens: LateTokens) -> None:
    backbone: Any = model.backbone
    backbone.save_pretrained(folder)
    save_tokenizer(folder, tokens, "question")


def _write_dense(folder: Path, model: Colbert, place: dict[str, str]) -> None:
    from safetensors.torch import save_file

    width, dim = model.projection.in_features, model.projection.out_features
    said = {"in_features": width, "out_features": dim, "bias": False}
    write_json(folder / "config.json", said | {"activation_function": IDENTITY} | place)
    save_file({"linear.weight": model.projection.weight.detach()}, folder / "model.safetensors")


def _write_modules(folder: Path, types: dict[str, str]) -> None:
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(types.items())
    ]
    write_json(folder / MODULES, modules)


def _register_markers(folder: Path, tokens: LateTokens) -> None:
    """Let the tokenizer of a folder know the markers where they stand in text.

    A word is one token already; made a special token, it would be found inside of words too.
    """
    from tokenizers import AddedToken, Tokenizer

    path = str(folder / TOKENIZER)
    tokenizer, config = Tokenizer.from_file(path), tokens.config
    for marker in filter(None, (config.question_marker, config.passage_marker)):
        if tokenizer.encode(marker, add_special_tokens=False).tokens != [marker]:
            tokenizer.add_special_tokens([AddedToken(marker, normalized=False)])
            tokenizer.save(path)


def _prompts(folder: Path, tokens: LateTokens, source: str) -> dict[str, str]:
    """The text of each side that, put before a text, gives the ids that the model reads.

    Raises InputError where no text does.
    """
    config, tokenizer = tokens.config, transformers_tokenizer(folder)
    asked = tokens.questions(SHORT)
    read = tokens.passages([Passage("", text) for text in SHORT])
    starts = {
        QUERY: (config.question_marker, config.question_prefix, asked),
        DOCUMENT: (config.passage_marker, config.passage_prefix, read),
    }
    # Another prompt would stand in the place of the marker too.
    prompts = {} if config.question_marker else dict(config.prompts)
    for side, (marker, prefix, wanted) in starts.items():
        for prompt in (marker + prefix, f"{marker} {prefix}"):
            ids = tokenizer([prompt + text for text in SHORT])["input_ids"]
            if all(one == two[: len(one)] for one, two in zip(ids, wanted, strict=True)):
                prompts[side] = prompt
        if side not in prompts:
            raise InputError(
                f"{source}: no text stands for its marker {marker!r}, and sentence-transformers "
                "takes text alone; try another --to"
            )
    return prompts
