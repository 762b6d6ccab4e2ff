"""FAISS indexes: training, building, opening and searching them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError, SettingsError
from dprkit.indexes import faiss_inner_products, faiss_parts, faiss_types
from dprkit.indexes.faiss_parts import TRAINED, inner, reproducible, save_index
from dprkit.indexes.hits_and_tie_order import Hits, best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.kinds import KINDS
from dprkit.settings import IndexSettings
from dprkit.store.drafts import Draft

INDEX = "index.faiss"
BITE = 512
"""Vectors of a sample that are read at a time."""
FEW = 20_000
"""Allowed rows up to which a graph is left aside and all of them are compared."""
REFINED = 4
"""Where a type compares the best again by their whole vectors: so many times what is asked for."""


# --- building -----------------------------------------------------------------------------------


def build(work: Draft, embeddings: Embeddings, settings: IndexSettings) -> dict[str, Any]:
    """Build the FAISS index that `settings.type` means; the counts of its manifest.

    Trained on vectors spread over the corpus, then filled block by block; a killed run goes on
    after its last block and ends with the same bytes.
    """
    work.claim(INDEX)
    kept = work.state.get("choice")
    choice = (
        faiss_types.Choice(**kept)
        if kept
        else faiss_types.choose(settings, embeddings.count, embeddings.dim)
    )
    index = faiss_types.make(choice.factory, embeddings.count, embeddings.dim)
    work.state["choice"] = choice._asdict()
    if choice.reason:
        work.run.progress.note(choice.reason)
    lists = faiss_types.lists_of(index)
    try:
        if not index.is_trained:
            index = _trained(work, index, embeddings, settings)
        faiss_inner_products.refuse_distorting(index, choice.factory, "--type")
        if choice.type not in KINDS:
            sample = spread_sample(embeddings, min(BITE, embeddings.count))
            faiss_inner_products.refuse_misfit(index, choice.factory, sample)
        faiss_parts.write(work, index, embeddings)
    except RuntimeError as error:
        work.state.clear()
        raise SettingsError(
            f"--type: FAISS does not fill {choice.factory!r}: {faiss_types.reason_of(error)}; "
            "take another"
        ) from None
    except (SettingsError, InputError):
        work.state.clear()  # no later run can go on with this type
        raise
    counts = {
        "type": choice.type,
        "factory": choice.factory,
        "reason": choice.reason,
        "passages": embeddings.count,
        "dim": embeddings.dim,
        "lists": lists,
    }
    return {**counts, **faiss_types.depths_for(settings, counts)}


def _trained(work: Draft, index: Any, embeddings: Embeddings, settings: IndexSettings) -> Any:
    """The index trained on a sample, which an earlier run may have done."""
    if TRAINED in work.record.files:
        return faiss.read_index(str(work.directory / TRAINED))
    size = faiss_types.sample_for(faiss_types.lists_of(index), settings, embeddings.count)
    work.run.progress.note(f"training on {size:,} of {embeddings.count:,} vectors")
    try:
        _prepare(index)
        with reproducible(index):
            index.train(spread_sample(embeddings, size))
    except RuntimeError as error:
        raise InputError(
            f"{embeddings.directory}: FAISS cannot train on {size:,} of its vectors: "
            f"{faiss_types.reason_of(error)}; choose another --type or a larger --train-sample"
        ) from None
    save_index(work, TRAINED, index)
    work.save()
    return index


def _prepare(index: Any) -> None:
    """Let FAISS train on few vectors without a warning, for no more than is used, and on a GPU.

    The GPU's part is untested: there was none to try it on.
    """
    ivf = faiss_types.ivf_of(index)
    if ivf:
        ivf.cp.min_points_per_centroid = 1
        ivf.cp.max_points_per_centroid = max(256, ivf.cp.max_points_per_centroid)
        if faiss.get_num_gpus():
            ivf.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(ivf.d))
    if hasattr(inner(index), "do_polysemous_training"):
        inner(index).do_polysemous_training = False  # for Hamming distances; takes minutes
    for part in faiss_inner_products.nested(index):
        for name in ("pq", "rq"):
            if hasattr(part, name):
                getattr(part, name).cp.min_points_per_centroid = 1
    for transform in faiss_inner_products.transforms(index):
        if isinstance(transform, faiss.OPQMatrix):
            # what it makes for itself otherwise, but for the warnings, one for each cluster
            transform.own = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
            transform.pq = transform.own
            transform.pq.cp.min_points_per_centroid = 1


def spread_sample(embeddings: Embeddings, size: int) -> np.ndarray:
    """`size` vectors (size, D) float32, one of each equal stretch of the corpus; always the same.

    Memory: the sample. Read in small bites, so that little of a shard is mapped at a time: the
    system maps 64 kB around every row that is touched.
    """
    places = (np.arange(size) + np.random.default_rng(0).random(size)) * embeddings.count / size
    rows = np.minimum(places.astype(np.int64), embeddings.count - 1)
    sample = np.empty((size, embeddings.dim), np.float32)
    for begin in range(0, size, BITE):
        sample[begin : begin + BITE] = embeddings.take(rows[begin : begin + BITE])
    return sample


# --- searching ----------------------------------------------------------------------------------


class FaissIndex:
    """A FAISS index on disk. Inner product; rows are the corpus's rows."""

    def __init__(self, folder: IndexFolder, depths: Mapping[str, int] | None = None) -> None:
        """Open the index in `folder`; what can be mapped from the disk is.

        `depths`: `nprobe` and `ef_search` instead of those that the manifest has. Raises
        InputError for a file that is not what was written, by its length.
        """
        self.path, counts = folder.file(INDEX), folder.counts
        self.index: Any = _open(self.path)
        faiss_inner_products.refuse_distorted(self.index, self.path)
        self.count = int(self.index.ntotal)
        if self.count != counts["passages"]:
            raise InputError(
                f"{self.path}: holds {self.count:,} vectors where the manifest has "
                f"{counts['passages']:,}; run dprkit index --restart"
            )
        self.dim = int(self.index.d)
        chosen = {"nprobe": 1, "ef_search": 16, **counts, **(depths or {})}
        self.nprobe, self.ef_search = int(chosen["nprobe"]), int(chosen["ef_search"])
        self._last: tuple[int, np.ndarray | None, Any] = -1, None, None

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows by inner product with (Q, D) question vectors.

        `allowed`: (A,) int64 ascending; no other rows are looked for, and K is at most A. Where
        more than K passages tie at the last place, FAISS decides which of them are there. A type
        that is not exact may find fewer than K: row -1, score -inf.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        depth = min(topk, self.count if allowed is None else len(allowed))
        if not depth or not len(vectors):
            return Hits.none(len(vectors), depth)
        if allowed is not None and self._bare(len(allowed)):
            return self._compare(vectors, depth, allowed)
        scores, rows = self.index.search(vectors, depth, params=self._cached(depth, allowed))
        scores[rows < 0] = -np.inf
        return best(rows, scores, depth)

    def _bare(self, allowed: int) -> bool:
        """Whether a search among so many rows compares them one by one.

        FAISS has no filter for product quantisation, and a graph hardly leads to few nodes.
        """
        kind = inner(self.index)
        return isinstance(kind, faiss.IndexPQ | faiss.IndexPQFastScan) or (
            isinstance(kind, faiss.IndexHNSW) and allowed <= FEW
        )

    def _compare(self, vectors: np.ndarray, topk: int, allowed: np.ndarray) -> Hits:
        """The best of the allowed rows, all of which are decoded and compared, in blocks."""
        hits = Hits.none(len(vectors), 0)
        for begin in range(0, len(allowed), FEW):
            rows = np.ascontiguousarray(allowed[begin : begin + FEW], np.int64)
            scores = vectors @ self.index.reconstruct_batch(rows).T
            wide = np.broadcast_to(rows, scores.shape)
            hits = best(np.hstack([hits.rows, wide]), np.hstack([hits.scores, scores]), topk)
        return hits

    def _cached(self, depth: int, allowed: np.ndarray | None) -> Any:
        """FAISS's parameters; those of the search before where it was of the same kind.

        For one question they cost as much as a graph's search, and a filter is as large as the
        corpus. An `allowed` that is changed in place is not noticed.
        """
        last = self._last
        if last[0] != depth or last[1] is not allowed:
            scale, selector = 1.0, None
            if allowed is not None:
                scale = self.count / len(allowed)
                chosen = np.zeros(self.count, np.bool_)
                chosen[allowed] = True  # FAISS's filter has a bit for each row of the corpus
                selector = faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
            last = depth, allowed, self._parameters(self.index, depth, selector, scale)
            self._last = last
        return last[2]

    def _parameters(self, index: Any, topk: int, selector: Any, scale: float) -> Any:
        """FAISS's parameters for a search.

        `scale`: the share of rows that are allowed, inverted; so much deeper is looked, so that
        as many allowed vectors are compared as without a filter.
        """
        if isinstance(index, faiss.IndexPreTransform):
            inside = self._parameters(faiss.downcast_index(index.index), topk, selector, scale)
            return faiss.SearchParametersPreTransform(index_params=inside)
        if isinstance(index, faiss.IndexRefine):
            base = faiss.downcast_index(index.base_index)
            inside = self._parameters(base, topk * REFINED, selector, scale)
            return faiss.IndexRefineSearchParameters(k_factor=REFINED, base_index_params=inside)
        if isinstance(index, faiss.IndexIVF):
            probes = min(int(index.nlist), math.ceil(self.nprobe * scale))
            return faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        if isinstance(index, faiss.IndexHNSW):
            ef = math.ceil(max(self.ef_search, topk) * scale)
            return faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
        return faiss.SearchParameters(sel=selector) if selector else None


def open_folder(folder: IndexFolder, depths: Mapping[str, int]) -> FaissIndex:
    """The FAISS index in a folder."""
    return FaissIndex(folder, depths)


def _open(path: Path) -> Any:
    """The index in a file: inverted lists are mapped, and codes too where FAISS can."""
    try:
        if (index := _mapped_lists(path)) is not None:
            return index
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InputError(
            f"{path}: FAISS cannot read it: {faiss_types.reason_of(error)}; "
            "run dprkit index --restart"
        ) from None


def _mapped_lists(path: Path) -> Any:
    """The index with its inverted lists mapped, or None where it has none that can be."""
    # FAISS's marks of IndexIVFFlat, IndexIVFScalarQuantizer and IndexIVFPQ, whose lists it can map,
    # and of an index behind transforms, which may be one of these.
    with path.open("rb") as file:
        if file.read(4) not in (b"IwFl", b"IwSq", b"IwPQ", b"IxPT"):
            return None
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    if (ivf := faiss_types.ivf_of(index)) is None:
        return None
    lists = faiss.downcast_InvertedLists(ivf.invlists)
    if isinstance(lists, faiss.OnDiskInvertedLists):
        lists.prefetch_nthread = 0  # it starts threads for every search, even of what is in memory
    return index
