"""The settings of every stage, and the recipe that holds them.

One frozen class a stage, one sentence a field. The sentence is the flag's --help, the comment
that `dprkit init` writes, and the text of docs/cli.md. Recipes are YAML; where a setting's value
comes from is decided in `Recipe.stage`: flag, then --set, then the recipe, then the default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from dprkit.errors import SettingsError

BUNDLED = "bundled:"


def about(
    sentence: str,
    *,
    panel: str = "",
    path: bool = False,
    workspace: str = "",
    flag: str = "",
    metavar: str = "",
    replaces: str = "",
) -> Meta:
    """Describe a setting.

    `path`: it names a file and so is recorded by what the file holds, not by its name.
    `workspace`: its default, below the recipe's folder runs/NAME. `flag`: a short flag, or
    "argument". `replaces`: settings that count as not given when this one
    is given closer to the user (a flag is closer than a recipe).
    """
    shown = {"panel": panel, "path": path or bool(workspace), "workspace": workspace}
    return Meta(
        description=sentence,
        extra={**shown, "flag": flag, "metavar": metavar, "replaces": replaces},
    )


Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Above0 = Annotated[float, Meta(gt=0)]
AtLeast0 = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Length = Annotated[int, Meta(ge=3)]
Pool = Literal["positive", "negative", "hard_negative"]


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch data sets and checkpoints that the catalog names."""

    names: Annotated[
        tuple[str, ...],
        about("Resources to fetch, or the first segments of their names.", flag="argument"),
    ] = ()
    output_dir: Annotated[str, about("Folder to put the files in.")] = "downloads"
    catalog: Annotated[
        str | None, about("A catalog of your own, added to the built-in one.", path=True)
    ] = None
    mirror: Annotated[
        str | None, about("Fetch from this base URL instead of the servers the catalog names.")
    ] = None
    decompress: Annotated[bool, about("Unpack .gz files; they are kept as they are otherwise.")] = (
        False
    )
    retries: Annotated[Count, about("Tries after a failed request, with growing pauses.")] = 5
    timeout: Annotated[Above0, about("Seconds without a byte after which a try has failed.")] = 30.0


class SelectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Select training examples from DPR files."""

    sources: Annotated[
        tuple[str, ...],
        about(
            "DPR files to read: a JSON array or jsonl, plain, .gz or .zst; - is stdin.",
            flag="argument",
            path=True,
            replaces="split",
        ),
    ] = ()
    output: Annotated[
        str | None,
        about(
            "File to write the selected rows to; - is stdout.",
            flag="-o",
            path=True,
            replaces="split",
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder to write the files of --split to.", workspace="data")
    ] = None
    num_items: Annotated[Positive | None, about("Keep at most this many rows.")] = None
    split: Annotated[
        dict[str, Positive] | None,
        about("Write disjoint sets in one pass.", metavar="train=500,valid=100"),
    ] = None
    offset: Annotated[Count, about("Pass over this many rows that qualify first.")] = 0
    shuffle: Annotated[
        bool, about("Draw the rows uniformly from the whole source instead of taking the first.")
    ] = False
    seed: Annotated[int, about("Seed of --shuffle.")] = 0
    require: Annotated[
        tuple[Pool, ...],
        about("Pools of passages a row must have.", metavar="positive,hard_negative"),
    ] = ("positive", "negative", "hard_negative")
    min_positives: Annotated[Count, about("Drop rows with fewer positives.")] = 0
    min_hard_negatives: Annotated[Count, about("Drop rows with fewer hard negatives.")] = 0
    min_negatives: Annotated[Count, about("Drop rows with fewer random negatives.")] = 0
    max_hard_negatives: Annotated[
        Count | None, about("Keep only the first so many hard negatives of a row.")
    ] = None
    max_negatives: Annotated[
        Count | None, about("Keep only the first so many random negatives of a row.")
    ] = None
    dedupe: Annotated[
        bool, about("Drop rows whose question, but for case and punctuation, came before.")
    ] = False
    exclude: Annotated[
        tuple[str, ...], about("Drop rows whose question occurs in this file.", path=True)
    ] = ()
    passages_out: Annotated[
        str | None,
        about("Write the distinct passages of the selected rows here, as a DPR tsv.", path=True),
    ] = None
    questions_out: Annotated[
        str | None,
        about("Write the selected questions here: jsonl, or DPR's form for .csv.", path=True),
    ] = None


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Train a bi-encoder."""

    train_file: Annotated[str | None, about("Training examples.", workspace="data/train.jsonl")] = (
        None
    )
    valid_file: Annotated[
        str | None,
        about(
            "Validation examples (default: valid.jsonl beside the training file, if there).",
            path=True,
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the trained retriever.", workspace="model")
    ] = None
    init: Annotated[
        str | None,
        about(
            "Start from this Hugging Face folder, hub name or retriever (default: from scratch).",
            path=True,
        ),
    ] = None

    shared: Annotated[
        bool | None,
        about("One encoder for questions and passages (default: two).", panel="Model"),
    ] = None
    pooling: Annotated[
        Literal["cls", "mean"] | None,
        about(
            "How token vectors become one vector (default: cls, mean from scratch).", panel="Model"
        ),
    ] = None
    projection: Annotated[
        Count | None,
        about(
            "Project to this many dimensions (0: no projection; default: none, 20 from scratch).",
            panel="Model",
        ),
    ] = None
    similarity: Annotated[
        Literal["dot", "cosine"] | None,
        about("How two vectors are compared (default: dot).", panel="Model"),
    ] = None
    temperature: Annotated[
        Above0 | None,
        about(
            "Scores are divided by this in the loss (default: 1 for dot, 0.05 for cosine).",
            panel="Model",
        ),
    ] = None
    title_join: Annotated[
        str | None,
        about(
            "How title and text are joined: pair (two segments, default: pair), none, or a text "
            "such as '. '.",
            panel="Model",
        ),
    ] = None
    question_max_length: Annotated[
        Length | None,
        about("Tokens of a question that are read (default: 64).", panel="Model"),
    ] = None
    passage_max_length: Annotated[
        Length | None,
        about("Tokens of a passage that are read (default: 256).", panel="Model"),
    ] = None
    output_dropout: Annotated[
        Share | None,
        about(
            "Dropout on the pooled vector (default: 0, 0.2 from scratch).",
            panel="Model",
        ),
    ] = None

    scratch_vocab_size: Annotated[
        Annotated[int, Meta(ge=300)],
        about(
            "From scratch: size of the vocabulary learned from the training text.",
            panel="From scratch",
        ),
    ] = 8000
    scratch_hidden_size: Annotated[
        Positive, about("From scratch: width.", panel="From scratch")
    ] = 200
    scratch_layers: Annotated[
        Positive, about("From scratch: number of layers.", panel="From scratch")
    ] = 1
    scratch_heads: Annotated[
        Positive, about("From scratch: number of attention heads.", panel="From scratch")
    ] = 1
    scratch_dropout: Annotated[
        Share, about("From scratch: dropout inside the encoder.", panel="From scratch")
    ] = 0.1

    hard_negatives: Annotated[
        Count, about("Hard negatives drawn for each question, anew each epoch.", panel="Batches")
    ] = 1
    negatives: Annotated[
        Count, about("Random negatives drawn for each question, anew each epoch.", panel="Batches")
    ] = 0
    batch_size: Annotated[
        Positive | None,
        about("Questions in a batch (default: 32, 8 from scratch).", panel="Batches"),
    ] = None
    seed: Annotated[
        Count, about("Seed of weights, order, sampling and dropout.", panel="Batches")
    ] = 0

    max_epochs: Annotated[
        Count,
        about(
            "Passes over the training file; 0 writes the starting model as a retriever.",
            panel="Optimisation",
        ),
    ] = 10
    max_steps: Annotated[
        Positive | None, about("Stop after this many optimizer steps.", panel="Optimisation")
    ] = None
    lr: Annotated[
        Above0 | None,
        about("Highest learning rate (default: 2e-5, 1e-3 from scratch).", panel="Optimisation"),
    ] = None
    warmup: Annotated[
        AtLeast0,
        about(
            "Optimizer steps of linear warm-up; below 1, a share of all steps.",
            panel="Optimisation",
        ),
    ] = 0.1
    weight_decay: Annotated[
        AtLeast0, about("AdamW's decay; biases and norms never decay.", panel="Optimisation")
    ] = 0.0
    max_grad_norm: Annotated[
        AtLeast0, about("Clip the gradient to this norm (0: never).", panel="Optimisation")
    ] = 2.0

    valid_hard_negatives: Annotated[
        Count,
        about("Hard negatives of each question in the average-rank pool.", panel="Validation"),
    ] = 30
    valid_negatives: Annotated[
        Count,
        about("Random negatives of each question in the average-rank pool.", panel="Validation"),
    ] = 30
    best_by: Annotated[
        Literal["average_rank", "loss", "accuracy"],
        about("Figure of the validation that picks the epoch that is kept.", panel="Validation"),
    ] = "average_rank"


class EncodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Encode the passages of a corpus."""

    retriever: Annotated[str | None, about("The retriever to encode with.", workspace="model")] = (
        None
    )
    passages: Annotated[
        str | None,
        about("The corpus: DPR tsv, jsonl or BEIR corpus.jsonl.", workspace="data/passages.tsv"),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the embeddings.", workspace="embeddings")
    ] = None
    shard_size: Annotated[Positive, about("Passages in a shard, the unit of resuming.")] = 50_000
    batch_tokens: Annotated[Positive, about("Tokens in a forward pass.")] = 2048
    dtype: Annotated[Literal["float32", "float16"], about("Numbers on disk.")] = "float32"


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Build a FAISS index of encoded passages."""

    embeddings: Annotated[str | None, about("The encoded corpus.", workspace="embeddings")] = None
    output_dir: Annotated[str | None, about("Folder of the index.", workspace="index")] = None
    type: Annotated[Literal["flat"], about("Kind of index; flat is exact.")] = "flat"


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieve passages for questions."""

    index: Annotated[str | None, about("The index to search.", workspace="index")] = None
    questions: Annotated[
        str | None,
        about(
            "Questions: qa.csv, jsonl, BEIR, KILT, DPR examples or plain lines; - is stdin.",
            path=True,
        ),
    ] = None
    output: Annotated[
        str, about("File to write rankings to; - is stdout.", flag="-o", path=True)
    ] = "-"
    retriever: Annotated[
        str | None, about("Where the index's retriever lies now, if it was moved.", path=True)
    ] = None
    passages: Annotated[
        str | None, about("Where the index's corpus lies now, if it was moved.", path=True)
    ] = None
    topk: Annotated[Positive, about("Passages to retrieve for each question.")] = 100
    format: Annotated[
        Literal["results", "trec"], about("Lines of results.jsonl, or a TREC run.")
    ] = "results"


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Measure answer recall and gold-passage recall."""

    index: Annotated[str | None, about("The index to search.", workspace="index")] = None
    results: Annotated[
        str | None,
        about(
            "Evaluate these rankings instead: results.jsonl or DPR's JSON; - is stdin.",
            path=True,
            replaces="index output_dir",
        ),
    ] = None
    questions: Annotated[
        str | None, about("Questions with answers.", workspace="data/test.jsonl")
    ] = None
    output_dir: Annotated[str | None, about("Folder of the results.", workspace="results")] = None
    retriever: Annotated[
        str | None, about("Where the index's retriever lies now, if it was moved.", path=True)
    ] = None
    passages: Annotated[
        str | None, about("Where the index's corpus lies now, if it was moved.", path=True)
    ] = None
    topk: Annotated[
        tuple[Positive, ...],
        Meta(min_length=1),
        about("Depths to report.", metavar="1,5,20,100"),
    ] = (1, 5, 20, 100)
    match: Annotated[
        Literal["string", "regex"], about("How an answer is looked for in a passage.")
    ] = "string"


STAGES: dict[str, type[msgspec.Struct]] = {
    "download": DownloadSettings,
    "select-data": SelectSettings,
    "train": TrainSettings,
    "encode-corpus": EncodeSettings,
    "index": IndexSettings,
    "search": SearchSettings,
    "evaluate": EvaluateSettings,
}


@dataclass(frozen=True)
class Setting:
    """One field of a stage's settings, as the flags, the docs and `config show` need it."""

    name: str
    type: Any
    default: Any
    sentence: str
    panel: str
    path: bool
    workspace: str
    flag: str
    metavar: str
    replaces: str


@cache
def fields_of(stage: type[msgspec.Struct]) -> dict[str, Setting]:
    """The settings of a stage by name, in the order they are written down."""
    hints = get_type_hints(stage, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(stage):
        meta = next(m for m in hints[field.name].__metadata__ if isinstance(m, Meta) and m.extra)
        found[field.name] = Setting(
            field.name,
            hints[field.name],
            field.default,
            meta.description or "",
            **(meta.extra or {}),
        )
    return found


def record_of(settings: msgspec.Struct) -> dict[str, Any]:
    """What a manifest keeps of settings: all but paths, which count by what they hold."""
    fields = fields_of(type(settings))
    values = msgspec.to_builtins(settings)
    return {name: value for name, value in values.items() if not fields[name].path}


def required(value: str | None, flag: str, what: str) -> str:
    """`value`, or the error that tells which flag names it."""
    if value is None:
        raise SettingsError(f"no {what} given; name it with {flag}")
    return value


def bundled(path: str) -> Path:
    """The file that `bundled:NAME` in a recipe stands for: shipped with dprkit."""
    name = path.removeprefix(BUNDLED)
    package = Path(__file__).parent
    wheel = package / "bundled"
    if wheel.is_dir():
        return wheel / ("configs" if name.endswith(".yaml") else "data") / name
    return package.parent / ("configs" if name.endswith(".yaml") else "data") / name


def real_path(path: str) -> str:
    """`path` with `bundled:` resolved."""
    return str(bundled(path)) if path.startswith(BUNDLED) else path


# --- values: text from a flag, --set or YAML into the type the field wants ----------------------


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise ValueError(f"expected name=number,name=number, got {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _spread(value: Any, setting: Setting) -> Any:
    """Split text that stands for several values: `1,5,20` and `train=500,valid=100`."""
    if not isinstance(value, str):
        return [value] if isinstance(value, int) and "tuple" in str(setting.type) else value
    if "dict[" in str(setting.type):
        return _pairs(value)
    if "tuple[" in str(setting.type):
        return [value] if setting.path else [part.strip() for part in value.split(",")]
    return value


def convert(stage: str, name: str, value: Any, origin: str) -> Any:
    """`value` as the type of setting `name` of `stage`.

    Raises SettingsError that names the setting, the value and where it came from.
    """
    setting = fields_of(STAGES[stage])[name]
    flag = name.upper() if setting.flag == "argument" else f"--{name.replace('_', '-')}"
    shown = flag if origin == "flag" else f"{stage}.{name} ({origin})"
    try:
        result = msgspec.convert(_spread(value, setting), setting.type, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        reason = str(error).replace("`", "").partition(" - at $")[0]
        raise SettingsError(
            f"{shown}: {value!r} will not do: {reason[0].lower()}{reason[1:]}"
        ) from None
    if isinstance(result, float) and not isfinite(result):
        raise SettingsError(f"{shown}: {value} will not do: expected a finite number")
    if setting.path and re.search("[\ud800-\udfff]", "".join(result or "")):
        raise SettingsError(f"{shown}: {value!r} is not UTF-8; rename the file")
    if setting.path and isinstance(result, tuple):
        return tuple(map(real_path, result))
    return real_path(result) if setting.path and isinstance(result, str) else result
