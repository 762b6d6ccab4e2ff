"""How fast `evaluate --results` judges a large file of rankings, and in how much memory.

    dprkit index --type bm25 --passages psgs_w100.tsv.gz --output-dir bm25
    dprkit search --index bm25 --questions nq-dev.qa.csv --output rankings.jsonl
    python benchmarks/judging.py rankings.jsonl [--gigabytes 2]

The rankings are written again and again under new ids, until the file is that large. Shown are the
seconds that pass and those of the processors, and the highest sum of the memory of all processes
(proportional set size, measured ten times a second). Once with an output folder, once without.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ID = re.compile(rb'^\{"id":"([^"]*)"')


def enlarge(source: Path, target: Path, size: int) -> int:
    """Write rankings until there are `size` bytes; how many there are."""
    count = written = 0
    with target.open("wb") as out:
        while written < size:
            with source.open("rb") as lines:
                for line in lines:
                    written += out.write(ID.sub(b'{"id":"%d"' % count, line))
                    count += 1
                    if written >= size:
                        break
    return count


def family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def memory(pid: int) -> int:
    """Bytes that a process and those that it started take."""
    total = 0
    for member in family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        total += int(re.search(r"^Pss: +(\d+)", rollup, re.M)[1]) << 10  # type: ignore[index]
    return total


def measure(command: list[str]) -> str:
    before, began, peak = os.times(), time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        with suppress(OSError):  # it has ended
            peak = max(peak, memory(process.pid))
        time.sleep(0.1)
    wall, after = time.perf_counter() - began, os.times()
    shown = json.loads(process.stdout.read())  # type: ignore[union-attr]
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    figure = shown["metrics"]["answer_recall"]
    return f"{wall:6.1f} s, {used:6.1f} processor s, {peak >> 20:5,} MB   answer_recall {figure}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rankings", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--match", default="string")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.rankings.parent) as folder:
        big = Path(folder) / "results.jsonl"
        count = enlarge(options.rankings, big, int(options.gigabytes * 1e9))
        sys.stdout.write(f"{count:,} rankings, {big.stat().st_size / 1e9:.3f} GB\n")
        command = [sys.executable, "-m", "dprkit", "evaluate", "--results", str(big), "--json"]
        command += ["--match", options.match]
        for name, more in (
            ("without output", []),
            ("all texts", ["--output-dir", f"{folder}/out"]),
            ("--no-texts", ["--output-dir", f"{folder}/bare", "--no-texts"]),
        ):
            sys.stdout.write(f"{name:<16}{measure([*command, *more])}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
