"""evaluate --corpus, and --beir: a model is measured that has no index yet.

a model of another system  -> a retriever               dprkit convert
a retriever, the corpus    -> embeddings, and an index (of each size: own_sizes.py)

All of them are kept in folders below that of the results, and are used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from dprkit.errors import SettingsError
from dprkit.evaluation.asked import judged_questions, read_asked
from dprkit.evaluation.own_sizes import by_size, check_sizes, cut_embeddings, refuse_sizes
from dprkit.progress import Run
from dprkit.settings import (
    ConvertSettings,
    EncodeSettings,
    EvaluateSettings,
    IndexSettings,
    required,
)
from dprkit.store.begin_or_resume import UP_TO_DATE, Previewed
from dprkit.store.manifests import is_artifact

RETRIEVER, EMBEDDINGS = "retriever", "embeddings"
"""Folders below that of the results."""
T = TypeVar("T")
R = TypeVar("R")


def with_own_index(settings: EvaluateSettings) -> EvaluateSettings:
    """The settings with the index that --corpus will get. Raises SettingsError."""
    refuse_sizes(settings)
    if settings.corpus is None:
        return settings
    for flag in ("index", "results", "answers"):
        if getattr(settings, flag) is not None:
            raise SettingsError(f"--corpus is encoded and indexed; leave it or --{flag} out")
    if settings.passages is not None:
        raise SettingsError("--passages and --corpus both name the corpus; leave --passages out")
    if "-" in (settings.questions, settings.qrels):
        raise SettingsError("-: is read twice where a corpus is encoded; name a file")
    retriever = required(settings.retriever, "--retriever", "model to measure")
    _source(retriever)
    output = required(settings.output_dir, "--output-dir", "output")
    return next(by_size(replace(settings, output_dir=output)))[1]


def paths_of(settings: EvaluateSettings) -> Iterator[tuple[str, str]]:
    """What is read to make the index, by setting; a hub's names are no paths."""
    yield "passages", str(settings.corpus)
    for path in str(settings.retriever).split(","):
        if os.path.exists(path) or path.count("/") != 1:
            yield "retriever", path


def make_index(settings: EvaluateSettings, run: Run) -> EvaluateSettings:
    """Encode and index --corpus with --retriever, where that is not there by now.

    With --truncate-dim an index of each size. Returns the settings with the retriever of dprkit's
    form. Raises InputError before it begins where there is nothing to look for.
    """
    from dprkit.embeddings.encode import encode_corpus
    from dprkit.indexes.build import index

    judged_questions(settings, read_asked(settings))
    output = Path(str(settings.output_dir))
    settings = _converted(settings, output / RETRIEVER, run)
    check_sizes(settings, run)
    encoding = EncodeSettings(
        retriever=settings.retriever,
        passages=settings.corpus,
        output_dir=str(output / EMBEDDINGS),
        precision=settings.precision,
    )
    unless_previewed(encode_corpus, encoding, run)
    whole = str(encoding.output_dir)
    for size, one in by_size(settings):
        embeddings = _embeddings_of(whole, size, Path(str(one.index)).parent, run)
        indexing = IndexSettings(embeddings=embeddings, output_dir=one.index)
        unless_previewed(index, indexing, run)
    return settings


def _embeddings_of(whole: str, size: int | None, folder: Path, run: Run) -> str:
    """The embeddings of a size: the whole ones, or some that are cut, in a folder."""
    from dprkit.embeddings.shards import Embeddings

    if size in (None, Embeddings(whole).dim):
        return whole
    directory = str(folder / EMBEDDINGS)
    unless_previewed(partial(cut_embeddings, whole, size), directory, run)
    return directory


def _converted(settings: EvaluateSettings, output: Path, run: Run) -> EvaluateSettings:
    """The settings with a retriever of dprkit's form: a foreign one is converted."""
    if is_artifact(str(settings.retriever)):
        return settings
    from dprkit.interop.convert import convert

    source = _source(str(settings.retriever))
    unless_previewed(convert, replace(source, output_dir=str(output)), run)
    return replace(settings, retriever=str(output))


def _source(retriever: str) -> ConvertSettings:
    """What is to be converted: a model, or the question's and the passage's encoder of a pair."""
    if os.path.exists(retriever):
        return ConvertSettings(source=retriever)
    parts = retriever.split(",")
    if len(parts) > 2 or not all(parts):
        raise SettingsError(
            f"--retriever {retriever}: name a model, or the question's and the passage's encoder "
            "with a comma between"
        )
    if len(parts) == 1:
        return ConvertSettings(source=retriever)
    return ConvertSettings(question_encoder=parts[0], passage_encoder=parts[1])


def unless_previewed(stage: Callable[[T, Run], R], settings: T, run: Run) -> R | None:
    """Run a stage; of one that is up to date a preview goes on to the next."""
    try:
        return stage(settings, run)
    except Previewed as preview:
        if preview.state != UP_TO_DATE:
            raise
        return None
