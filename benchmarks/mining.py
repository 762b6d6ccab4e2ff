"""Mining beside searching: processor time of the same index, questions, depth and batch.

    python benchmarks/mining.py --train-file FILE --index DIR [--to 200] [--num 30]
                                [--batch-size 256] [--pick top] [--rounds 3]

`search` finds the best passages and writes them with their texts; `mine-negatives` finds as many,
looks at what it needs and writes the rows with their negatives. In each round both run once, in
turns. Printed: medians of user and system seconds of the whole commands, and of their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DPRKIT = [sys.executable, "-m", "dprkit"]


def processor_seconds(*words: object) -> float:
    """User and system seconds of a dprkit command."""
    with subprocess.Popen([*DPRKIT, *map(str, words), "--quiet"], stdout=subprocess.DEVNULL) as ran:
        _, status, used = os.wait4(ran.pid, 0)
        ran.returncode = os.waitstatus_to_exitcode(status)
    if ran.returncode:
        sys.exit(f"failed: {' '.join(map(str, words))}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train-file", required=True)
    parser.add_argument("--index", required=True)
    parser.add_argument("--to", type=int, default=200)
    parser.add_argument("--num", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--pick", default="top")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    shared = ["--index", given.index, "--batch-size", given.batch_size]
    searched, mined = [], []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory(prefix="mining-") as folder:
            target = Path(folder)
            search = ["search", "--questions", given.train_file, "--topk", given.to]
            searched.append(processor_seconds(*search, *shared, "-o", target / "results.jsonl"))
            mine = ["mine-negatives", "--train-file", given.train_file, "--to", given.to]
            mine += ["--from", 10, "--num", given.num, "--pick", given.pick]
            mined.append(processor_seconds(*mine, *shared, "--output-dir", target / "mined"))
        print(
            f"round {number + 1}: search {searched[-1]:.2f} s, mining {mined[-1]:.2f} s", flush=True
        )
    ratios = [mining / search for mining, search in zip(mined, searched, strict=True)]
    print(
        f"medians: search {statistics.median(searched):.2f} s, "
        f"mining {statistics.median(mined):.2f} s, ratio {statistics.median(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
