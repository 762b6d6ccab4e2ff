"""What the JSON files of a sentence-transformers folder say: modules, pooling, prompts, lengths.

modules.json lists the modules; a Router holds two such rows, for questions and for passages.
Every key is known here or refused by name, since one that is passed over may change vectors. Both
spellings of the pooling (a flag a mode, or its name) are read.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from dprkit.errors import InputError
from dprkit.interop.folder import read_json

MODULES = "modules.json"
ROUTER = "router_config.json"
CONFIG = "config_sentence_transformers.json"
LENGTHS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""The file of a Transformer module has had several names; the first that is there counts."""
HEADS = ("Dense", "LayerNorm", "Normalize", "Dropout")
KINDS = ("Transformer", "Pooling", *HEADS)
MODES = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean-sqrt": "mean_sqrt_len_tokens",
    "weighted-mean": "weightedmean",
    "last": "lasttoken",
}
"""A pooling -> its name in a Pooling module."""
FLAGS = {mode: mode for mode in MODES.values()} | {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "weightedmean": "weightedmean_tokens",
}
"""The modes in the older form, which has a flag for each: pooling_mode_cls_token and so on."""
POOLINGS = {name: pooling for pooling, mode in MODES.items() for name in (mode, FLAGS[mode])}
QUERY, DOCUMENT = "query", "document"
SENTENCE = "sentence_embedding"
PLAIN_TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


Length = Annotated[int, msgspec.Meta(ge=1)]


class Known(msgspec.Struct, forbid_unknown_fields=True):
    """A file all of whose keys are known."""


class ModuleEntry(Known):
    """A line of modules.json."""

    type: str
    path: str = ""
    idx: int = 0
    name: str = ""
    kwargs: list[str] = []


class TransformerFile(Known):
    """sentence_bert_config.json."""

    max_seq_length: Length | None = None
    do_lower_case: bool = False
    query_length: Length | None = None
    document_length: Length | None = None
    transformer_task: str = "feature-extraction"
    modality_config: dict[str, Any] = msgspec.field(default_factory=lambda: PLAIN_TEXT)
    module_output_name: str = "token_embeddings"
    unpad_inputs: bool | None = None
    processing_kwargs: dict[str, Any] = {}
    query_expansion: dict[str, Any] | None = None
    tokenizer_name_or_path: str | None = None
    model_args: dict[str, Any] = {}
    model_kwargs: dict[str, Any] = {}
    tokenizer_args: dict[str, Any] = {}
    processor_kwargs: dict[str, Any] = {}
    config_args: dict[str, Any] = {}
    config_kwargs: dict[str, Any] = {}


USUAL = TransformerFile()
READ = ("max_seq_length", "do_lower_case", "query_length", "document_length", "unpad_inputs")
"""Its keys that may have any value; the others must have the usual one."""


class PoolingFile(Known):
    """The config.json of a Pooling."""

    pooling_mode: str | list[str] | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False
    embedding_dimension: int | None = None
    word_embedding_dimension: int | None = None
    include_prompt: bool = True


class NormalizeFile(Known):
    """The config.json of a Normalize."""

    module_input_name: str = SENTENCE
    module_output_name: str | None = SENTENCE


class LayerNormFile(Known):
    """The config.json of a LayerNorm."""

    dimension: int | None = None


class DenseFile(NormalizeFile):
    """The config.json of a Dense."""

    in_features: int | None = None
    out_features: int | None = None
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"
    use_residual: bool = False


class RouterFile(Known):
    """router_config.json."""

    types: dict[str, str]
    structure: dict[str, list[str]]
    parameters: dict[str, Any] = {}


class FolderFile(Known):
    """config_sentence_transformers.json."""

    __version__: dict[str, Any] = {}
    model_type: str = "SentenceTransformer"
    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def prompt(self, name: str) -> str:
        """What encode_query ("query") or encode_document ("document") puts before a text."""
        return self.prompts.get(name) or ""

    def others(self) -> dict[str, str]:
        """The prompts that neither of them uses, by their names."""
        sides = QUERY, DOCUMENT
        return {name: text for name, text in self.prompts.items() if text and name not in sides}


def read_known(path: Path, kind: type[Any]) -> Any:
    """The contents of a file that a folder may lack, as a struct with all of its keys known."""
    return read_json(path, kind) if path.is_file() else kind()


# --- rows of modules ------------------------------------------------------------------------------


class Module(NamedTuple):
    """One module of a folder: the name of its class, and where its files are."""

    kind: str
    folder: Path


def listed(folder: Path) -> list[ModuleEntry]:
    """The lines of modules.json."""
    entries: list[ModuleEntry] = read_json(folder / MODULES, list[ModuleEntry])
    if len({entry.name for entry in entries}) < len(entries):
        # sentence-transformers keeps the last of those that share a name
        raise InputError(f"{folder / MODULES}: two of its modules have the same name; name each")
    return entries


