"""sentence-transformers folders: a Transformer, its Pooling, and what follows it.

sentence_transformer_files.py reads what the folder's files say, sentence_transformer_heads.py what
follows the Pooling. What dprkit has no counterpart for is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import InputError
from dprkit.interop.folder import model_max_length, tower_in
from dprkit.interop.sentence_transformer_files import (
    CONFIG,
    DOCUMENT,
    FLAGS,
    LENGTHS,
    MODES,
    MODULES,
    QUERY,
    ROUTER,
    FolderFile,
    Module,
    read_folder,
    read_pooling,
    read_rows,
    read_transformer,
)
from dprkit.interop.sentence_transformer_heads import Written, head_written, read_head
from dprkit.interop.tokenizer import changed
from dprkit.interop.tower import AS_GIVEN, Foreign, Tower, configured
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.config import RetrieverConfig, Side
from dprkit.models.retriever_folder import save_tokenizer
from dprkit.models.tokens import Files, Tokens
from dprkit.settings import ConvertSettings


@dataclass
class Row:
    """A row of modules, read: what makes the vectors of one side."""

    tower: Tower
    pooling: str
    include_prompt: bool
    unit_length: bool
    lengths: tuple[int, int]
    """Tokens of a question and of a passage that are read."""


def read(question: Path, passage: Path | None, settings: ConvertSettings) -> Foreign:
    """A folder, one with a Router, or a folder a side."""
    folder_files = read_folder(question), read_folder(passage or question)
    rows = _rows(question)
    if passage:
        rows = [rows[0], _rows(passage)[-1]]
    first, last = rows[0], rows[-1]
    prefixes = folder_files[0].prompt(QUERY), folder_files[1].prompt(DOCUMENT)
    for name in ("pooling", "unit_length"):
        if getattr(first, name) != getattr(last, name):
            raise InputError(f"{question}: {name} differs between its sides; name another model")
    prompts = folder_files[0].others()
    include_prompt = first.include_prompt and last.include_prompt
    given = settings.question_prefix or settings.passage_prefix
    if not include_prompt and (any(prefixes) or prompts or given):
        raise no_prompts(question)
    if len({said.truncate_dim for said in folder_files}) > 1:
        raise InputError(f"{question}: truncate_dim differs between its sides; name another model")
    similarity, why = _similarity(first, folder_files[0], question)
    lengths = {"question_max_length": first.lengths[0], "passage_max_length": last.lengths[1]}
    texts = dict(zip(("question_prefix", "passage_prefix"), prefixes, strict=True))
    fixed: dict[str, Any] = {"pooling": first.pooling} | AS_GIVEN
    if first.unit_length:
        fixed["similarity"] = similarity
    own = {"truncate_dim": folder_files[0].truncate_dim, "prompts": prompts}
    usual = {"title_join": " ", "similarity": similarity} | lengths | texts | own
    config = configured(settings, fixed, usual)
    mapped = [f"Pooling is {config.pooling} pooling", why]
    mapped += _head_said(first.tower)
    mapped += ["the prompts are prefixes"] if any(prefixes) else []
    mapped += [f"vectors are cut to {config.truncate_dim}"] if config.truncate_dim else []
    if prompts:
        names = ", ".join(map(repr, prompts))
        mapped.append(f"questions can have another prompt by dprkit search --prompt: {names}")
    passage_tower = last.tower if len(rows) > 1 else None
    return Foreign(first.tower, passage_tower, config, mapped, include_prompt)


def no_prompts(folder: Path | str) -> InputError:
    """The refusal of prompts whose tokens would have no part in vectors."""
    return InputError(
        f"{folder}: its Pooling leaves the tokens of prompts out (include_prompt), which is "
        "not supported; name another model, or give it no prompts"
    )


def _head_said(tower: Tower) -> list[str]:
    if not tower.heads:
        return ["Dense is the projection"] if tower.head else []
    kinds = [type(layer).__name__ for layer in tower.heads]
    return [f"{', '.join(kinds)} are the heads, in this order"]


def _similarity(row: Row, said: FolderFile, folder: Path) -> tuple[str, str]:
    name = said.similarity_fn_name or "cosine"  # the library's own default
    if name not in ("cosine", "dot"):
        raise InputError(f"{folder}: compares by {name}; only dot and cosine are supported")
    if row.unit_length and said.truncate_dim and name == "dot":
        raise InputError(
            f"{folder}: compares by dot what it cuts to {said.truncate_dim} after its Normalize, "
            f"so lengths differ, which is not supported; say cosine in {CONFIG}"
        )
    if row.unit_length:
        return "cosine", "Normalize is cosine similarity"
    note = "; its own vectors have any length" if name == "cosine" else ""
    return name, f"the similarity is {name}, as the folder says or by default{note}"


# --- rows of modules ----------------------------------------------------------------------------


def _rows(folder: Path) -> list[Row]:
    """One row that serves both sides, or the question's and the passage's."""
    towers: dict[Path, Tower] = {}
    return [_row(row, towers) for row in read_rows(folder)]


def _row(modules: list[Module], towers: dict[Path, Tower]) -> Row:
    """Read a row. `towers` holds the transformers that an earlier row has read."""
    base, pooled = (module.folder for module in modules[:2])
    pooling, include_prompt = read_pooling(pooled)
    head = read_head(modules[2:])
    said = read_transformer(base)
    if base not in towers:
        tower = tower_in(base)
        if said.do_lower_case:
            tower.tokenizer = lowering(*tower.tokenizer)
        towers[base] = tower
    tower = towers[base]
    most = said.max_seq_length or model_max_length(base) or tower.room
    lengths = said.query_length or most, said.document_length or most
    if head.weights:
        tower = replace(tower, head=head.weights, heads=head.layers)
    return Row(tower, pooling, include_prompt, head.unit_length, lengths)


def lowering(tokenizer: Any, files: Files) -> tuple[Any, Files]:
    """A tokenizer that lower-cases texts first, with its files."""
    from tokenizers.normalizers import Lowercase, Sequence

    own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    tokenizer.normalizer = Sequence([Lowercase(), *own])
    return changed(tokenizer, files)


# --- writing --------------------------------------------------------------------------------------

TYPE = "sentence_transformers.models."


def write(model: BiEncoder, tokens: Tokens, folder: Path, source: str) -> list[str]:
    """A folder that SentenceTransformer loads; a Router in it where the sides differ.

    The library knows no titles: what it is given as a passage is title and text joined as the
    retriever's `title_join` says, or the two as a pair.
    """
    config = model.config
    own = {
        "prompts": config.prompts
        | {QUERY: config.question_prefix, DOCUMENT: config.passage_prefix},
        "default_prompt_name": None,
        "similarity_fn_name": config.similarity,
    } | ({"truncate_dim": config.truncate_dim} if config.truncate_dim else {})
    write_json(folder / CONFIG, own)
    join = f"titles join by {config.title_join!r}, which the library leaves to its user"
    if config.strip:
        join += "; so is white space at the ends of texts, which is cut off before"
    lengths = _own_lengths(config)
    if config.shared and not config.separate_heads:
        most = {"max_seq_length": config.longest} | lengths
        _write_transformer(folder, model.question_encoder, tokens, "question", most)
        rows = _write_rest(folder, model.question_encoder, "")
        write_json(folder / MODULES, _listed([("", "Transformer"), *rows]))
        return [f"one encoder, at most {config.longest} tokens", join, *_lengths_said(lengths)]
    _write_router(folder, model, tokens, lengths)
    write_json(folder / MODULES, _listed([("", "Router")]))
    return [
        f"the question encoder is the route {QUERY!r} (encode_query)",
        f"the passage encoder is the route {DOCUMENT!r} (encode_document)",
        join,
        *_lengths_said(lengths),
    ]


def _own_lengths(config: RetrieverConfig) -> dict[str, int]:
    """The lengths of one transformer's sides, where one of them is below what it reads at most.

    Left out where they are equal: sentence-transformers before 6 knows no such keys.
    """
    sides = config.question_max_length, config.passage_max_length
    if not config.shared or sides[0] == sides[1]:
        return {}
    return dict(zip(("query_length", "document_length"), sides, strict=True))


def _lengths_said(lengths: dict[str, int]) -> list[str]:
    said = " and ".join(f"{name} {length}" for name, length in lengths.items())
    return [f"sides are cut to {said}, which the library reads from 6 on"] if said else []


def _write_router(
    folder: Path, model: BiEncoder, tokens: Tokens, own_lengths: dict[str, int]
) -> None:
    """Two rows of modules; a transformer that both have is written once."""
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {}
    sides: tuple[tuple[str, Side, Encoder, int], ...] = (
        (QUERY, "question", model.question_encoder, model.config.question_max_length),
        (DOCUMENT, "passage", model.passage_encoder, model.config.passage_max_length),
    )
    shared = model.config.shared
    for route, side, encoder, length in sides:
        base = f"{QUERY if shared else route}_0_Transformer"
        if base not in types:
            most = {"max_seq_length": model.config.longest if shared else length}
            _write_transformer(folder / base, encoder, tokens, side, most | own_lengths)
        row = [(base, "Transformer"), *_write_rest(folder, encoder, f"{route}_")]
        types |= {path: TYPE + kind for path, kind in row}
        structure[route] = [path for path, _ in row]
    parameters = {"default_route": DOCUMENT, "allow_empty_key": True}
    routes = {"types": types, "structure": structure, "parameters": parameters}
    write_json(folder / ROUTER, routes)


def _write_transformer(
    folder: Path, encoder: Encoder, tokens: Tokens, side: Side, lengths: dict[str, int]
) -> None:
    backbone: Any = encoder.backbone
    backbone.save_pretrained(folder)
    save_tokenizer(folder, tokens, side)
    write_json(folder / LENGTHS[0], {**lengths, "do_lower_case": False})


def _write_rest(folder: Path, encoder: Encoder, name: str) -> list[tuple[str, str]]:
    """Pooling and what follows it, of one side: their folders and classes."""
    from safetensors.torch import save_file

    width = int(encoder.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    used = MODES[encoder.pooling]
    flags = {f"pooling_mode_{flag}": mode == used for mode, flag in FLAGS.items()}
    pooling: Written = ("Pooling", {"word_embedding_dimension": width} | flags, {})
    modules = [pooling, *head_written(encoder)]
    rows: list[tuple[str, str]] = []
    for number, (kind, config, weights) in enumerate(modules, start=1):
        path = f"{name}{number}_{kind}"
        write_json(folder / path / "config.json", config)
        if weights:
            save_file(weights, folder / path / "model.safetensors")
        rows.append((path, kind))
    return rows


def _listed(rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"idx": i, "name": str(i), "path": path, "type": TYPE + kind}
        for i, (path, kind) in enumerate(rows)
    ]


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
