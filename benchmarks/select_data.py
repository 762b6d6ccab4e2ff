"""How fast select-data takes 500 rows of a large DPR file, and how much memory that needs.

    python benchmarks/select_data.py [--source FILE] [--megabytes N] [--dir DIR]

The file is an array laid out as DPR's own, 1 GB of the rows of data/tiny or of --source over and
over, with a running number in each question. Every way to take 500 rows whose three pools are not
empty is a process of its own: its time is from start to end, its memory the peak of its resident
set. All run in one go, taking turns; shown are medians of 3. The file is in the page cache. Peers
that are not installed are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count, cycle
from pathlib import Path
from typing import NamedTuple

TINY = Path(__file__).resolve().parents[1] / "data/tiny/examples.json"
ITEMS, RUNS = 500, 3

PEER = """
import json, random, sys
from itertools import islice
source, output, shuffle = sys.argv[1], sys.argv[2], sys.argv[3] == "shuffle"

def has_pools(row):
    return row["positive_ctxs"] and row["negative_ctxs"] and row["hard_negative_ctxs"]

def reservoir(rows, size):
    kept = []
    for number, row in enumerate(rows):
        slot = number if number < size else random.randrange(number + 1)
        if slot < size:
            kept[slot : slot + 1] = [row]
    return kept

with open(source, "rb") as file:
    rows = filter(has_pools, {rows})
    rows = reservoir(rows, {items}) if shuffle else islice(rows, {items})
    with open(output, "w") as target:
        for row in rows:
            target.write(json.dumps(row) + "\\n")
"""
PEERS = {
    "json": "json.load(file)",
    "orjson": '__import__("orjson").loads(file.read())',
    "ijson": '__import__("ijson").items(file, "item", use_float=True)',
}


class Way(NamedTuple):
    """One way to take the rows: a command that is given the source, the output and the task."""

    name: str
    task: str
    command: tuple[str, ...]
    reads_all: bool


class Cost(NamedTuple):
    seconds: float
    megabytes: float


def make_file(path: Path, source: Path, size: int) -> int:
    """Write `size` bytes of the rows of `source`; gives back how many rows that were."""
    mark = b'"the question"'
    templates = []
    with gzip.open(source) if source.suffix == ".gz" else source.open("rb") as file:
        rows = json.load(file)
    for row in rows:
        text = json.dumps(row | {"question": "the question"}, indent=0, ensure_ascii=False)
        templates.append((row["question"], text.encode().split(mark, 1)))
    with path.open("wb") as file:
        file.write(b"[")
        for number, (question, (head, tail)) in zip(count(), cycle(templates), strict=False):
            asked = json.dumps(f"{question} {number}", ensure_ascii=False).encode()
            file.write((b",\n" if number else b"\n") + head + asked + tail)
            if file.tell() >= size:
                break
        file.write(b"\n]\n")
    return number + 1


def ways(source: Path, output: Path) -> Iterator[Way]:
    for task in ("first", "shuffle"):
        words = (str(source), "-o", str(output), "--num-items", str(ITEMS), "--quiet")
        command = (sys.executable, "-m", "dprkit", "select-data", *words)
        if task == "shuffle":
            yield Way("dprkit --shuffle", task, (*command, "--shuffle"), True)
        else:
            yield Way("dprkit", task, command, False)
        for name, rows in PEERS.items():
            if find_spec(name) is None:
                continue
            script = PEER.replace("{rows}", rows).replace("{items}", str(ITEMS))
            command = (sys.executable, "-c", script, str(source), str(output), task)
            yield Way(name, task, command, name != "ijson" or task == "shuffle")


def cost(way: Way, output: Path) -> Cost:
    """Run a way; what it wrote must be the rows that were asked for."""
    output.unlink(missing_ok=True)
    begin = time.perf_counter()
    process = subprocess.Popen(way.command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{way.name}: ended with code {process.returncode}")
    with output.open("rb") as file:
        questions = {json.loads(line)["question"] for line in file}
    if len(questions) != ITEMS:
        raise SystemExit(f"{way.name}: wrote {len(questions)} rows and not {ITEMS}")
    return Cost(seconds, usage.ru_maxrss * 1024 / 1e6)


def table(costs: dict[Way, list[Cost]], size: int) -> Iterator[str]:
    yield f"| way | {ITEMS} rows | seconds | MB/s | peak MB |"
    yield "|---|---|---|---|---|"
    for way, found in costs.items():
        seconds = statistics.median(one.seconds for one in found)
        memory = statistics.median(one.megabytes for one in found)
        speed = f"{size / 1e6 / seconds:.0f}" if way.reads_all else "stops early"
        task = "the first" if way.task == "first" else "at random"
        yield f"| {way.name} | {task} | {seconds:.2f} | {speed} | {memory:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, default=TINY, help="array of rows, plain or .gz")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file to make")
    parser.add_argument("--dir", type=Path, help="folder for the file (default: the system's)")
    asked = parser.parse_args()
    for name in PEERS:
        if find_spec(name) is None:
            sys.stdout.write(f"{name} is not installed and left out\n")
    with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
        source, output = Path(folder, "large.json"), Path(folder, "out.jsonl")
        rows = make_file(source, asked.source, asked.megabytes * 1_000_000)
        size = source.stat().st_size
        sys.stdout.write(f"{size / 1e6:.0f} MB, {rows} rows of {size / rows / 1000:.0f} kB\n\n")
        costs: dict[Way, list[Cost]] = {}
        chosen = list(ways(source, output))
        for _ in range(RUNS):
            for way in chosen:
                costs.setdefault(way, []).append(cost(way, output))
    sys.stdout.write("\n".join(table(costs, size)) + "\n")


if __name__ == "__main__":
    main()
