"""What other busy processes cost: the tiny recipe, and training steps of a larger model.

    python benchmarks/busy.py [--rounds 3] [--model FOLDER --examples FILE]
                              [--arm NAME=DPRKIT[,VARIABLE=VALUE...]] ...

Each round runs each arm alone and then beside as many busy processes as there are cores, in turns.
An arm is a dprkit command (default: the one beside this Python) with environment variables. MODEL
is what `train --init` takes, EXAMPLES a DPR file: with both, 5 steps of 16 questions are timed too.

Printed: medians of seconds by the clock and of processor time, and how many times the quiet
seconds the busy ones are. Even turns would give 1.5 (one thread) to 2 (a thread for each core).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SPIN = "while True: pass"
SETTINGS = "--batch-size 16 --max-steps 5 --valid-every never --pooling mean --similarity cosine"


class Arm(NamedTuple):
    """A dprkit command and the variables it runs with."""

    name: str
    command: str
    variables: dict[str, str]


def arm(text: str) -> Arm:
    """`NAME=DPRKIT[,VARIABLE=VALUE...]`."""
    name, _, rest = text.partition("=")
    command, *variables = rest.split(",")
    return Arm(name, command, dict(one.split("=", 1) for one in variables))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """`count` processes that never rest, until the block ends."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def timed(one: Arm, words: list[str]) -> tuple[float, float]:
    """Seconds and processor seconds of `dprkit words` in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            [one.command, *words, "-q"],
            cwd=folder,
            env={**os.environ, **one.variables},
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{one.name}: {' '.join(words)} failed")
        return time.perf_counter() - began, used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model")
    parser.add_argument("--examples")
    parser.add_argument("--only", choices=["tiny", "model"])
    parser.add_argument("--arm", type=arm, action="append")
    options = parser.parse_args()
    beside = Path(sys.executable).with_name("dprkit")
    arms: list[Arm] = options.arm or [Arm("dprkit", str(beside), {})]
    work = {}
    if options.only != "model":
        work["tiny recipe"] = ["run", "--recipe", "tiny"]
    if options.model and options.only != "tiny":
        init = f"--train-file {options.examples} --init {options.model} --output-dir model"
        work["5 steps of the model"] = ["train", *init.split(), *SETTINGS.split()]
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f} before; medians of {options.rounds}")
    for what, words in work.items():
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            for one in arms:
                for beside_it in (0, cores):
                    with busy(beside_it):
                        found.setdefault((one.name, beside_it), []).append(timed(one, words))
        for one in arms:
            quiet, full = (
                [statistics.median(column) for column in zip(*found[one.name, n], strict=True)]
                for n in (0, cores)
            )
            print(
                f"{what:<22}{one.name:<16}quiet {quiet[0]:6.1f} s ({quiet[1]:6.1f} s cpu)   busy "
                f"{full[0]:6.1f} s ({full[1]:6.1f} s cpu)   {full[0] / quiet[0]:5.2f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
