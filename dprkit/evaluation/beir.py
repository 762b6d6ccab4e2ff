"""evaluate --beir: a folder of BEIR as questions, judgements, and a corpus."""

from __future__ import annotations

from msgspec.structs import replace

from dprkit.data.beir import beir_folder
from dprkit.errors import SettingsError
from dprkit.settings import EvaluateSettings


def asked_by_folder(settings: EvaluateSettings) -> EvaluateSettings:
    """The settings with the questions and judgements of --beir, and with its corpus.

    The corpus is left out where rankings, answers or an index are named. Raises InputError for
    what the folder lacks, and SettingsError.
    """
    if settings.beir is None:
        return settings
    if settings.corpus is not None:
        raise SettingsError("--beir has its own corpus; leave --corpus out")
    for flag, given in (("--questions", settings.questions), ("--qrels", settings.qrels)):
        if given is not None:
            raise SettingsError(f"--beir has its own questions and qrels; leave {flag} out")
    folder = beir_folder(settings.beir, settings.split)
    asked = replace(settings, questions=str(folder.queries), qrels=str(folder.qrels))
    if any((settings.index, settings.results, settings.answers)):
        return asked
    if settings.retriever is None:
        raise SettingsError(
            "--beir: nothing to measure; name a model with --retriever, or --index or --results"
        )
    return replace(asked, corpus=str(folder.corpus))
