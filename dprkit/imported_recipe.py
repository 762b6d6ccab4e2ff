"""init --from: the recipe for imported data, filled in with what is found in its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.errors import InputError, SettingsError
from dprkit.imports.counted_tokens import CountedTokens
from dprkit.imports.names import split_names
from dprkit.imports.output import PASSAGES, QRELS, QUESTIONS, qrels_of
from dprkit.recipes import Recipe
from dprkit.records import Passage, same_question
from dprkit.store.manifests import is_artifact, read_manifest

TRAIN = "train.jsonl"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""What training starts from where no model is named: small, and good as it is."""
LOOKED_AT = 2000
"""Passages, questions and examples that are looked at."""
LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
MOST = 0.95
"""Share of the texts that are to be read whole."""
TOKENS_A_WORD = 1.4
"""Of English text, where no tokenizer is at hand."""
BATCH = 64
FEW = 40
"""Questions of examples below which none are set aside for validation and test."""
_VALID_AND_TEST = {"train": "90%", "valid": "5%", "test": "rest"}
_VALID_ALONE = {"train": "95%", "valid": "rest"}


class Found(NamedTuple):
    """What the folder of an import has."""

    folder: Path
    files: frozenset[str]
    written: dict[str, int]
    examples: int
    """Those of train.jsonl that were looked at; how many questions they have:"""
    questions: int
    negatives: int
    """How many of the examples have negatives, and answers:"""
    answers: int
    passage_tokens: int
    """Of a passage with its title, which MOST do not exceed."""

    def split(self, own: str) -> str | None:
        """The name that the files have for the split that dprkit calls `own`, if it is there."""
        rows = (name for name in self.files if name.endswith(".jsonl") and name != PASSAGES)
        splits = {name.removesuffix(".jsonl").removesuffix(".questions") for name in rows}
        return next((name for name, of in split_names(splits).items() if of == own), None)

    def first_of(self, *names: str) -> str | None:
        """The first of the files that is there."""
        return next((name for name in names if name in self.files), None)


def recipe_for(folder: Path, model: str | None, at: Path) -> tuple[Recipe, list[str]]:
    """The recipe for the data that import-data wrote into `folder`, and what was found there.

    `model`: a folder or a hub's name; `at`: the folder of the recipe. Raises InputError where the
    folder is no import, or has nothing to search or to train with.
    """
    found = _found(folder, model)
    if model:
        _check_model(Path(model))

    def seen(path: str) -> str:
        there = os.path.lexists(path) and not os.path.isabs(path)
        return os.path.relpath(path, at) if there else path

    def data(name: str) -> str:
        return seen(str(folder / name))

    stages = _to_train(found, data) if found.examples else {}
    kinds = {"words": "index", "mined": "mine-negatives"} if "mined" in stages else {}
    if found.examples:
        stages["train"]["init"] = seen(model or MODEL)
    stages |= _to_search(found, data)
    if model and not found.examples:
        stages["encode-corpus"] = {"retriever": seen(_retriever(model)), **stages["index"]}
        stages["index"] = {}
    if questions := _to_measure(found, data, stages):
        stages["evaluate"] = questions
    recipe = Recipe(at.resolve().name, str(at / "dprkit.yaml"), stages, {}, kinds=kinds)
    told = _told(found)
    if "select-data" in stages:
        told.append(
            "There is no validation set: select-data sets questions aside (import-data --split "
            "--split-by title would part them by article)."
        )
    return recipe, told


def _check_model(folder: Path) -> None:
    """Raise InputError for a folder of a model that training would refuse, by its config.json."""
    if (folder / "config.json").is_file() and not is_artifact(folder):
        from dprkit.interop.folder import read_config  # imports torch

        read_config(folder)


def _retriever(model: str) -> str:
    if not is_artifact(Path(model)):
        advice = f"make one of it: dprkit convert {model} --output-dir retriever"
        raise SettingsError(
            f"--model {model}: no retriever of dprkit, and no examples to train one with; {advice}"
        )
    return model


# --- what is there --------------------------------------------------------------------------------


def _found(folder: Path, model: str | None) -> Found:
    if not is_artifact(folder):
        raise InputError(f"{folder}: no imported data; make it with dprkit import-data")
    manifest = read_manifest(folder, "data")
    files = frozenset(manifest.files)
    if not files & {PASSAGES, TRAIN}:
        raise InputError(f"{folder}: no passages and no examples there; import a corpus too")
    count = _counting(model)
    examples = list(_first(read_examples, folder, TRAIN, files))
    passages: list[Passage] = list(_first(read_passages, folder, PASSAGES, files))
    return Found(
        folder,
        files,
        dict(manifest.counts.get("written", {})),
        len(examples),
        len({same_question(e.question) for e in examples}),
        sum(bool(e.hard_negatives) for e in examples),
        sum(bool(e.answers) for e in examples),
        _most(count(p.title, p.text) for p in passages),
    )


