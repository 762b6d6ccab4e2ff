"""Searching through dprkit beside FAISS itself, on the same index: questions a second.

    python benchmarks/search.py [--count N] [--dim N] [--topk K] [--turns N] [--types ...]

Both ask the index that dprkit opened, with the same nprobe and efSearch, in turns; shown are the
medians and the median of the ratios within a turn. Vectors are synthetic and clustered: speeds hold
for real ones, recalls would not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dprkit.embeddings.shards import write_shard
from dprkit.indexes.build import index
from dprkit.indexes.faiss_index import FaissIndex
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.settings import IndexSettings
from dprkit.store.begin_or_resume import draft

SINGLES = 50
"""Single questions asked in a turn."""


def embeddings(folder: Path, count: int, dim: int) -> np.ndarray:
    """Write `count` vectors in 500 clusters; 256 questions near some of them."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((500, dim), np.float32)
    vectors = centres[dice.integers(0, 500, count)]
    vectors += 0.7 * dice.standard_normal(vectors.shape, np.float32)
    (folder / "corpus").write_text("stands for a corpus")
    inputs = {"passages": str(folder / "corpus")}
    with draft(folder / "embeddings", "embeddings", {}, inputs, Run()) as work:
        write_shard(work, 0, vectors, [str(n) for n in range(count)])
        work.finish({"passages": count, "dim": dim, "shards": 1})
    near = vectors[dice.integers(0, count, 256)]
    return near + np.float32(0.3) * dice.standard_normal(near.shape, np.float32)


def seconds(search: Callable[[np.ndarray], object], asked: list[np.ndarray]) -> float:
    began = time.perf_counter()
    for questions in asked:
        search(questions)
    return time.perf_counter() - began


def compare(opened: FaissIndex, questions: np.ndarray, topk: int, turns: int) -> Iterator[str]:
    import faiss

    if hasattr(opened.index, "hnsw"):
        opened.index.hnsw.efSearch = max(opened.ef_search, topk)
    elif faiss.try_extract_index_ivf(opened.index):
        opened.index.nprobe = opened.nprobe
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "dprkit": lambda asked: opened.search(asked, topk),
        "FAISS": lambda asked: opened.index.search(asked, topk),
    }
    singles = [questions[n : n + 1] for n in range(SINGLES)]
    for name, asked in (("256 together", [questions]), ("one by one", singles)):
        took: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(turns + 1):  # the first one warms up
            for way, search in ways.items():
                took[way].append(seconds(search, asked))
        ours, theirs = (took[way][1:] for way in ways)
        count = sum(map(len, asked))
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        yield (
            f"{name:<14}{count / statistics.median(ours):12,.1f}"
            f"{count / statistics.median(theirs):12,.1f}   {middle:.2f} ({low:.2f}-{high:.2f})\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--topk", type=int, default=100)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--types", nargs="+", default=["flat", "hnsw", "ivf"])
    given = parser.parse_args()
    sys.stdout.write(
        f"{given.count:,} x {given.dim}, k = {given.topk}\n"
        f"{'':22}{'dprkit q/s':>12}{'FAISS q/s':>12}   ratio\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = embeddings(folder, given.count, given.dim)
        for kind in given.types:
            out = str(folder / kind)
            index(IndexSettings(embeddings=str(folder / "embeddings"), output_dir=out, type=kind))
            for line in compare(FaissIndex(IndexFolder(out)), questions, given.topk, given.turns):
                sys.stdout.write(f"{kind:<8}{line}")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
