"""Which system a source comes from, and the reader for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dprkit.errors import InputError, SettingsError, reading
from dprkit.interop import (
    dpr_checkpoint,
    hf_dpr,
    hf_dpr_reader,
    multi_vector,
    neural_cherche,
    qa_retriever,
    sentence_transformers,
    stanford_colbert,
    transformer,
)
from dprkit.interop.colbert import ForeignColbert, assembled_colbert, refuse_late_flags
from dprkit.interop.folder import ADAPTER, CONFIG, other_form, read_config, read_state
from dprkit.interop.foreign_reader import ForeignReader
from dprkit.interop.hub import local
from dprkit.interop.multi_vector_files import model_type
from dprkit.interop.sentence_transformer_files import MODULES
from dprkit.interop.tower import Foreign, assembled
from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.config import Side, is_retriever
from dprkit.models.late_interaction import Colbert
from dprkit.models.reader_config import is_reader
from dprkit.models.tokens import Tokens
from dprkit.progress import Note, silent
from dprkit.settings import ConvertSettings

COLBERT: dict[str, Callable[[Path, ConvertSettings], ForeignColbert]] = {
    "neural-cherche": neural_cherche.read,
    "stanford-colbert": stanford_colbert.read,
    "pylate": multi_vector.read_pylate,
    "multi-vector": multi_vector.read,
}
"""Kinds of ColBERT models, and who reads them."""
READERS: dict[str, Callable[[Path, ConvertSettings], ForeignReader]] = {
    "hf-dpr-reader": hf_dpr_reader.read,
    "dpr-reader-cp": dpr_checkpoint.read_reader,
}
"""Kinds of readers, and who reads them."""
FORMS = {b"GGUF": "GGUF file", b"\x89HDF": "TensorFlow file (HDF5)", b"\x08": "ONNX file"}
"""How files of weights that are not read begin."""


class Sources(NamedTuple):
    """One folder or file, or the question's and the passage's folders."""

    question: Path
    passage: Path | None

    def of(self, side: Side) -> Path:
        """The folder or file of a side."""
        return self.passage if side == "passage" and self.passage else self.question

    def dpr_pair(self) -> Sources:
        """The folders of a DPR pair, which may lie in one. Raises InputError for half a pair."""
        if self.passage:
            return self
        if pair := hf_dpr.pair_in(self.question):
            return Sources(*pair)
        raise hf_dpr.half(self.question)


def read_foreign(
    settings: ConvertSettings, note: Note = silent
) -> tuple[str, Foreign | ForeignColbert | ForeignReader]:
    """The kind of the source and what it holds. Raises InputError, MismatchError."""
    sources = sources_of(settings, note)
    kind = settings.kind or kind_of(sources)
    return kind, _read(kind, sources, settings)


def assembled_foreign(
    foreign: Foreign | ForeignColbert, settings: ConvertSettings
) -> tuple[BiEncoder | Colbert, Tokens]:
    """The model of a source and the way it reads text. Raises InputError, SettingsError."""
    if isinstance(foreign, ForeignColbert):
        return assembled_colbert(foreign, settings)
    return assembled(foreign, settings)


def sources_of(settings: ConvertSettings, note: Note = silent) -> Sources:
    """Where what is read lies; a name on the hub is fetched."""
    return Sources(
        local(str(settings.source or settings.question_encoder), note),
        local(settings.passage_encoder, note) if settings.passage_encoder else None,
    )


def _read(
    kind: str, sources: Sources, settings: ConvertSettings
) -> Foreign | ForeignColbert | ForeignReader:
    question, passage = sources
    if kind in COLBERT or kind in READERS:
        if passage:
            raise SettingsError(f"--kind {kind}: one model reads both sides; name it alone")
        return (COLBERT | READERS)[kind](question, settings)
    if settings.token_types is not None:
        raise SettingsError("--token-types is for readers; the source is none")
    refuse_late_flags(settings)
    if kind == "hf-dpr":
        pair = sources.dpr_pair()
        return hf_dpr.read(pair.of("question"), pair.of("passage"), settings)
    if kind in ("dpr-cp", "qa-retriever"):
        if passage:
            raise SettingsError(f"--kind {kind}: both encoders lie in one file; name it alone")
        reader = dpr_checkpoint.read if kind == "dpr-cp" else qa_retriever.read
        return reader(question, settings)
    if kind == "sentence-transformers":
        return sentence_transformers.read(question, passage, settings)
    return transformer.read(question, passage, settings)


def kind_of(sources: Sources) -> str:
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
    if is_reader(path):
        raise InputError(f"{path}: is a dprkit reader already; say what to make of it by --to")
    if kind := _kind_of_colbert(path):
        return kind
    if (path / MODULES).is_file():
        return "sentence-transformers"
    if hf_dpr_reader.is_dpr_reader(path):
        return "hf-dpr-reader"
    if hf_dpr.is_dpr(path) or hf_dpr.pair_in(path):
        return "hf-dpr"
    if (path / CONFIG).is_file():
        return "transformer"
    if (path / ADAPTER).is_file():
        read_config(path)  # raises, and tells how to merge an adapter into its base model
    other = other_form(path).removesuffix("; not a whole model")
    raise InputError(
        f"{path}: has neither {CONFIG} nor {MODULES}{other}; "
        "name the folder of a model, or a checkpoint file"
    )


def _kind_of_colbert(path: Path) -> str:
    """The kind of a folder of a ColBERT model, or "" for another."""
    if neural_cherche.is_neural_cherche(path):
        return "neural-cherche"
    if (path / MODULES).is_file():
        return model_type(path)
    return "stanford-colbert" if stanford_colbert.is_stanford_colbert(path) else ""


def _kind_of_file(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        begin = file.read(8)
    for mark, form in FORMS.items():
        if begin.startswith(mark):
            raise InputError(
                f"{path}: is a {form}, which is not read; name the folder that transformers' "
                "save_pretrained made of the model"
            )
    state = read_state(path, names_only=True)
    if dpr_checkpoint.is_reader_state(state):
        return "dpr-reader-cp"
    if "model_dict" in state:
        return "dpr-cp"
    weights = qa_retriever.tensors_in(state)
    if qa_retriever.is_qa_retriever(weights):
        return "qa-retriever"
    some = ", ".join(sorted(weights)[:3]) or "no tensors"
    raise InputError(
        f"{path}: neither a DPR checkpoint (model_dict) nor a QaRetriever (q_proj, e_proj): {some}"
    )