def _first(
    read: Callable[[Path], Iterable[Any]], folder: Path, name: str, files: frozenset[str]
) -> Iterable[Any]:
    return islice(read(folder / name), LOOKED_AT) if name in files else ()


def _counting(model: str | None) -> Callable[[str, str], int]:
    """What counts the tokens of a title and a text, special ones too."""
    if model and os.path.isdir(model):
        tokens = CountedTokens(model)
        return lambda title, text: tokens.count(title) + tokens.count(text) + 3
    return lambda title, text: round(len(f"{title} {text}".split()) * TOKENS_A_WORD) + 3


def _most(counts: Iterable[int]) -> int:
    ordered = sorted(counts)
    return ordered[min(int(len(ordered) * MOST), len(ordered) - 1)] if ordered else 0


def _told(found: Found) -> list[str]:
    counts = ", ".join(f"{count:,} {what}" for what, count in found.written.items())
    lines = [f"{found.folder} has {counts}."]
    if found.passage_tokens:
        share = f"{MOST:.0%}"
        lines.append(f"{share} of its passages have at most {found.passage_tokens} tokens.")
    if found.examples:
        lines.append(
            f"Of the first {found.examples:,} examples {found.negatives:,} have hard negatives"
            + ("." if _has_negatives(found) else ": mined finds some among the passages.")
        )
    return lines


# --- the stages -----------------------------------------------------------------------------------

Stages = dict[str, dict[str, Any]]


def _has_negatives(found: Found) -> bool:
    return found.negatives * 2 >= found.examples or PASSAGES not in found.files


def _to_train(found: Found, data: Callable[[str], str]) -> Stages:
    """The stages up to the model: sets, negatives, training."""
    stages: Stages = {}
    train = data(TRAIN)
    names = (f"{split}.jsonl" for split in [found.split("valid")] if split)
    valid = next((data(name) for name in names if name in found.files), None)
    if not valid and found.questions >= FEW:
        stages["select-data"] = {
            "sources": [train],
            "require": ["positive"],
            "shuffle": True,
            "split": _VALID_ALONE if found.split("test") else _VALID_AND_TEST,
            "split_by": "question",
        }
        train, valid = (f"select-data.output_dir/{name}.jsonl" for name in ("train", "valid"))
    if not _has_negatives(found):
        answered = found.answers * 2 >= found.examples
        stages["words"] = {"type": "bm25", "passages": data(PASSAGES)}
        stages["mined"] = {
            "train_file": [train],
            "index": ["words.output_dir"],
            **({} if answered else {"match": "none", "relative_margin": 0.05}),
        }
        train = "mined.output_dir/train.jsonl"
    stages["train"] = {
        "train_file": [train],
        **({"valid_file": valid} if valid else {"valid_every": "never"}),
        "passage_max_length": _length(found.passage_tokens),
        "batch_size": min(BATCH, found.examples),
        "max_epochs": 1 if found.written.get("examples", 0) > 20_000 else 3,
    }
    return stages


def _length(tokens: int) -> int:
    return next((length for length in LENGTHS if length >= tokens), LENGTHS[-1])


def _to_search(found: Found, data: Callable[[str], str]) -> Stages:
    """An index of the trained model's vectors, or of words where there is nothing to train with."""
    if PASSAGES not in found.files:
        return {}
    passages = {"passages": data(PASSAGES)}
    if found.examples:
        return {"encode-corpus": passages, "index": {}}
    return {"index": {"type": "bm25", **passages}}


def _to_measure(found: Found, data: Callable[[str], str], stages: Stages) -> dict[str, Any]:
    """The evaluation, on questions that nothing was trained on, if there are some."""
    if "index" not in stages:
        return {}
    split = found.split("test")
    if split is None and "select-data" in stages:
        return {"questions": "select-data.output_dir/test.jsonl"}
    split = split or found.split("valid")
    questions = found.first_of(f"{split}.{QUESTIONS}", f"{split}.jsonl") if split else None
    if split is None and not found.examples:
        questions = found.first_of(QUESTIONS)
    if questions is None:
        return {}
    judged = found.first_of(qrels_of(split or ""), QRELS) if questions.endswith(QUESTIONS) else None
    return {"questions": data(questions), **({"qrels": data(judged)} if judged else {})}
