"""How fast a corpus is opened at any row, beside one pass over it, and that memory stays the same.

    python benchmarks/passages.py [--passages 200000 2000000] [--corpus FILE] [--folder DIR]

Writes corpora in DPR's tsv (random words, or the passages of FILE again and again, with new ids).
Each is opened in a process of its own, which makes the index, and again in another. Memory is the
peak of that process beyond what it held before; seconds are of the processor, so that a busy
machine does not count.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dprkit.data.passages import PASSAGES_HEADER, passage_line, read_passages
from dprkit.records import Passage

STREAMED = 100_000
ROWS = 20_000
IDS = 1000


def contents(corpus: Path | None) -> Iterator[Passage]:
    """Passages without end, of 100 words as Wikipedia's are."""
    while corpus:
        yield from read_passages(corpus)
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(4000)]
    texts = [" ".join(rng.choices(words, k=100)) for _ in range(5000)]
    while True:
        yield Passage("", rng.choice(texts), " ".join(rng.choices(words, k=2)))


def write(path: Path, count: int, corpus: Path | None) -> None:
    with path.open("wb") as file:
        file.write(PASSAGES_HEADER)
        for number, passage in enumerate(itertools.islice(contents(corpus), count)):
            file.write(passage_line(Passage(f"p{number}", passage.text, passage.title)))


def peak() -> float:
    """The largest resident memory of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def drain(passages: Iterator[Passage], count: int) -> None:
    for _ in itertools.islice(passages, count):
        pass


def measure(path: Path) -> None:
    """Open the corpus and read of it in all ways; prints JSON."""
    import numpy as np

    from dprkit.data.corpus_by_row import PassageFile

    before = peak()
    found = {"open": seconds(lambda: PassageFile(path))}
    corpus = PassageFile(path)
    middle = len(corpus) // 2
    count = min(STREAMED, len(corpus) - middle)
    rows = np.random.default_rng(0).integers(len(corpus), size=ROWS).tolist()
    ids = [f"p{row}" for row in rows[:IDS]]
    found["first"] = seconds(lambda: next(corpus.passages(middle)))
    found["pass"] = seconds(lambda: drain(read_passages(path), count)) / count
    found["middle"] = seconds(lambda: drain(corpus.passages(middle), count)) / count
    found["ids"] = seconds(lambda: corpus.rows_of(ids))
    found["streamed"] = peak() - before
    found["at"] = seconds(lambda: corpus.at(rows))
    sys.stdout.write(json.dumps(found | {"added": peak() - before}))


def report(path: Path, name: str, count: int) -> None:
    command = [sys.executable, __file__, "--measure", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    sys.stdout.write(
        f"{count:,} passages, {name} open: {found['open']:.3f} s; "
        f"the middle one after {found['first'] * 1000:.1f} ms; "
        f"passages a second: {1 / found['middle']:,.0f} from the middle, "
        f"{1 / found['pass']:,.0f} by read_passages, {ROWS / found['at']:,.0f} at random; "
        f"rows of {IDS:,} ids {found['ids']:.2f} s; memory added {found['streamed']:.1f} MB, "
        f"with the {ROWS:,} random ones {found['added']:.1f} MB\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure)
    for count in options.passages:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "corpus.tsv"
            write(path, count, options.corpus)
            for name in ("first", "second"):
                report(path, name, count)


if __name__ == "__main__":
    main()
