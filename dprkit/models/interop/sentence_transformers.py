"""sentence-transformers folders: a Transformer, its Pooling, then maybe Dense and Normalize.

modules.json lists the modules; a Router holds two such rows, for questions and for passages.
What dprkit has no counterpart for is refused by name. Both spellings of the pooling (a flag a
mode, or its name), and the prompts and similarity of config_sentence_transformers.json are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from torch import Tensor

from dprkit.errors import InputError
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.checkpoints import save_tokenizer
from dprkit.models.interop.folder import json_in, read_json, read_weights, tower_in
from dprkit.models.interop.tower import Foreign, Tower, configured
from dprkit.models.tokens import SETTINGS, TOKENIZER, Files, Tokens
from dprkit.settings import ConvertSettings

MODULES = "modules.json"
ROUTER = "router_config.json"
CONFIG = "config_sentence_transformers.json"
LENGTH = "sentence_bert_config.json"
POOLINGS = {"cls": "cls", "mean": "mean", "cls_token": "cls", "mean_tokens": "mean"}
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
QUERY, DOCUMENT = "query", "document"


class Module(NamedTuple):
    """One module of a folder: the name of its class, and where its files are."""

    kind: str
    folder: Path


@dataclass
class Row:
    """A row of modules, read: what makes the vectors of one side."""

    tower: Tower
    pooling: str
    include_prompt: bool
    unit_length: bool
    max_length: int


def is_sentence_transformer(folder: Path) -> bool:
    return (folder / MODULES).is_file()


def read(question: Path, passage: Path | None, settings: ConvertSettings) -> Foreign:
    """A folder, one with a Router, or a folder a side."""
    rows = _rows(question)
    if passage:
        rows = [rows[0], _rows(passage)[-1]]
    first, last = rows[0], rows[-1]
    config = json_in(question, CONFIG), json_in(passage or question, CONFIG)
    prefixes = _prompt(config[0], (QUERY,)), _prompt(config[1], DOCUMENT_PROMPTS)
    for name in ("pooling", "unit_length"):
        if getattr(first, name) != getattr(last, name):
            raise InputError(f"{question}: {name} differs between its sides; not supported")
    if any(prefixes) and not (first.include_prompt and last.include_prompt):
        raise InputError(f"{question}: its Pooling leaves prompts out; not supported")
    similarity, why = _similarity(first, config[0], question)
    lengths = {"question_max_length": first.max_length, "passage_max_length": last.max_length}
    texts = dict(zip(("question_prefix", "passage_prefix"), prefixes, strict=True))
    fixed: dict[str, Any] = {"pooling": first.pooling}
    if first.unit_length:
        fixed["similarity"] = similarity
    usual = {"title_join": " ", "similarity": similarity} | lengths | texts
    found = configured(settings, fixed, usual)
    mapped = [f"Pooling is {found.pooling} pooling", why]
    mapped += ["Dense is the projection"] if first.tower.head else []
    mapped += ["the prompts are prefixes"] if any(prefixes) else []
    return Foreign(first.tower, last.tower if len(rows) > 1 else None, found, mapped)


def _similarity(row: Row, config: dict[str, Any], folder: Path) -> tuple[str, str]:
    name = config.get("similarity_fn_name") or "cosine"  # the library's own default
    if row.unit_length:
        return "cosine", "Normalize is cosine similarity"
    if name not in ("cosine", "dot"):
        raise InputError(f"{folder}: compares by {name}; only dot and cosine are supported")
    note = "; its own vectors have any length" if name == "cosine" else ""
    return name, f"the similarity is {name}, as the folder says or by default{note}"


def _prompt(config: dict[str, Any], names: Sequence[str]) -> str:
    """The text that the library puts before each question or passage."""
    prompts = config.get("prompts") or {}
    for name in (*names, config.get("default_prompt_name")):
        if name in prompts:
            return str(prompts[name])
    return ""


# --- rows of modules ----------------------------------------------------------------------------


def _rows(folder: Path) -> list[Row]:
    """One row that serves both sides, or the question's and the passage's."""
    listed = sorted(read_json(folder / MODULES), key=lambda one: one["idx"])
    modules = [Module(_kind(one["type"]), folder / one["path"]) for one in listed]
    if not modules or modules[0].kind != "Router":
        return [_row(modules, folder, {})]
    router = modules[0].folder
    routes = read_json(router / ROUTER)
    structure = routes["structure"]
    if not {QUERY, DOCUMENT} <= structure.keys():
        raise InputError(
            f"{router}: its Router leads to {', '.join(structure)}; "
            f"routes called {QUERY} and {DOCUMENT} are needed"
        )
    towers: dict[Path, Tower] = {}
    return [
        _row(
            [Module(_kind(routes["types"][one]), router / one) for one in structure[route]]
            + modules[1:],
            folder,
            towers,
        )
        for route in (QUERY, DOCUMENT)
    ]


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _row(modules: list[Module], folder: Path, towers: dict[Path, Tower]) -> Row:
    """Read a row. `towers` holds the transformers that an earlier row has read."""
    kinds = [module.kind for module in modules]
    known = ("Transformer", "Pooling", "Dense", "Normalize")
    for kind in kinds:
        if kind not in known:
            raise InputError(f"{folder}: has a module {kind}, which is not supported")
    if kinds[:2] != ["Transformer", "Pooling"] or kinds != [k for k in known if k in kinds]:
        raise InputError(
            f"{folder}: its modules are {', '.join(kinds)}; Transformer, Pooling, then at most "
            "Dense and Normalize are supported, in this order"
        )
    by_kind = {module.kind: module.folder for module in modules}
    base = by_kind["Transformer"]
    if base not in towers:
        towers[base] = _transformer(base)
    tower = towers[base]
    if "Dense" in by_kind:
        tower = Tower(tower.backbone, tower.tokenizer, _dense(by_kind["Dense"]))
    pooling, include_prompt = _pooling(by_kind["Pooling"])
    return Row(tower, pooling, include_prompt, "Normalize" in by_kind, _length(base, tower))


def _transformer(folder: Path) -> Tower:
    tower = tower_in(folder)
    if json_in(folder, LENGTH).get("do_lower_case"):
        tower.tokenizer = _lowering(*tower.tokenizer)
    return tower


def _lowering(tokenizer: Any, files: Files) -> tuple[Any, Files]:
    from tokenizers.normalizers import Lowercase, Sequence

    own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    tokenizer.normalizer = Sequence([Lowercase(), *own])
    return tokenizer, {**files, TOKENIZER: tokenizer.to_str(pretty=True).encode()}


def _length(folder: Path, tower: Tower) -> int:
    """Tokens of a text that are read, as the library cuts it."""
    said = json_in(folder, LENGTH).get("max_seq_length")
    said = said or json_in(folder, SETTINGS).get("model_max_length") or tower.room
    return int(min(said, tower.room))


def _pooling(folder: Path) -> tuple[str, bool]:
    """The pooling, and whether it counts the tokens of a prompt."""
    known = json_in(folder, "config.json")
    modes = known.get("pooling_mode")
    if modes is None:
        flags = [name for name, on in known.items() if name.startswith("pooling_mode_") and on]
        modes = [name.removeprefix("pooling_mode_") for name in flags]
    modes = [modes] if isinstance(modes, str) else modes
    if len(modes) != 1 or modes[0] not in POOLINGS:
        names = " with ".join(modes) or "unknown"
        raise InputError(f"{folder}: its pooling is {names}; only cls and mean are supported")
    return POOLINGS[modes[0]], bool(known.get("include_prompt", True))


def _dense(folder: Path) -> dict[str, Tensor]:
    """The projection of a Dense module. Raises InputError where it is more than linear."""
    known = json_in(folder, "config.json")
    activation = str(known.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if not activation.endswith(".Identity") or known.get("use_residual"):
        what = "a residual" if known.get("use_residual") else activation.rpartition(".")[2]
        raise InputError(f"{folder}: its Dense has {what}; only a linear one is supported")
    weights = read_weights(folder)
    weight = weights["linear.weight"]
    return {"weight": weight, "bias": weights.get("linear.bias", weight.new_zeros(len(weight)))}


# --- writing --------------------------------------------------------------------------------------

TYPE = "sentence_transformers.models."
IDENTITY = "torch.nn.modules.linear.Identity"


def write(model: BiEncoder, tokens: Tokens, folder: Path, source: str) -> list[str]:
    """A folder that SentenceTransformer loads; a Router in it where the sides differ.

    The library knows no titles: what it is given as a passage is title and text joined as the
    retriever's `title_join` says, or the two as a pair.
    """
    config = model.config
    own = {
        "prompts": {QUERY: config.question_prefix, DOCUMENT: config.passage_prefix},
        "default_prompt_name": None,
        "similarity_fn_name": config.similarity,
    }
    _write_json(folder / CONFIG, own)
    join = f"titles join by {config.title_join!r}, which the library leaves to its user"
    if config.shared and not config.separate_heads:
        length = max(tokens.question_length, tokens.passage_length)
        _write_transformer(folder, model.question_encoder, tokens, False, length)
        rows = _write_rest(folder, model.question_encoder, "", first=1)
        _write_json(folder / MODULES, _listed([("", "Transformer"), *rows]))
        return [f"one encoder, at most {length} tokens", join]
    _write_router(folder, model, tokens)
    _write_json(folder / MODULES, _listed([("", "Router")]))
    return [
        f"the question encoder is the route {QUERY!r} (encode_query)",
        f"the passage encoder is the route {DOCUMENT!r} (encode_document)",
        join,
    ]


def _write_router(folder: Path, model: BiEncoder, tokens: Tokens) -> None:
    """Two rows of modules; a transformer that both have is written once."""
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {}
    sides = ((QUERY, model.question_encoder), (DOCUMENT, model.passage_encoder))
    lengths = {QUERY: tokens.question_length, DOCUMENT: tokens.passage_length}
    shared = model.config.shared
    for route, encoder in sides:
        base = f"{QUERY if shared else route}_0_Transformer"
        if base not in types:
            length = max(lengths.values()) if shared else lengths[route]
            _write_transformer(folder / base, encoder, tokens, route == DOCUMENT, length)
        row = [(base, "Transformer"), *_write_rest(folder, encoder, f"{route}_", first=1)]
        types |= {path: TYPE + kind for path, kind in row}
        structure[route] = [path for path, _ in row]
    parameters = {"default_route": DOCUMENT, "allow_empty_key": True}
    routes = {"types": types, "structure": structure, "parameters": parameters}
    _write_json(folder / ROUTER, routes)


def _write_transformer(
    folder: Path, encoder: Encoder, tokens: Tokens, passages: bool, length: int
) -> None:
    backbone: Any = encoder.backbone
    backbone.save_pretrained(folder)
    if passages:
        save_tokenizer(folder, tokens, tokens.passage_tokenizer, tokens.passage_files)
    else:
        save_tokenizer(folder, tokens, tokens.tokenizer, tokens.files)
    _write_json(folder / LENGTH, {"max_seq_length": length, "do_lower_case": False})


def _write_rest(folder: Path, encoder: Encoder, name: str, first: int) -> list[tuple[str, str]]:
    """Pooling, Dense and Normalize of one side: their folders and classes."""
    from safetensors.torch import save_file

    width = int(encoder.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    modes = {"cls": "cls_token", "mean": "mean_tokens"}
    pooling = {f"pooling_mode_{mode}": kind == encoder.pooling for kind, mode in modes.items()}
    configs: dict[str, dict[str, Any]] = {"Pooling": {"word_embedding_dimension": width} | pooling}
    if encoder.projection is not None:
        size = {"in_features": width, "out_features": encoder.dim, "bias": True}
        configs["Dense"] = size | {"activation_function": IDENTITY}
    if encoder.unit_length:
        configs["Normalize"] = {}
    rows = [(f"{name}{i}_{kind}", kind) for i, kind in enumerate(configs, start=first)]
    for path, kind in rows:
        _write_json(folder / path / "config.json", configs[kind])
        if kind == "Dense" and encoder.projection is not None:
            head = {f"linear.{k}": v for k, v in encoder.projection.state_dict().items()}
            save_file(head, folder / path / "model.safetensors")
    return rows


def _listed(rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"idx": i, "name": str(i), "path": path, "type": TYPE + kind}
        for i, (path, kind) in enumerate(rows)
    ]


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
