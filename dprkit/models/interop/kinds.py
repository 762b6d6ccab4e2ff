"""Which system a source comes from, and the reader for it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dprkit.errors import InputError, SettingsError
from dprkit.models.config import is_retriever
from dprkit.models.interop import (
    dpr_cp,
    hf_dpr,
    qa_retriever,
    sentence_transformers,
    transformer,
)
from dprkit.models.interop.folder import CONFIG, local
from dprkit.models.interop.pickled import read_torch_file
from dprkit.models.interop.tower import Foreign
from dprkit.settings import ConvertSettings


class Sources(NamedTuple):
    """One folder or file, or the question's and the passage's folders."""

    question: Path
    passage: Path | None


def read_foreign(settings: ConvertSettings) -> tuple[str, Foreign]:
    """The kind of the source and what it holds. Raises InputError, MismatchError."""
    sources = Sources(
        local(str(settings.source or settings.question_encoder)),
        local(settings.passage_encoder) if settings.passage_encoder else None,
    )
    kind = settings.kind or _kind(sources)
    return kind, _read(kind, sources, settings)


def _read(kind: str, sources: Sources, settings: ConvertSettings) -> Foreign:
    question, passage = sources
    if kind == "hf-dpr":
        pair = (question, passage) if passage else hf_dpr.pair_in(question)
        if pair is None:
            raise hf_dpr.half(question)
        return hf_dpr.read(*pair, settings)
    if kind in ("dpr-cp", "qa-retriever"):
        if passage:
            raise SettingsError(f"--kind {kind}: both encoders lie in one file; name it alone")
        reader = dpr_cp.read if kind == "dpr-cp" else qa_retriever.read
        return reader(question, settings)
    if kind == "sentence-transformers":
        return sentence_transformers.read(question, passage, settings)
    return transformer.read(question, passage, settings)


def _kind(sources: Sources) -> str:
    """What a source is, by its files; both folders of a pair are of one kind."""
    kinds = [_kind_of(path) for path in sources if path]
    if len(set(kinds)) > 1:
        raise InputError(
            f"{sources.question} is {kinds[0]} and {sources.passage} is {kinds[1]}; "
            "a pair is of one kind: say which by --kind"
        )
    return kinds[0]


def _kind_of(path: Path) -> str:
    if path.is_file():
        return _kind_of_file(path)
    if is_retriever(path):
        raise InputError(f"{path}: is a dprkit retriever already; say what to make of it by --to")
    if sentence_transformers.is_sentence_transformer(path):
        return "sentence-transformers"
    if hf_dpr.is_dpr(path) or hf_dpr.pair_in(path):
        return "hf-dpr"
    if (path / CONFIG).is_file():
        return "transformer"
    raise InputError(
        f"{path}: has neither {CONFIG} nor {sentence_transformers.MODULES}; "
        "name the folder of a model, or a checkpoint file"
    )


def _kind_of_file(path: Path) -> str:
    if path.suffix == ".safetensors":
        weights = qa_retriever.weights_of(path)
    else:
        state = read_torch_file(path)
        if dpr_cp.is_checkpoint(state):
            return "dpr-cp"
        weights = qa_retriever.tensors_in(state)
    if qa_retriever.is_qa_retriever(weights):
        return "qa-retriever"
    some = ", ".join(sorted(weights)[:3]) or "no tensors"
    raise InputError(
        f"{path}: neither a DPR checkpoint (model_dict) nor a QaRetriever (q_proj, e_proj): {some}"
    )
