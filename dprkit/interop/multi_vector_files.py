"""What the JSON files of a sentence-transformers multi-vector folder say, and of a PyLate folder.

Both list their modules in modules.json: a Transformer, one or more Dense, and in sentence-
transformers a MultiVectorMask, a Normalize and perhaps a token pooling. PyLate keeps its lengths,
markers and skip-list in config_sentence_transformers.json. Every key is known or refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from dprkit.errors import InputError, loading
from dprkit.interop.folder import json_in, read_json
from dprkit.interop.sentence_transformer_files import (
    CONFIG,
    DOCUMENT,
    QUERY,
    DenseFile,
    FolderFile,
    Known,
    NormalizeFile,
    TransformerFile,
    listed,
    module_in,
    read_known,
    read_transformer,
)
from dprkit.settings.fields import Length

TOKENS = "token_embeddings"
IDENTITY = "torch.nn.modules.linear.Identity"
PYLATE_DENSE = "pylate.models.Dense.Dense"
DENSE = "sentence_transformers.base.modules.dense.Dense"
PROMPTS = {"question": (QUERY,), "passage": (DOCUMENT, "passage", "corpus")}
"""The prompts that a side's texts get: the first that there is."""


class Expansion(Known):
    """query_expansion."""

    strategy: Literal["fixed", "min"]
    length: Length
    attend: bool = False
    token: str | None = None


class MultiVectorFile(FolderFile):
    """config_sentence_transformers.json, with PyLate's keys."""

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_length: Length | None = None
    document_length: Length | None = None
    attend_to_expansion_tokens: bool | None = None
    skiplist_words: tuple[str, ...] | None = None
    do_query_expansion: bool | None = None

    def prompt_of(self, side: str) -> str:
        """The text that a side's texts begin with."""
        named = [name for name in PROMPTS[side] if self.prompts.get(name) is not None]
        return self.prompt(named[0]) if named else ""

    def others(self) -> dict[str, str]:
        """The prompts that no side's texts get, by their names."""
        sides = {name for names in PROMPTS.values() for name in names}
        return {name: text for name, text in super().others().items() if name not in sides}


class TokenDenseFile(DenseFile):
    """The config.json of a Dense; PyLate does not say that it is about tokens."""

    module_input_name: str = TOKENS
    module_output_name: str | None = None


class MaskFile(Known):
    """The config.json of a MultiVectorMask."""

    skiplist_words: tuple[str, ...] = ()
    skiplist_tasks: tuple[str, ...] = (DOCUMENT,)
    keep_only_token_ids: list[int] | None = None


ORDER = {
    "Transformer": 0,
    "Dense": 1,
    "MultiVectorMask": 2,
    "Normalize": 2,
    "HierarchicalTokenPooling": 3,
}
"""The modules that are read, and where in the list they stand."""


class Chain(NamedTuple):
    """The folders of a model's modules; of Dense there may be several, the first used first."""

    transformer: Path
    dense: list[Path]
    mask: Path | None
    pooling: Path | None


def model_type(folder: Path) -> str:
    """ "multi-vector" or "pylate" by the folder's own word, "" for neither."""
    said = json_in(folder, CONFIG)
    if said.get("model_type") == "MultiVectorEncoder":
        return "multi-vector"
    return "pylate" if said.get("model_type") == "ColBERT" or "query_prefix" in said else ""


def read_multi_vector(folder: Path) -> MultiVectorFile:
    """Prompts, and PyLate's lengths and markers. Raises InputError for what is not supported."""
    path = folder / CONFIG
    said: MultiVectorFile = read_known(path, MultiVectorFile)
    if said.truncate_dim is not None:
        raise InputError(f"{path}: truncate_dim {said.truncate_dim} is not supported")
    if said.default_prompt_name not in (None, QUERY, DOCUMENT):
        raise InputError(
            f"{path}: the default prompt {said.default_prompt_name!r} is not supported"
        )
    return said


def read_chain(folder: Path, pylate: bool) -> Chain:
    """The modules. Raises InputError for one that is not supported, or another order.

    PyLate masks tokens and brings vectors to length 1 itself; elsewhere a Normalize has to.
    """
    modules = [
        module_in(folder, DENSE if one.type == PYLATE_DENSE else one.type, one.path)
        for one in listed(folder)
    ]
    kinds = [module.kind for module in modules]
    if strange := [kind for kind in kinds if kind not in ORDER]:
        raise InputError(f"{folder}: has a module {strange[0]}, which is not supported")
    once = [kind for kind in kinds if kind != "Dense"]
    order = [ORDER[kind] for kind in kinds]
    if order[:1] != [0] or order != sorted(order) or len(set(once)) < len(once):
        raise InputError(
            f"{folder}: its modules are {', '.join(kinds) or 'none'}; a Transformer, any number of "
            "Dense, a MultiVectorMask, a Normalize and a token pooling are supported, in this order"
        )
    at = {module.kind: module.folder for module in modules}
    if "Normalize" in at:
        _check_place(read_known(at["Normalize"] / "config.json", NormalizeFile), at["Normalize"])
    elif not pylate:
        raise InputError(f"{folder}: has no Normalize; vectors of any length are not supported")
    dense = [module.folder for module in modules if module.kind == "Dense"]
    pooling = at.get("HierarchicalTokenPooling")
    return Chain(at["Transformer"], dense, at.get("MultiVectorMask"), pooling)


def read_expansion(folder: Path) -> tuple[TransformerFile, Expansion | None]:
    """How a Transformer cuts texts, and fills up questions with [MASK].

    Raises InputError for another token than the tokenizer's mask.
    """
    said = read_transformer(folder, also=("query_expansion",))
    if said.query_expansion is None:
        return said, None
    with loading(folder, "its query_expansion is not supported"):
        expansion = msgspec.convert(said.query_expansion, Expansion)
    if expansion.token is not None:
        raise InputError(
            f"{folder}: its questions are filled up with {expansion.token!r}; only the "
            "tokenizer's mask token is supported"
        )
    return said, expansion


def read_mask(folder: Path) -> tuple[str, ...]:
    """The tokens of passages that do not count. Raises InputError for a mask that does more."""
    said: MaskFile = read_known(folder / "config.json", MaskFile)
    if said.skiplist_words and said.skiplist_tasks != (DOCUMENT,):
        tasks = ", ".join(said.skiplist_tasks) or "nothing"
        raise InputError(f"{folder}: its skip-list is for {tasks}; one for passages is supported")
    if said.keep_only_token_ids:
        raise InputError(f"{folder}: keep_only_token_ids is not supported")
    return said.skiplist_words


def read_token_dense(folder: Path) -> DenseFile:
    """A linear projection of tokens. Raises InputError for a Dense that is more than that."""
    said: DenseFile = read_json(folder / "config.json", TokenDenseFile)
    if said.activation_function != IDENTITY:
        what = said.activation_function.rpartition(".")[2]
        raise InputError(f"{folder}: its Dense has {what}; only a linear one is supported")
    _check_place(said, folder)
    return said


def _check_place(said: NormalizeFile, folder: Path) -> None:
    names = {said.module_input_name, said.module_output_name or said.module_input_name}
    if names != {TOKENS}:
        raise InputError(f"{folder}: is about {', '.join(sorted(names))}; not supported")
