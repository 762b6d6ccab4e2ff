"""The tokenizer of a foreign folder, as transformers reads it.

dprkit reads tokenizer.json alone. transformers reads tokenizer_config.json too, and where the two
differ (in lower-casing, accents, added tokens) its word counts: the model learned from its ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import InputError, loading
from dprkit.models.tokens import TOKENIZER, Files, load_tokenizer, transformers_tokenizer

WORDS = (TOKENIZER, "vocab.txt", "vocab.json", "bpe.codes", "*.model", "*.tiktoken", "tekken.json")
"""The files that a vocabulary lies in."""


def tokenizer_in(folder: Path) -> tuple[Any, Files]:
    """The tokenizers.Tokenizer of a folder, and the files it is made of.

    The files are the folder's own; where transformers reads them otherwise than tokenizer.json
    says, tokenizer.json becomes what transformers makes of it. Raises InputError.
    """
    if not any(any(folder.glob(name)) for name in WORDS):
        raise InputError(f"{folder}: has no tokenizer ({TOKENIZER}); save one there")
    tokenizer, files = load_tokenizer(folder)
    theirs = _as_transformers_has_it(folder)
    if _parts(tokenizer) == _parts(theirs):
        return tokenizer, files
    return changed(theirs, files)


def changed(tokenizer: Any, files: Files) -> tuple[Any, Files]:
    """A tokenizer that is not as its `files` say, and the files that say what it is."""
    return tokenizer, {**files, TOKENIZER: tokenizer.to_str(pretty=True).encode()}


def _as_transformers_has_it(folder: Path) -> Any:
    from tokenizers import Tokenizer

    from dprkit.models.retriever_folder import hush

    hush()
    with loading(folder, "no tokenizer could be loaded from there"):
        loaded = transformers_tokenizer(folder)
        if not loaded.is_fast:
            raise InputError(
                f"{folder}: its tokenizer ({type(loaded).__name__}) is made of Python code; only "
                f"those of the tokenizers library, which a {TOKENIZER} holds, are read"
            )
        types = "token_type_ids" in loaded.model_input_names and any(loaded("a").token_type_ids)
        text = loaded.backend_tokenizer.to_str()
    for wrong, what in (
        (loaded.truncation_side != "right", f"cuts texts on the {loaded.truncation_side}"),
        (loaded.split_special_tokens, "splits special tokens (split_special_tokens)"),
        (types, "gives a text other token types than 0"),
    ):
        if wrong:
            raise InputError(f"{folder}: its tokenizer {what}; not supported")
    return Tokenizer.from_str(text)


def _parts(tokenizer: Any) -> Any:
    """All that decides ids but the lengths, which are dprkit's own."""
    parts = msgspec.json.decode(tokenizer.to_str())
    return {name: part for name, part in parts.items() if name not in ("truncation", "padding")}
