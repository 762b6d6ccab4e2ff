"""convert --to: a retriever or a reader in a form that another library loads.

The form is written into a folder of its own, compared with the retriever on its probe texts where
dprkit can run it, and only then moved into the artifact. manifest.json is the one file of the
artifact that is not the other library's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import msgspec

from dprkit.errors import MismatchError
from dprkit.interop import (
    dpr_checkpoint,
    hf_dpr,
    hf_dpr_reader,
    multi_vector_export,
    neural_cherche,
    sentence_transformers,
    stanford_colbert,
)
from dprkit.interop.compare import compare, compare_reader
from dprkit.interop.sources import Sources
from dprkit.models import onnx_export
from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.config import bi_encoder_config
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens
from dprkit.models.nested_sizes import refuse_misfit
from dprkit.models.reader_config import is_reader
from dprkit.models.reading import load_reader_model
from dprkit.models.retriever_folder import load_model
from dprkit.store.atomic_files import TEMPORARY
from dprkit.store.drafts import Draft

WRITERS = {
    "hf-dpr": hf_dpr.write,
    "sentence-transformers": sentence_transformers.write,
    "onnx": onnx_export.write,
}
COLBERT: dict[str, Callable[[Colbert, LateTokens, Path, str], list[str]]] = {
    "neural-cherche": neural_cherche.write,
    "stanford-colbert": stanford_colbert.write,
    "pylate": multi_vector_export.write_pylate,
    "multi-vector": multi_vector_export.write,
}
"""The forms of ColBERT models."""
READERS = {"hf-dpr-reader": hf_dpr_reader.write, "dpr-reader-cp": dpr_checkpoint.write_reader}
"""The forms of readers."""


def export(
    work: Draft, source: str, to: str, truncate_dim: int | None = None
) -> tuple[int, list[str]]:
    """Write the model at `source` in the form `to`; numbers of a row of it, and what became what.

    `truncate_dim`: what the vectors of a bi-encoder are cut to. Raises MismatchError for a form of
    another kind of model and for a size that does not fit, InputError where the form cannot hold
    the retriever, MissingExtra, GateError.
    """
    prefix = f"{TEMPORARY}export-"  # a name that a later run clears away
    with tempfile.TemporaryDirectory(prefix=prefix, dir=work.directory) as folder:
        dim, mapped = _write(Path(folder), source, to, truncate_dim)
        _place(work, Path(folder))
    return dim, mapped


def _write(folder: Path, source: str, to: str, truncate_dim: int | None) -> tuple[int, list[str]]:
    """What is written is compared, but for ONNX and DPR's, by the library that it is for."""
    if truncate_dim:
        bi_encoder_config(source, "--truncate-dim")  # raises for what has no single vectors
    if is_reader(source):
        return _write_reader(folder, source, to)
    model, tokens = load_model(source)
    model.cpu()
    if isinstance(model, Colbert):
        if to not in COLBERT:
            raise MismatchError(_other(source, "is a ColBERT model", to, COLBERT))
        mapped = COLBERT[to](model, cast(LateTokens, tokens), folder, source)
        compared = compare(to, Sources(folder, None), model, tokens, {})
        compared.check(f"{source}: what --to {to} writes is not what it holds")
        return model.dim, [*mapped, compared.told]
    if to not in WRITERS:
        raise MismatchError(_other(source, "is a bi-encoder", to, WRITERS))
    if truncate_dim:
        _cut(model, truncate_dim, source)
    mapped = WRITERS[to](model, tokens, folder, source)
    if to == "sentence-transformers":  # the other writers compare by themselves
        compared = compare(to, Sources(folder, None), model, tokens, {})
        compared.check(f"{source}: what --to {to} writes is not what it holds")
        mapped = [*mapped, compared.told]
    return model.dim, mapped


def _cut(model: BiEncoder, size: int, source: str) -> None:
    """Let a model cut its vectors. Raises MismatchError where they are shorter."""
    refuse_misfit(size, model.dim, source)
    model.config = msgspec.structs.replace(model.config, truncate_dim=size)
    for encoder in (model.question_encoder, model.passage_encoder):
        encoder.truncate_dim = size


def _write_reader(folder: Path, source: str, to: str) -> tuple[int, list[str]]:
    if to not in READERS:
        raise MismatchError(_other(source, "is a reader", to, READERS))
    model, tokens = load_reader_model(source)
    mapped = READERS[to](model.cpu(), tokens, folder, source)
    compared = compare_reader(to, folder, model, tokens)
    compared.check(f"{source}: what --to {to} writes is not what it holds")
    return model.dim, [*mapped, compared.told]


def _other(source: str, what: str, to: str, forms: Iterable[str]) -> str:
    return f"{source}: {what}, which has no form {to}; --to takes {', '.join(forms)}"


def _place(work: Draft, folder: Path) -> None:
    """Put what lies in `folder` into the artifact."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            with work.folder(path.name) as target:
                shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            with work.file(path.name) as file, path.open("rb") as data:
                shutil.copyfileobj(data, file)
