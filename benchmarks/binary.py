"""What vectors in fewer bits find and take: float32, float16, int8, bits, and --type binary.

    python benchmarks/binary.py --retriever FOLDER --embeddings FOLDER --questions FILE
                                [--passages N] [--candidates 100,400,1000]

EMBEDDINGS are in float32, made by the retriever; questions name their gold passages. Each number
type is made of the same vectors and searched whole (exact); the binary index ranks its candidates
by the float32 and by the int8 vectors. Shown are the share of the questions with a gold passage
among the K best, the share of the 20 best of float32 that is found, and bytes a passage.

Then the time of one question, its vector being there: exact search with its 8-bit copy, without
it, and the binary index, which take turns. For this the vectors are taken several times, each time
a little moved, until there are N. On a busy machine trust the processor time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dprkit.data.questions import read_questions
from dprkit.embeddings.quantized import bytes_a_vector, columns_of, scale_of
from dprkit.embeddings.shards import Embeddings, growing_shard
from dprkit.indexes.build import index
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.hits_and_tie_order import DenseIndex
from dprkit.indexes.index_folder import IndexFolder
from dprkit.models.retriever import load_for_questions
from dprkit.progress import Run
from dprkit.settings import IndexSettings
from dprkit.store.begin_or_resume import draft

CUTS = (1, 5, 20, 100)
MOVED = 0.1
"""By how much a vector that is taken again is moved, as a share of its length."""


def kept(folder: Path, vectors: np.ndarray, dtype: str) -> Embeddings:
    """An embeddings folder of vectors (N, D) in a number type, in one shard."""
    count, dim = vectors.shape
    with draft(folder, "embeddings", {"dtype": dtype}, {}, Run()) as work:
        with growing_shard(work, 0, count, dim, dtype) as write:
            for begin in range(0, count, 10_000):
                some = vectors[begin : begin + 10_000]
                ids = [str(begin + n) for n in range(len(some))]
                write(columns_of(some, dtype), ids, np.zeros(len(some), "<u8"))
        work.finish({"passages": count, "dim": dim, "shards": 1, **scale_of(dtype)})
    return Embeddings(folder)


def indexed(embeddings: Embeddings, kind: str) -> IndexFolder:
    """An index of a kind, made as the command makes it."""
    folder = embeddings.directory.with_name(f"{embeddings.directory.name}-{kind}")
    words = {"embeddings": str(embeddings.directory), "output_dir": str(folder), "type": kind}
    index(IndexSettings(**words))
    return IndexFolder(folder)


def figures(rows: np.ndarray, whole: np.ndarray, gold: Sequence[set[int]]) -> str:
    """Gold R@k of rankings (Q, 100), and the share of the 20 best of `whole` among their 20."""
    named = [n for n, own in enumerate(gold) if own]
    recall = [np.mean([bool(gold[n] & {*rows[n, :k].tolist()}) for n in named]) for k in CUTS]
    shared = [len({*a[:20]} & {*b[:20]}) / 20 for a, b in zip(rows, whole, strict=True)]
    return "  ".join([*(f"{share:.4f}" for share in recall), f"  {np.mean(shared):.4f}"])


def quality(
    embeddings: Embeddings,
    asked: np.ndarray,
    gold: Sequence[set[int]],
    depths: Sequence[int],
    scratch: Path,
) -> None:
    vectors = embeddings.read(0, embeddings.count)
    whole = ExactIndex(embeddings).search(asked, CUTS[-1]).rows
    bits = bytes_a_vector("binary", embeddings.dim)
    print(f"{'':32}R@1     R@5     R@20    R@100     of 20   bytes a passage")
    for dtype in ("float32", "float16", "int8", "binary"):
        made = kept(scratch / dtype, vectors, dtype)
        on_disk = bytes_a_vector(dtype, embeddings.dim)
        rows = ExactIndex(made).search(asked, CUTS[-1]).rows
        print(f"{dtype:30}  {figures(rows, whole, gold)}   {on_disk}", flush=True)
        if dtype in ("float32", "int8"):
            folder = indexed(made, "binary")
            for depth in depths:
                found = folder.open_dense({"candidates": depth}).search(asked, CUTS[-1]).rows
                name = f"bits, {depth} by {dtype}"
                print(f"{name:30}  {figures(found, whole, gold)}   {on_disk} + {bits}", flush=True)


def times(
    embeddings: Embeddings, count: int, asked: np.ndarray, depths: Sequence[int], scratch: Path
) -> None:
    vectors = embeddings.take(np.sort(np.arange(count) % embeddings.count))
    noise = np.random.default_rng(0)
    for begin in range(0, count, 10_000):
        some = vectors[begin : begin + 10_000]
        lengths = np.linalg.norm(some, axis=1, keepdims=True)
        some += (
            MOVED * lengths * noise.standard_normal(some.shape, np.float32) / some.shape[1] ** 0.5
        )
        some *= lengths / np.linalg.norm(some, axis=1, keepdims=True)
    made = kept(scratch / "many", vectors, "float32")
    del vectors
    ways: dict[str, DenseIndex] = {
        "exact, 8-bit copy": indexed(made, "exact").open_dense(),
        "exact, whole": ExactIndex(made),
    }
    folder = indexed(made, "binary")
    size = sum(file.bytes for name, file in folder.manifest.files.items() if name[:4] == "bits")
    ways |= {f"binary, {n}": folder.open_dense({"candidates": n}) for n in depths}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for question in asked:
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way.search(question[None], 20)
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    print(f"\n{count:,} vectors of {made.dim}; bits: {size / count:.1f} bytes each")
    print(f"{'ms a question':24}clock p50  p95    processor p50  p95")
    for name, spent in taken.items():
        walls, cpus = (np.array(column) * 1000 for column in zip(*spent[3:], strict=True))
        told = [np.percentile(column, cut) for column in (walls, cpus) for cut in (50, 95)]
        print(f"{name:24}" + "  ".join(f"{value:8.2f}" for value in told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for flag in ("--retriever", "--embeddings", "--questions"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--passages", type=int, default=199_865)
    parser.add_argument("--candidates", default="100,200,400,1000")
    parser.add_argument("--singles", type=int, default=200)
    given = parser.parse_args()
    depths = [int(word) for word in given.candidates.split(",")]
    embeddings = Embeddings(given.embeddings)
    row_of = {id_: row for row, id_ in enumerate(embeddings.ids())}
    questions = list(read_questions(given.questions))
    gold = [{row_of[id_] for id_ in q.gold if id_ in row_of} for q in questions]
    asked = load_for_questions(given.retriever).encode_questions([q.question for q in questions])
    with tempfile.TemporaryDirectory(dir=Path(given.embeddings).parent) as scratch:
        quality(embeddings, asked, gold, depths, Path(scratch))
        times(embeddings, given.passages, asked[: given.singles], depths, Path(scratch))


if __name__ == "__main__":
    main()
