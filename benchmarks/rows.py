"""How fast a training file is opened and read at random, and what memory that takes.

    python benchmarks/rows.py [--gigabytes 2] [--folder DIR]

Writes a file of DPR examples (one gold passage, 100 negatives: about 70 kB a row, as in DPR's NQ),
indexes it in a process of its own, opens it again in another, reads rows in random order, and
removes it. Memory is the peak of the process beyond what it held before the file was opened.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READ = 5000
WORDS = 4000


def write(path: Path, size: int) -> None:
    """Random words: about what a tokenizer, a JSON decoder and a hash see in real text."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(WORDS)]
    blocks = [" ".join(rng.choices(words, k=100)) for _ in range(5000)]

    def passage(number: int) -> dict[str, object]:
        title = " ".join(rng.choices(words, k=2))
        text = rng.choice(blocks)
        return {"title": title, "text": text, "score": rng.random(), "passage_id": str(number)}

    written = number = 0
    with path.open("wb") as file:
        while written < size:
            number += 1
            gold = passage(number) | {"text": f"{number} {rng.choice(blocks)}"}
            row = {
                "question": " ".join(rng.choices(words, k=9)),
                "answers": rng.choices(words, k=2),
                "positive_ctxs": [gold],
                "hard_negative_ctxs": [passage(-n) for n in range(50)],
                "negative_ctxs": [passage(-n) for n in range(50)],
            }
            written += file.write(json.dumps(row).encode() + b"\n")


def peak() -> float:
    """The largest resident memory of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def measure(path: Path) -> None:
    """Open the file and read rows of it; prints JSON."""
    import numpy as np

    from dprkit.data.examples_by_row import ExampleFile

    before, began = peak(), time.perf_counter()
    examples = ExampleFile(path)
    opened = time.perf_counter() - began
    order = np.random.default_rng(0).integers(len(examples), size=READ)
    began = time.perf_counter()
    for i in order.tolist():
        examples[i]
    seconds = time.perf_counter() - began
    figures = {"open": opened, "rows": len(examples), "rate": READ / seconds}
    sys.stdout.write(json.dumps(figures | {"added": peak() - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "train.jsonl"
        write(path, int(options.gigabytes * 1e9))
        size = path.stat().st_size / 1e6
        for name in ("first", "second"):
            command = [sys.executable, __file__, "--measure", str(path)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            sys.stdout.write(
                f"{name} open: {found['open']:.3f} s ({size / found['open']:,.0f} MB/s), "
                f"{found['rows']:,} rows of {size:,.0f} MB; then {found['rate']:,.0f} random rows "
                f"a second; memory added {found['added']:.1f} MB\n"
            )


if __name__ == "__main__":
    main()
