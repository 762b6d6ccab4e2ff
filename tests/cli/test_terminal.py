"""What a person at a terminal sees: the prompt, the bars, tables that fit."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import DPRKIT, call, environment, shell

PATIENCE = 60  # seconds; of which importing torch takes most on a busy machine
# A terminal sends SIGINT for Ctrl-C to the processes whose terminal it is.
OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: object, columns: int = 80, pipe: bool = False, **env: str) -> None:
        """`pipe`: stdout goes nowhere, and only stderr is on the terminal."""
        self.screen, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        surroundings = environment(**{"TERM": "xterm"} | env)
        del surroundings["COLUMNS"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *DPRKIT, *map(str, words)],
            env=surroundings,
            stdin=theirs,
            stdout=subprocess.DEVNULL if pipe else theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def until(self, pattern: str) -> str:
        """What appears up to `pattern`, which is left out of what comes next."""
        end = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.screen], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{pattern} did not appear in {self.seen!r}"
            self.seen += self.read()
        before, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return before

    def read(self) -> str:
        with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
            return os.read(self.screen, 1 << 16).decode().replace("\r\n", "\n")
        return ""

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def rest(self, again: str = "") -> str:
        """All that appears until the command ends.

        `again`: what a person types once more where nothing happens. Ctrl-C that comes just before
        Python waits for a key is seen with the next key only.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if not select.select([self.screen], [], [], PATIENCE / 6)[0]:
                self.type(again)
                continue
            if not (part := self.read()):
                break
            self.seen += part
        self.process.wait(PATIENCE)
        return self.seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self.screen)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*words: object, **how: Any) -> Terminal:
        started.append(Terminal(*words, **how))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_passages):
    """A BM25 index: its searches load no model."""
    folder = tmp_path_factory.mktemp("words") / "words"
    passages = shutil.copyfile(tiny_passages, folder.with_name("passages.tsv"))
    made = call("index", "--type", "bm25", "--passages", passages, "--output-dir", folder)
    assert made.exit_code == 0, made.stderr
    return folder


