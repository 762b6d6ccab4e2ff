"""convert --to: a retriever in a form that another library loads.

The form is written into a folder of its own, compared with the retriever on its probe texts where
dprkit can run it, and only then moved into the artifact. manifest.json is the one file of the
artifact that is not the other library's.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from dprkit.interop import hf_dpr, sentence_transformers
from dprkit.models import onnx_export
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.store.atomic_files import TEMPORARY
from dprkit.store.drafts import Draft

WRITERS = {
    "hf-dpr": hf_dpr.write,
    "sentence-transformers": sentence_transformers.write,
    "onnx": onnx_export.write,
}


def export(work: Draft, source: str, to: str) -> tuple[int, list[str]]:
    """Write the retriever at `source` in the form `to`; its width and what became what.

    Raises InputError where the form cannot hold the retriever, MissingExtra, GateError.
    """
    model, tokens = load_bi_encoder(source)
    model.cpu()
    prefix = f"{TEMPORARY}export-"  # a name that a later run clears away
    with tempfile.TemporaryDirectory(prefix=prefix, dir=work.directory) as folder:
        mapped = WRITERS[to](model, tokens, Path(folder), source)
        _place(work, Path(folder))
    return model.question_encoder.dim, mapped


def _place(work: Draft, folder: Path) -> None:
    """Put what lies in `folder` into the artifact."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            with work.folder(path.name) as target:
                shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            with work.file(path.name) as file, path.open("rb") as data:
                shutil.copyfileobj(data, file)
