"""How long `dprkit report` takes, how much memory, and how large its page is.

    python benchmarks/report.py [--passages FILE] [--questions N] [--work FOLDER]

Questions are made from the passages, five from each of N / 5, as SQuAD has them: a dozen words in a
row, of which a name or a number is the answer and is left out. Two BM25 indexes, with and without
a stemmer, rank 100 passages for each; `evaluate` writes both with their texts. Then the page is
made with all texts, and with those of the best 10. What is made in --work is used again.

Shown are seconds, seconds of processor time, the peak of memory, and the size of the page.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dprkit.data.passages import read_passages
from dprkit.records import Passage

WIKI = Path(__file__).resolve().parents[2] / "shared/data/wiki/psgs_w100.slice.tsv.gz"
OF_A_PASSAGE, WORDS = 5, 12
SYSTEMS = {"stemmed": [], "plain": ["--stemmer", "none", "--k1", "1.5", "--b", "0.75"]}


def run(*words: object) -> dict[str, float]:
    """The report of a command, with the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dprkit", *map(str, words), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout) | {"processor_seconds": busy}


def questions_of(passage: Passage, dice: random.Random) -> Iterator[dict[str, object]]:
    """Questions that the passage answers."""
    words = passage.text.split()
    named = [at for at, word in enumerate(words) if word[:1].isupper() or word.isdecimal()]
    for at in dice.sample(named, min(OF_A_PASSAGE, len(named))):
        first = max(0, at - dice.randrange(WORDS))
        row = [word for word in words[first : first + WORDS] if word != words[at]]
        answer = words[at].strip(".,;:()\"'")
        if answer and len(row) > WORDS // 2:
            yield {"question": " ".join(row), "answers": [answer], "passage_ids": [passage.id]}


def make_questions(corpus: Path, path: Path, count: int) -> None:
    dice = random.Random(0)
    passages = list(read_passages(corpus))
    dice.shuffle(passages)
    rows = [row for passage in passages for row in questions_of(passage, dice)][:count]
    dice.shuffle(rows)
    path.write_text("".join(f"{json.dumps(row | {'id': str(n)})}\n" for n, row in enumerate(rows)))


def make_results(corpus: Path, work: Path, count: int) -> list[Path]:
    """The results of both systems."""
    asked = work / "questions.jsonl"
    if not asked.exists():
        make_questions(corpus, asked, count)
    results = []
    for name, flags in SYSTEMS.items():
        index, folder = work / f"index-{name}", work / name
        run("index", "--type", "bm25", "--passages", corpus, *flags, "--output-dir", index)
        run("evaluate", "--index", index, "--questions", asked, "--output-dir", folder)
        results.append(folder)
    return results


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--passages", type=Path, default=WIKI)
    arguments.add_argument("--questions", type=int, default=10_000)
    arguments.add_argument("--work", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        results = make_results(given.passages, work, given.questions)
        for flags in ([], ["--depth", 10]):
            page = work / f"report-{'-'.join(map(str, flags)).strip('-') or 'all'}.html"
            made = run("report", *results, *flags, "-o", page)
            print(
                f"{page.name}: {made['seconds']:.1f} s, {made['processor_seconds']:.1f} s of "
                f"processor time, {made['peak_memory_mb']:.0f} MB; {made['texts']:,} texts, "
                f"{made['bytes'] / 1e6:.1f} MB"
            )


if __name__ == "__main__":
    main()