def plain(text):
    """`text` without the signs that colour it and move the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


# --- the prompt -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "code"), [("\x04", 0), ("\n", 0), ("\x03", 130)])
def test_questions_are_answered_at_the_prompt_until_a_key_ends_it(terminal, words, key, code):
    """Ctrl-D and an empty line are good ends; Ctrl-C is an interrupt."""
    prompt = terminal("search", "--index", words, "--topk", 3)
    prompt.until("282 passages; type a question, or nothing to leave\n")
    for question, text in (
        ("how tall is mount kilimanjaro", "Kilimanjaro"),
        ("who wrote hamlet", "Hamlet"),
    ):
        prompt.until(r"\? ")
        prompt.type(f"{question}\n")
        shown = prompt.until(r"3 passages in \d+\.\d\d s\n").removeprefix(f"{question}\n")
        assert re.findall(r"^ ([1-3])  \x1b\[1m\w", shown, re.M) == ["1", "2", "3"]  # bold titles
        assert text in plain(shown)
        assert all(len(line) <= 80 for line in plain(shown).splitlines())
        assert re.match(r"    \w", plain(shown).splitlines()[1])  # a text is indented
    prompt.until(r"\? ")
    prompt.type(key)
    said = prompt.rest(again=key)
    assert prompt.process.returncode == code
    assert "Traceback" not in said
    assert ("Interrupted." in said) == (code == 130)


def test_the_prompt_is_for_terminals_alone(words):
    result = call("search", "--index", words, input="who wrote hamlet\n")
    assert result.exit_code == 1
    assert "no questions given; name a file with --questions, or - for stdin" in result.stderr


# --- the bars -------------------------------------------------------------------------------------


def frames(seen):
    """The states of bars, one after the other: a bar begins its line anew."""
    lines = re.split(r"[\r\n]", plain(seen))
    return [line for line in lines if "━" in line or re.search(r"\d+/[\d?]+ ", line)]


def indexing(terminal, tiny_passages, folder, **how):
    """What is seen while an index is made, with stderr alone on a terminal."""
    made = terminal(
        *("index", "--type", "bm25", "--passages", tiny_passages, "--output-dir", folder),
        pipe=True,
        **how,
    )
    seen = made.rest()
    assert made.process.returncode == 0, seen
    return seen


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_a_bar_fits_the_terminal_and_goes_when_it_is_done(
    terminal, tiny_passages, tmp_path, columns
):
    seen = indexing(terminal, tiny_passages, tmp_path / "out", columns=columns)
    bars = frames(seen)
    assert any(bar.startswith("counting words ") for bar in bars)
    assert max(map(len, bars)) <= columns
    assert "\x1b[1A\x1b[2Kcounting words: 282 passages in" in seen  # in the place of its bar
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 2  # the cursor is shown again
    if columns > 20:
        assert any("282/?" in bar for bar in bars)
        assert any(re.search(r"joining ━+ (\d+)/\1 0:00:00", bar) for bar in bars)


def test_without_colour_a_bar_has_none(terminal, tiny_passages, tmp_path):
    seen = indexing(terminal, tiny_passages, tmp_path / "out", NO_COLOR="1")
    assert frames(seen)
    assert not re.search(r"\x1b\[[0-9;]*m", seen)


def test_a_terminal_on_which_nothing_can_be_written_over_gets_lines(
    terminal, tiny_passages, tmp_path
):
    seen = indexing(terminal, tiny_passages, tmp_path / "out", TERM="dumb")
    assert "\x1b" not in seen and not frames(seen)
    assert re.search(r"^\d\d:\d\d:\d\d counting words: 282 passages in ", seen, re.M)


def test_the_bar_of_an_encoding_counts_passages(terminal, work):
    seen = terminal("encode-corpus", "--output-dir", "new").rest()
    assert any(re.search(r"encoding ━+ 282/282 0:00:00 tokens/s", bar) for bar in frames(seen))
    assert "282 passages, 8 dimensions, 3 shards\n  -> new\n" in plain(seen)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "blocks"), [(40, None), (55, 0), (60, 5), (80, 20)])
def test_the_table_of_metrics_fits_and_has_bars_where_there_is_room(
    terminal, work, words, columns, blocks
):
    asked = ["--questions", "runs/dprkit/data/test.jsonl", "--topk", "1,282"]
    seen = terminal("evaluate", "--index", words, *asked, columns=columns).rest()
    table = plain(seen).partition("-> ")[0].splitlines()
    found = [line for line in table if line.startswith("passage_recall@282")]
    if blocks is None:  # a line a figure
        at = table.index(found[0])
        assert table[at + 1 : at + 4] == [
            "    value: 1.0000",
            "    95 %: [0.6756, 1.0000]",
            "    n: 8",
        ]
    else:
        assert re.fullmatch(r"\S+  1\.0000  \[0\.6756, 1\.0000]  8 *█*", found[0])
        assert len(found[0]) <= columns
        assert found[0].count("█") == blocks


@pytest.mark.parametrize("calm", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_the_table_of_metrics_has_no_colours_where_none_are_wanted(terminal, work, words, calm):
    asked = ["--questions", "runs/dprkit/data/test.jsonl", "--topk", "282"]
    seen = terminal("evaluate", "--index", words, *asked, **calm).rest()
    assert re.search(r"^passage_recall@282 +1\.0000 .* █{20}$", plain(seen), re.M)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", seen)
    coloured = terminal("evaluate", "--index", words, *asked).rest()
    assert re.search(r"\x1b\[36m█{20}", coloured)


def test_a_recommended_index_is_made_as_printed_and_searched(terminal, work):
    asked = ["--embeddings", "runs/dprkit/embeddings", "--questions", "runs/dprkit/data/test.jsonl"]
    tune = ["tune-index", *asked, "--types", "flat,ivf", "--topk", 5, "--output-dir", "tuning"]
    seen = plain(terminal(*tune).rest())
    head, flat, ivf = re.findall(r"^(?:[ *] (?:type|flat|ivf)) .*$", seen, re.M)
    names = "type depth recall p50 ms p95 ms q/s build s disk MB RAM MB"
    assert " ".join(head.split()) == names
    assert len(head) == len(flat) == len(ivf) <= 80
    assert (flat[0] == "*") + (ivf[0] == "*") == 1
    narrow = plain(terminal(*tune, columns=40).rest())  # it is up to date
    assert re.search(r"^[ *] ivf\n    depth: nprobe \d+\n    recall: \d\.\d{4}\n", narrow, re.M)
    piped = shell(*tune)
    assert (piped.returncode, "\x1b" in piped.stdout) == (0, False)
    assert [head, flat, ivf] == piped.stdout.splitlines()[1:4]
    [command] = re.findall(r"^recommended: dprkit (.*)$", piped.stdout, re.M)
    made = shell(*shlex.split(command))
    assert made.returncode == 0, made.stderr
    folder = made.stderr.splitlines()[-1].removeprefix("  -> ")
    answer = call("search", "--index", folder, "--questions", "-", "--topk", 5, input="who\n")
    assert answer.exit_code == 0, answer.stderr
    assert len(json.loads(answer.stdout)["ctxs"]) == 5


@pytest.mark.slow
@pytest.mark.parametrize("columns", [24, 80])
def test_an_explanation_is_a_table_that_fits(terminal, small_colbert, columns):
    asked = ["--question", "who wrote Hamlet", "--passage", "Hamlet is a play by Shakespeare"]
    seen = terminal(
        *["explain", "--retriever", small_colbert, *asked], columns=columns, NO_COLOR="1"
    ).rest()
    assert "\x1b" not in seen
    table = seen[: seen.index("score")].splitlines()
    assert max(map(len, table)) <= columns
    if columns == 80:
        assert table[0].split() == ["question", "passage", "similarity"]
        assert len(table) == 13 and re.match(r"<s> +\S+ +-?\d\.\d{4}$", table[1])
    else:
        assert table[0] == "<s>" and re.match(r"    similarity: -?\d\.\d{4}$", table[2])
