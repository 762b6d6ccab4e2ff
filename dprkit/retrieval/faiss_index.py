"""index: an encoded corpus -> a FAISS index, and searching it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.artifacts import Draft, draft
from dprkit.errors import InputError
from dprkit.manifests import Input, Manifest, read_manifest
from dprkit.progress import Run
from dprkit.settings import IndexSettings, required

if TYPE_CHECKING:
    import numpy as np

INDEX = "index.faiss"


class IndexReport(msgspec.Struct):
    """What was indexed."""

    type: str
    passages: int
    dim: int
    outputs: list[str]
    notes: list[str] = []


def index(settings: IndexSettings, run: Run = Run()) -> IndexReport:
    """Build the index artifact of an embeddings artifact, adding it shard by shard."""
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    # What made the embeddings is named here too, so that a search can refuse what does not fit.
    inputs: dict[str, str | Input] = {"embeddings": embeddings}
    inputs |= read_manifest(embeddings, "embeddings").inputs
    with draft(directory, "index", settings, inputs, run) as work:
        manifest = work.done or _build(work, settings)
    counts = manifest.counts
    return IndexReport(counts["type"], counts["passages"], counts["dim"], [str(directory)])


def _build(work: Draft, settings: IndexSettings) -> Manifest:
    import faiss
    import numpy as np

    from dprkit.retrieval.vectors import Embeddings

    embeddings = Embeddings(str(settings.embeddings))
    built = faiss.IndexFlatIP(embeddings.dim)
    work.run.progress.start("indexing", embeddings.count, "passages")
    for shard in embeddings.vectors():
        built.add(np.ascontiguousarray(shard, dtype=np.float32))
        work.run.progress.advance(len(shard))
    work.run.progress.finish()
    with work.file(INDEX) as file:
        # Through Python's file: FAISS's own writer does not notice a disk that fills at the end.
        faiss.write_index(built, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
    return work.finish({"type": settings.type, "passages": embeddings.count, "dim": embeddings.dim})


class FaissIndex:
    """A FAISS index on disk. Inner product; rows are the corpus's rows."""

    def __init__(self, directory: Path | str) -> None:
        import faiss

        path = Path(directory) / INDEX
        self.manifest = read_manifest(directory, "index")
        if not path.is_file() or path.stat().st_size != self.manifest.files[INDEX].bytes:
            raise InputError(f"{path}: missing or cut short; run dprkit index again")
        self.index: Any = faiss.read_index(str(path))

    def search(self, vectors: np.ndarray, topk: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows and scores, both (Q, K), of the best passages for (Q, D) question vectors.

        K is `topk` or the corpus, whichever is smaller. Score descending, then row ascending; where
        more than K passages tie at the last place, FAISS decides which of them are there.
        """
        import numpy as np

        depth = min(topk, int(self.index.ntotal))
        scores, rows = self.index.search(np.ascontiguousarray(vectors, np.float32), depth)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
