"""The recipe rdr-squad, small: up to the retriever that its own reader taught; also killed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dprkit.data.examples import read_examples
from tests.conftest import DPRKIT, environment, shell
from tests.interop.foreign import save_bert

QUESTIONS = 24
SMALL = {
    "train.init": "bert",
    "select-data.sources": "[examples.json]",
    "select-data.num_items": "16",
    "train.batch_size": "8",
    "train-mined.batch_size": "8",
    "distill.batch_size": "8",
    "reader.batch_size": "8",
    "encode.shard_size": "20",
    "train.lr": "0.02",  # so that each model differs from the one before
    "train-mined.lr": "0.02",
    "distill.lr": "0.02",
}
WORDS = [
    *("run", "--recipe", "rdr-squad", "--from", "select-data"),
    *(word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")),
]


def write_inputs(folder: Path, examples: Path) -> None:
    """The files that the recipe names: a random BERT, rows, their passages, questions."""
    rows = json.loads(examples.read_bytes())[:QUESTIONS]
    (folder / "examples.json").write_text(json.dumps(rows))
    seen: dict[str, tuple[str, str]] = {}
    for one in read_examples(folder / "examples.json"):
        for passage in (*one.positives, *one.hard_negatives):
            seen[passage.id] = (passage.text[:200], passage.title)
    lines = "".join(f'{id_}\t"{text}"\t{title}\n' for id_, (text, title) in seen.items())
    for name in ("passages.tsv", "dev-passages.tsv"):
        (folder / name).write_text(f"id\ttext\ttitle\n{lines}")
    asked = (
        {"question": row["question"], "passage_ids": [row["positive_ctxs"][0]["passage_id"]]}
        for row in rows[16:]
    )
    (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    save_bert(folder / "bert")


def made(folder: Path) -> dict[str, Any]:
    """Of each artifact of the recipe the hashes of its files; logs with times do not count."""
    found = {}
    for path in sorted((folder / "runs/rdr-squad").rglob("manifest.json")):
        manifest = json.loads(path.read_bytes())
        records = manifest["files"].items()
        files = {name: one["sha256"] for name, one in records if one.get("content", True)}
        found[str(path.parent.relative_to(folder))] = (manifest["identity"], files)
    return found


def left_over(folder: Path) -> list[Path]:
    return [
        path for path in (folder / "runs").rglob("*") if path.name in ("progress.json", ".parts")
    ]


def kill_in(stage: int, seconds: float, folder: Path) -> None:
    """Run the recipe, and kill it so long after a stage has begun."""
    with subprocess.Popen(
        [*DPRKIT, *WORDS], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        next(line for line in process.stderr if f"== {stage}/26" in line)
        time.sleep(seconds)
        process.kill()
    assert process.returncode == -signal.SIGKILL  # it had not ended by itself


@pytest.mark.slow
def test_the_loop_killed_at_random_and_run_again_ends_with_the_same_bytes(
    tmp_path: Path, tiny_examples: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    write_inputs(whole, tiny_examples)
    shutil.copytree(whole, killed)
    ran = shell(*WORDS, cwd=whole, timeout=600)
    assert ran.returncode == 0, ran.stderr
    dice = random.Random()
    for stage in sorted(dice.sample(range(3, 20), 3)):
        kill_in(stage, dice.uniform(0, 0.5), killed)
    again = shell(*WORDS, cwd=killed, timeout=600)
    assert again.returncode == 0, again.stderr
    assert made(killed) == made(whole)
    assert left_over(killed) == []
    assert again.stdout.splitlines()[-5:] == ran.stdout.splitlines()[-5:]
