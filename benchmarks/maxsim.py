"""How fast MaxSim is, beside sentence-transformers 6's `util.maxsim`, on the same threads.

    python benchmarks/maxsim.py [--vectors FILE] [--questions N] [--passages N] [--runs N]
                                [--threads 1,2]

All pairs of already encoded questions and passages, and one question with all passages. All ways
take turns in one run; shown are the medians of the wall clock and of the processor time, and the
median and quartiles over the turns of the processor time's ratio to the peer's. On a busy machine
trust that ratio.

    peer        sentence_transformers.util.maxsim, of lists of tensors, float32
    float32     dprkit.models.maxsim.maxsim
    float16     the same, of passages as shards keep them
    int8        dprkit.models.maxsim.maxsim_int8: near, and quick on processors with VNNI

`--vectors` is a .npz file of real token vectors: q (T, D) and ql (Q,), the questions' and how many
each has, p and pl the passages'. Without it vectors are random: 16 of a question, 30 to 300 of a
passage; their scores lie closer together than real ones, so agreement is a lower bound.

Last: how far the scores are from the peer's, for what share of the questions the best 100 by
float32 are among the first 100, 110, 125 and 150 by 8 bits, and the peak memory beyond the inputs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from dprkit.memory import status_bytes
from dprkit.models.maxsim import has_fast_int8, maxsim, maxsim_int8
from dprkit.models.token_vectors import TokenVectors, quantized

TOP, DEPTHS = 100, (100, 110, 125, 150)
Way = Callable[[], np.ndarray]


def random_vectors(questions: int, passages: int, dim: int = 128) -> list[TokenVectors]:
    generator = np.random.default_rng(0)
    found = []
    for counts in (np.full(questions, 16), generator.integers(30, 300, passages)):
        values = generator.standard_normal((counts.sum(), dim), dtype=np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        found.append(TokenVectors.of_counts(values, counts))
    return found


def real_vectors(path: str, questions: int, passages: int) -> list[TokenVectors]:
    arrays = np.load(path)
    wanted = (("q", questions), ("p", passages))
    return [
        TokenVectors.of_counts(arrays[name], arrays[f"{name}l"]).take(range(count))
        for name, count in wanted
    ]


def peer(questions: TokenVectors, passages: TokenVectors) -> Way | None:
    try:
        from sentence_transformers.util import maxsim as theirs
    except ImportError:
        return None
    import torch

    both = [[torch.from_numpy(text) for text in side] for side in (questions, passages)]
    return lambda: np.asarray(theirs(*both))


def ways(questions: TokenVectors, passages: TokenVectors, threads: int) -> dict[str, Way]:
    halves = TokenVectors(passages.values.astype(np.float16), passages.bounds)
    found: dict[str, Way] = {
        "float32": partial(maxsim, questions, passages, threads),
        "float16": partial(maxsim, questions, halves, threads),
        "int8": partial(maxsim_int8, questions, quantized(passages), threads),
    }
    theirs = peer(questions, passages)
    return {"peer": theirs, **found} if theirs else found


def measure(ways: dict[str, Way], runs: int) -> dict[str, np.ndarray]:
    """Seconds of wall clock and of processor time of each run, (2, R)."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(runs + 1):  # the first one warms up
        for name, score in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            score()
            took[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.array(times[1:]).T for name, times in took.items()}


def table(ways: dict[str, Way], pairs: int, runs: int) -> str:
    took = measure(ways, runs)
    lines = [f"  {'':10s}{'wall':>12s}{'cpu':>12s}{'pairs a cpu-second':>21s}   times the peer"]
    for name, (wall, processor) in took.items():
        seconds = statistics.median(processor)
        line = f"  {name:10s}{statistics.median(wall) * 1e3:9.1f} ms{seconds * 1e3:9.1f} ms"
        line += f"{pairs / seconds:21,.0f}"
        if "peer" in took:
            low, middle, high = np.quantile(took["peer"][1] / processor, (0.25, 0.5, 0.75))
            line += f"   {middle:.1f} ({low:.1f}-{high:.1f})"
        lines.append(line)
    return "\n".join(lines) + "\n"


def agreement(ways: dict[str, Way]) -> str:
    exact, near = ways["float32"](), ways["int8"]()
    lines = []
    if "peer" in ways:
        off = np.abs(ways["peer"]() - exact).max()
        lines.append(f"  float32 differs from the peer by {off:.1e} at most")
    best = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
    order = np.argsort(-near, axis=1, kind="stable")
    for depth in DEPTHS:
        whole = [set(a) <= set(b) for a, b in zip(best, order[:, :depth], strict=True)]
        lines.append(
            f"  the best {TOP} are among the first {depth} by 8 bits for {np.mean(whole):.1%} of "
            "the questions"
        )
    return "\n".join(lines) + "\n"


def extra_memory(ways: dict[str, Way]) -> str:
    """What scoring adds to the peak, first our ways, then the peer's."""
    lines = []
    for name in sorted(ways, key="peer".__eq__):
        before = status_bytes("VmHWM")
        ways[name]()
        lines.append(f"{name} {(status_bytes('VmHWM') - before) / 1e6:.0f} MB")
    return "  peak memory beyond that of making the inputs: " + ", ".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--vectors")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--passages", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    import torch

    sizes = options.questions, options.passages
    vectors = real_vectors(options.vectors, *sizes) if options.vectors else random_vectors(*sizes)
    questions, passages = vectors
    say = sys.stdout.write
    say(f"{len(questions)} questions of {questions.counts.mean():.1f} vectors, ")
    say(f"{len(passages)} passages of {passages.counts.mean():.1f}, {passages.dim} dimensions; ")
    say(f"8 bits {'are' if has_fast_int8() else 'are not'} fast here\n")
    if not peer(questions, passages):
        say("sentence-transformers 6 is not installed: there is no peer\n")
    say(extra_memory(ways(questions, passages, 1)))
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for some in (questions, questions.span(0, 1)):
            say(f"\n{len(some)} question(s), {threads} thread(s), {options.runs} turns\n")
            tried = ways(some, passages, threads)
            say(table(tried, len(some) * len(passages), options.runs))
    say("\n" + agreement(ways(questions, passages, 1)))


if __name__ == "__main__":
    main()
