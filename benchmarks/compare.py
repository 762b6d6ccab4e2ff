"""How fast compare tests all pairs of systems by all measures, and how much memory that needs.

    python benchmarks/compare.py [--systems 10] [--questions 10000] [--measures 20]
                                 [--permutations 100000] [--dir DIR]

Each system is a results artifact with measures that are no hits, for which flips of signs are
drawn; their values are those of reciprocal ranks, recalls and the like, of questions of differing
difficulty. The command is a process of its own, from start to end: reading, means, intervals, all
pairs, Holm, and the report as JSON. For comparison: the tests alone, and scipy's own for one pair
by one measure, whose time is multiplied by the number of pairs and measures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import stats

from dprkit.evaluation.judging import Figures
from dprkit.evaluation.paired_tests import pairs_of, sign_flips
from dprkit.evaluation.per_question import PER_QUESTION, write_figures
from dprkit.progress import Run
from dprkit.store.begin_or_resume import draft


def values_of(systems: int, measures: int, questions: int) -> np.ndarray:
    """(S, M, Q) values from 0 to 1 with four digits."""
    generator = np.random.default_rng(0)
    difficulty = generator.beta(0.6, 0.6, (1, 1, questions))
    noise = generator.normal(0, 0.2, (systems, measures, questions))
    drift = 0.002 * np.arange(systems)[:, None, None]
    return np.round(np.clip(difficulty + noise + drift, 0, 1), 4)


def write_system(folder: Path, values: np.ndarray) -> None:
    """A results artifact with values (M, Q)."""
    with draft(folder, "results", {}, {}, Run()) as work:
        with work.file(PER_QUESTION) as file:
            write_figures(
                (
                    Figures(
                        f"q{number}",
                        f"what is question {number}",
                        100,
                        measures={f"m{m}@10": value for m, value in enumerate(own)},
                    )
                    for number, own in enumerate(values.T.tolist())
                ),
                file,
            )
        work.finish({"questions": values.shape[1]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("systems", 10), ("questions", 10_000), ("measures", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--permutations", type=int, default=100_000)
    parser.add_argument("--dir")
    asked = parser.parse_args()
    values = values_of(asked.systems, asked.measures, asked.questions)
    tests = len(pairs_of(asked.systems)) * asked.measures
    with tempfile.TemporaryDirectory(dir=asked.dir) as where:
        folders = [str(Path(where) / f"system-{n}") for n in range(asked.systems)]
        for folder, own in zip(folders, values, strict=True):
            write_system(Path(folder), own)
        words = ["--permutations", str(asked.permutations), "--json"]
        begin = time.perf_counter()
        command = [sys.executable, "-m", "dprkit", "compare", *folders, *words]
        ran = subprocess.run(command, capture_output=True, check=True)
        wall = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(ran.stdout)["tests"] == tests
    print(
        f"compare: {tests} tests of {asked.questions:,} questions in {wall:.1f} s, "
        f"{used.ru_utime + used.ru_stime:.1f} s of processors, {used.ru_maxrss / 1024:.0f} MB"
    )
    begin = time.process_time()
    sign_flips(values, asked.permutations)
    print(f"the tests alone: {time.process_time() - begin:.1f} s of processors")
    begin, few = time.process_time(), 1000
    stats.permutation_test(
        (values[0, 0], values[1, 0]),
        lambda a, b, axis: (b - a).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=few,
        batch=few,
    )
    seconds = (time.process_time() - begin) / few * asked.permutations
    print(f"scipy: {seconds:.1f} s a test, {seconds * tests / 3600:.1f} h for all")


if __name__ == "__main__":
    main()
