"""A program that writes a question, waits for its answer, and then writes the next."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
import zlib

import pytest

from tests.conftest import DPRKIT, call, environment

PATIENCE = 60  # seconds; of which importing torch takes most on a busy machine


def answer(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """The next line that a process writes. Fails where none comes."""
    assert process.stdout is not None
    line, end = b"", time.monotonic() + PATIENCE
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(end - time.monotonic(), 0))
        assert ready, "no answer"
        piece = os.read(process.stdout.fileno(), 1 << 16)
        assert piece, "ended"
        line += piece
    found: dict[str, object] = json.loads(line)
    return found


class Plain:
    def packed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class Packed:
    """gzip, flushed after each line."""

    def __init__(self) -> None:
        self.compressor = zlib.compressobj(wbits=31)

    def packed(self, data: bytes) -> bytes:
        return self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self.compressor.flush()


@pytest.mark.parametrize("form", [Plain, Packed], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "asked",
    [
        ["who wrote it", '"Who" then?', "and when, if ever?"],
        [{"question": f"who {n}", "id": f"q{n}"} for n in range(3)],
        ["question,answer", "who,me", '"who, then?",you'],
        ["who\t['me']", "what\t[]"],
    ],
    ids=["lines", "jsonl", "csv", "qa"],
)
def test_a_program_that_waits_for_each_answer_gets_it(work, asked, form):
    if not os.path.isdir("words"):
        words = ["--passages", str(work / "p.tsv"), "--output-dir", "words"]
        (work / "p.tsv").write_text("".join(f"{n}\twho it is {n}\tT\n" for n in range(5)))
        assert call("index", "--type", "bm25", *words).exit_code == 0
    command = ["search", "--index", "words", "--questions", "-", "--topk", "1", "--batch-size", "1"]
    process = subprocess.Popen(
        [*DPRKIT, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    stream = form()
    lines = [one if isinstance(one, str) else json.dumps(one) for one in asked]
    header = lines[0] == "question,answer"
    for number, line in enumerate(lines):
        process.stdin.write(stream.packed(line.encode() + b"\n"))
        process.stdin.flush()
        if header and number == 0:
            continue
        found = answer(process)
        assert found["id"] == (f"q{number}" if line[0] == "{" else str(number - header))
    rest, problem = process.communicate(stream.end(), timeout=PATIENCE)
    assert (process.returncode, rest) == (0, b""), problem


@pytest.mark.slow
def test_a_retriever_answers_line_by_line_too(work):
    command = ["search", "--questions", "-", "--topk", "1", "--batch-size", "1"]
    process = subprocess.Popen(
        [*DPRKIT, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    for number in range(2):
        process.stdin.write(b"who wrote it\n")
        process.stdin.flush()
        assert answer(process)["id"] == str(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
