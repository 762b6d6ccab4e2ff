"""RDR's own checkpoints, measured as they were published (Yang & Seo, arXiv 2010.10999).

    dprkit download data.wikipedia_split.psgs_w100 data.retriever.qas
    python benchmarks/rdr_checkpoints.py --data downloads/data nq trivia

It needs the Hugging Face hub, some 70 GB of disk and memory for a set of checkpoints, and for the
21 million passages a GPU or days of a processor. What is made is kept below --output-dir and used
again, so it may be stopped. With --checkpoints Q,P a pair of folders is measured in place of those
of the hub, and --passages, --dev and --test name smaller files to try it with. It prints the
published figures and ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

DEPTHS = (1, 5, 20, 50, 100)
PUBLISHED = {
    "nq dev": (54.43, 72.17, 81.33, 84.8, 86.61),
    "nq test": (54.29, 72.16, 82.8, 86.34, 88.2),
    "trivia dev": (61.84, 75.93, 82.56, 85.35, 87.00),
    "trivia test": (62.56, 75.92, 82.52, 85.64, 87.26),
}
"""Share of the questions with an answer among the best k passages, in percent."""
PAIR = (
    "soheeyang/rdr-question_encoder-single-{0}-base",
    "soheeyang/rdr-ctx_encoder-single-{0}-base",
)


def dprkit(*words: object) -> None:
    print("dprkit", *words, file=sys.stderr)
    subprocess.run([sys.executable, "-m", "dprkit", *map(str, words), "--quiet"], check=True)


def measured(name: str, given: argparse.Namespace) -> dict[str, tuple[float, ...]]:
    """The figures of a pair of checkpoints on dev and test questions, in percent."""
    out, data = Path(given.output_dir) / name, Path(given.data)
    question, passage = (given.checkpoints or ",".join(PAIR).format(name)).split(",")
    passages = given.passages or data / "wikipedia_split/psgs_w100.tsv.gz"
    pair = ("--question-encoder", question, "--passage-encoder", passage)
    dprkit("convert", *pair, "--output-dir", out / "model")
    encoding = ("--retriever", out / "model", "--passages", passages)
    shared = ("--num-processes", given.num_processes, "--dtype", "float16")
    dprkit("encode-corpus", *encoding, *shared, "--output-dir", out / "embeddings")
    dprkit("index", "--embeddings", out / "embeddings", "--output-dir", out / "index")
    found = {}
    for split in ("dev", "test"):
        ending = "csv" if name == "nq" else "csv.gz"
        questions = getattr(given, split) or data / f"retriever/qas/{name}-{split}.{ending}"
        topk = ("--topk", ",".join(map(str, DEPTHS)), "--no-texts")
        words = ("--index", out / "index", "--questions", questions, *topk)
        dprkit("evaluate", *words, "--output-dir", out / split)
        shares = json.loads((out / split / "metrics.json").read_text())["metrics"]["answer_recall"]
        found[f"{name} {split}"] = tuple(100 * shares[str(k)] for k in DEPTHS)
    return found


def row(name: str, figures: tuple[float, ...]) -> str:
    return f"{name:<22}" + "".join(f"{value:8.2f}" for value in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=("nq", "trivia"))
    parser.add_argument("--data", default="downloads/data", help="Folder of dprkit download.")
    parser.add_argument("--output-dir", default="rdr-checkpoints")
    parser.add_argument("--num-processes", type=int, default=1, help="Processes that encode.")
    parser.add_argument("--checkpoints", help="Q,P: folders of a pair in place of the hub's.")
    for name in ("passages", "dev", "test"):
        parser.add_argument(f"--{name}", help="A file in place of the downloaded one.")
    given = parser.parse_args()
    print(f"{'':<22}" + "".join(f"{f'top {k}':>8}" for k in DEPTHS))
    for name in given.names:
        for split, ours in measured(name, given).items():
            print(
                row(f"{split}, published", PUBLISHED[split]), row(f"{split}, here", ours), sep="\n"
            )


if __name__ == "__main__":
    main()
