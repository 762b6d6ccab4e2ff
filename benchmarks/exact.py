"""How fast and how small exact search with no index is, beside FAISS Flat and one matrix product.

    python benchmarks/exact.py [--passages N] [--dim N] [--topk K] [--runs N] [--large N]

Unit vectors at random, in shards of 50,000. All ways take turns in one run; shown are the medians
of the wall clock and of the processor time, and the medians and quartiles, over the turns, of their
ratios to the two ways that dprkit is measured against. All use every core that the process may use:
limit them with taskset. On a busy machine trust the processor time, and take ratios for upper
bounds: a way that uses one core loses less to the neighbours than one that uses all.

    faiss           IndexFlatIP, in memory (for one question it uses one core)
    product         numpy: all scores in one product, argpartition, then sort the K best
    exact           dprkit, as `dprkit index --type exact` makes it: with an 8-bit copy
    exact, whole    the same without that copy: every vector is read, shards mapped
    exact float16   the same without that copy, of float16 shards
    exact, read     the same without that copy and with nothing mapped: every block is read again

Last, the peak memory of processes that search the corpus, and one of --large passages, under the
default budget, with the time of their second search of one question and of a batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dprkit.embeddings.shards import Embeddings, write_shard
from dprkit.indexes.build import index
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.hits_and_tie_order import DenseIndex
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.settings import EncodeSettings, IndexSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import read_manifest

SHARD = 50_000
BATCHES = (1, 256)
Way = Callable[[np.ndarray], np.ndarray]


def unit_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(folder: Path, count: int, dim: int, dtype: str = "float32") -> Embeddings:
    with draft(folder, "embeddings", EncodeSettings(output_dir=str(folder)), {}, Run()) as work:
        starts = range(0, count, SHARD)
        for number, start in enumerate(starts):
            vectors = unit_vectors(min(SHARD, count - start), dim, number).astype(dtype)
            ids = [str(start + i) for i in range(len(vectors))]
            write_shard(work, number, vectors, ids)
        work.finish({"passages": count, "dim": dim, "shards": len(starts)})
    return Embeddings(folder)


def indexed(folder: Path) -> DenseIndex:
    """The exact index of the embeddings in a folder, made as the command makes it."""
    directory = folder.with_name(f"{folder.name}-index")
    index(IndexSettings(embeddings=str(folder), output_dir=str(directory), type="exact"))
    return IndexFolder(directory).open_dense()


def one_product(vectors: np.ndarray, topk: int) -> Way:
    def search(questions: np.ndarray) -> np.ndarray:
        scores = questions @ vectors.T
        rows = np.argpartition(scores, -topk, axis=1)[:, -topk:]
        order = np.argsort(-np.take_along_axis(scores, rows, 1), axis=1)
        return np.take_along_axis(rows, order, 1)

    return search


def ways(folder: Path, count: int, dim: int, topk: int) -> dict[str, Way]:
    import faiss

    embeddings = write(folder / "float32", count, dim)
    halves = write(folder / "float16", count, dim, "float16")
    vectors = np.concatenate(list(embeddings.vectors()))
    flat = faiss.IndexFlatIP(dim)
    flat.add(vectors)
    indexes = {
        "exact": indexed(folder / "float32"),
        "exact, whole": ExactIndex(embeddings, resident_bytes=vectors.nbytes),
        "exact float16": ExactIndex(halves, resident_bytes=vectors.nbytes),
        "exact, read": ExactIndex(embeddings, resident_bytes=0),
    }
    found: dict[str, Way] = {
        "faiss": lambda questions: flat.search(questions, topk)[1],
        "product": one_product(vectors, topk),
    }
    for name, made in indexes.items():
        found[name] = lambda questions, made=made: made.search(questions, topk).rows  # type: ignore[misc]
    return found


def measure(ways: dict[str, Way], questions: np.ndarray, runs: int) -> dict[str, np.ndarray]:
    """Seconds of wall clock and of processor time of each run, (2, R)."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(runs + 1):  # the first one warms up
        for name, search in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            search(questions)
            took[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.array(times[1:]).T for name, times in took.items()}


def ratio(one: np.ndarray, other: np.ndarray) -> str:
    low, middle, high = np.quantile(one / other, (0.25, 0.5, 0.75))
    return f"{middle:6.2f} ({low:.2f}-{high:.2f})"


def compare(ways: dict[str, Way], questions: np.ndarray, runs: int) -> Iterator[str]:
    took = measure(ways, questions, runs)
    expected = ways["faiss"](questions)
    yield f"\n{len(questions)} question{'s' if len(questions) > 1 else ''}, {runs} turns\n"
    yield f"  {'':15s}{'wall':>9s}{'cpu':>10s}   wall of faiss   wall of product   rows as faiss\n"
    for name, (wall, processor) in took.items():
        same = (ways[name](questions) == expected).mean()
        yield (
            f"  {name:15s}{statistics.median(wall) * 1e3:7.1f} ms"
            f"{statistics.median(processor) * 1e3:7.1f} ms {ratio(wall, took['faiss'][0]):>15s} "
            f"{ratio(wall, took['product'][0]):>17s} {same:15.2%}\n"
        )


def alone(folder: Path, topk: int) -> None:
    """Search in this process, which does nothing else; prints JSON."""
    exact = IndexFolder(f"{folder}-index").open_dense()
    dim = read_manifest(folder, "embeddings").counts["dim"]
    seconds = []
    for count in BATCHES:
        questions = unit_vectors(count, dim, 10**6)
        exact.search(questions, topk)
        began = time.perf_counter()
        exact.search(questions, topk)
        seconds.append(time.perf_counter() - began)
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1000
    sys.stdout.write(json.dumps({"seconds": seconds, "peak": peak}))


def memory(folder: Path, topk: int) -> str:
    command = [sys.executable, __file__, "--alone", str(folder), "--topk", str(topk)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    one, batch = found["seconds"]
    return (
        f"  {Embeddings(folder).count:>9,} passages: peak {found['peak']:.0f} MB, "
        f"one question {one * 1e3:.1f} ms, a batch {batch * 1e3:,.0f} ms\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--topk", type=int, default=100)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--large", type=int, default=2_000_000, help="0: leave it out")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return alone(options.alone, options.topk)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        searches = ways(folder, options.passages, options.dim, options.topk)
        sys.stdout.write(f"{options.passages:,} x {options.dim} float32, k = {options.topk}\n")
        for count in BATCHES:
            runs = options.runs if count > 1 else 3 * options.runs
            for line in compare(searches, unit_vectors(count, options.dim, 10**6), runs):
                sys.stdout.write(line)
        sys.stdout.write("\nprocesses of their own\n" + memory(folder / "float32", options.topk))
        if options.large:
            write(folder / "large", options.large, options.dim)
            indexed(folder / "large")
            sys.stdout.write(memory(folder / "large", options.topk))


if __name__ == "__main__":
    main()
