"""evaluate --beir: a folder of BEIR as questions and judgements, and an index of its corpus.

--beir DIR                  -> --questions, --qrels            asked_by_folder
--beir DIR --retriever M    -> embeddings, and an index        indexed_folder
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dprkit.data.beir import beir_folder
from dprkit.errors import SettingsError
from dprkit.evaluation.asked import judged_questions, read_asked
from dprkit.progress import Run
from dprkit.settings import EncodeSettings, EvaluateSettings, IndexSettings, required
from dprkit.store.begin_or_resume import UP_TO_DATE, Previewed

EMBEDDINGS, INDEX = "embeddings", "index"
"""Folders below that of the results."""


def is_to_index(settings: EvaluateSettings) -> bool:
    """Whether the corpus of --beir is to be encoded and indexed."""
    named = any(given is not None for given in (settings.index, settings.results, settings.answers))
    return settings.beir is not None and not named


def asked_by_folder(settings: EvaluateSettings) -> EvaluateSettings:
    """The settings with the questions and judgements of --beir, and the index that it makes.

    Raises InputError for what the folder lacks, and SettingsError.
    """
    if settings.beir is None:
        return settings
    for flag, given in (("--questions", settings.questions), ("--qrels", settings.qrels)):
        if given is not None:
            raise SettingsError(f"--beir has its own questions and qrels; leave {flag} out")
    folder = beir_folder(settings.beir, settings.split)
    asked = replace(settings, questions=str(folder.queries), qrels=str(folder.qrels))
    if not is_to_index(settings):
        return asked
    if settings.retriever is None:
        raise SettingsError(
            "--beir: nothing to measure; name a model with --retriever, or --index or --results"
        )
    output = required(settings.output_dir, "--output-dir", "output")
    return replace(asked, index=str(Path(output) / INDEX))


def indexed_folder(settings: EvaluateSettings, run: Run) -> None:
    """Encode and index the corpus of --beir with --retriever, where that is not there by now.

    Both artifacts lie below the folder of the results. Raises InputError before it begins where
    the qrels judge none of the queries.
    """
    from dprkit.embeddings.encode import encode_corpus
    from dprkit.indexes.build import index

    judged_questions(settings, read_asked(settings))
    folder = beir_folder(str(settings.beir), settings.split)
    output = Path(str(settings.output_dir))
    embeddings = str(output / EMBEDDINGS)
    encoding = EncodeSettings(
        retriever=settings.retriever, passages=str(folder.corpus), output_dir=embeddings
    )
    _unless_previewed(encode_corpus, encoding, run)
    indexing = IndexSettings(embeddings=embeddings, output_dir=str(output / INDEX))
    _unless_previewed(index, indexing, run)


def _unless_previewed(stage: Callable[[Any, Run], Any], settings: Any, run: Run) -> None:
    """Run a stage; of one that is up to date a preview goes on to the next."""
    try:
        stage(settings, run)
    except Previewed as preview:
        if preview.state != UP_TO_DATE:
            raise