def read_rows(folder: Path) -> list[list[Module]]:
    """The modules: one row for both sides, or one of questions and one of passages."""
    modules = [module_in(folder, entry.type, entry.path) for entry in listed(folder)]
    if not modules or modules[0].kind != "Router":
        return [_checked(modules, folder)]
    router = modules[0].folder
    routes = read_json(router / ROUTER, RouterFile)
    if not {QUERY, DOCUMENT} <= routes.structure.keys():
        raise InputError(
            f"{router}: its Router leads to {', '.join(routes.structure)}; "
            f"routes called {QUERY} and {DOCUMENT} are needed"
        )
    return [
        _checked(
            [module_in(router, routes.types.get(one, one), one) for one in routes.structure[route]]
            + modules[1:],
            folder,
        )
        for route in (QUERY, DOCUMENT)
    ]


def module_in(folder: Path, name: str, path: str) -> Module:
    """A module of a folder. Raises InputError for code of its own, or a place outside of it."""
    package, *inner = name.split(".")
    if package != "sentence_transformers" or not all(part.isidentifier() for part in inner):
        raise InputError(f"{folder}: its module {name} is code of its own, which is never run")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"{folder}: its module {name} lies outside of it, in {path}")
    return Module(name.rpartition(".")[2], folder / path)


def _checked(modules: list[Module], folder: Path) -> list[Module]:
    kinds = [module.kind for module in modules]
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"{folder}: has a module {kind}, which is not supported")
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= set(HEADS):
        raise InputError(
            f"{folder}: its modules are {', '.join(kinds) or 'none'}; Transformer, Pooling, then "
            f"any of {', '.join(HEADS)} are supported, in this order"
        )
    return modules


# --- what each file says --------------------------------------------------------------------------


def read_transformer(folder: Path, also: Collection[str] = ()) -> TransformerFile:
    """How the texts are cut; of the keys in `also` any value is taken.

    Raises InputError for another value that dprkit has no counterpart for.
    """
    path = next((folder / name for name in LENGTHS if (folder / name).is_file()), None)
    said: TransformerFile = read_json(path, TransformerFile) if path else TransformerFile()
    for name in TransformerFile.__struct_fields__:
        value = getattr(said, name)
        if name in (*READ, *also) or value is None:
            continue
        if value != getattr(USUAL, name):
            raise InputError(f"{path}: {name} {value!r} is not supported")
    return said


def read_pooling(folder: Path) -> tuple[str, bool]:
    """The pooling, and whether it counts the tokens of a prompt."""
    said = read_known(folder / "config.json", PoolingFile)
    modes = [said.pooling_mode] if isinstance(said.pooling_mode, str) else said.pooling_mode
    if modes is None:
        flags = [name for name in PoolingFile.__struct_fields__ if name.startswith("pooling_mode_")]
        modes = [name.removeprefix("pooling_mode_") for name in flags if getattr(said, name)]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        names = " with ".join(modes) or "unknown"
        raise InputError(
            f"{folder}: its pooling is {names}; one of {', '.join(MODES.values())} is supported"
        )
    if said.embedding_dimension is None and said.word_embedding_dimension is None:
        raise InputError(f"{folder}: its config.json lacks embedding_dimension")
    return POOLINGS[modes[0]], said.include_prompt


def read_dense(folder: Path) -> DenseFile:
    """What a Dense does. Raises InputError where it is of something else than the vector."""
    said: DenseFile = read_known(folder / "config.json", DenseFile)
    _check_place(said, folder)
    return said


def read_layer_norm(folder: Path) -> LayerNormFile:
    """What a LayerNorm is of. Raises InputError for more than is known of it."""
    said: LayerNormFile = read_known(folder / "config.json", LayerNormFile)
    return said


def check_normalize(folder: Path) -> None:
    """Raises InputError where a Normalize is of something else than the vector."""
    _check_place(read_known(folder / "config.json", NormalizeFile), folder)


def _check_place(said: NormalizeFile, folder: Path) -> None:
    names = {said.module_input_name, said.module_output_name or said.module_input_name}
    if names != {SENTENCE}:
        raise InputError(f"{folder}: is about {', '.join(sorted(names))}; not supported")


def read_folder(folder: Path) -> FolderFile:
    """Prompts, similarity, size of vectors. Raises InputError for a folder of another kind."""
    path = folder / CONFIG
    said: FolderFile = read_known(path, FolderFile)
    if said.model_type != "SentenceTransformer":
        raise InputError(f"{path}: is of a {said.model_type}; only SentenceTransformer is read")
    if said.default_prompt_name not in (None, QUERY, DOCUMENT, *said.prompts):
        raise InputError(f"{path}: its default prompt {said.default_prompt_name!r} is none of its")
    return said


def opened(kind: Any, folder: Path) -> Any:
    """A model of sentence-transformers of the class `kind`, in float32 on the CPU, by itself.

    It reads the folder alone, runs no code of it, and logs errors only.
    """
    import torch

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    return kind(
        str(folder),
        device="cpu",
        trust_remote_code=False,
        local_files_only=True,
        model_kwargs={"dtype": torch.float32},
    )
