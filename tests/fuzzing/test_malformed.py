"""2,000 files that went wrong: each is refused in one line, or read as Python's own readers do."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.data.rankings import read_results
from dprkit.errors import DprkitError
from dprkit.records import Passage
from tests.conftest import call, shell
from tests.fuzzing import readings
from tests.fuzzing.endings import is_line, remove, told, wrong_end
from tests.fuzzing.mutations import JSON, mutated

pytestmark = pytest.mark.slow

SEED = 20261126
LONGEST = 10.0
"""Seconds that a file of a few kilobytes may take at most."""


class Format(NamedTuple):
    """A kind of file: whole ones, what breaks them, dprkit's rows, the right rows, a command."""

    name: str
    whole: list[tuple[str, bytes]]
    ways: list[Any]
    rows: Callable[[Path], list[Any]]
    right: Callable[[bytes], list[list[Any]]]
    command: Callable[[Path, Path], list[object]]
    """From the file and an output that is not there."""


# --- the formats ----------------------------------------------------------------------------------


def _triple(passage: Passage) -> tuple[str, str, str]:
    return passage.id, passage.text, passage.title


def _example_rows(path: Path) -> list[Any]:
    return [
        (
            e.question,
            e.answers,
            *(tuple(map(_triple, p)) for p in (e.positives, e.hard_negatives, e.negatives)),
        )
        for e in read_examples(path)
    ]


def _right_examples(data: bytes) -> list[list[Any]]:
    return [readings.examples(data)]


def _ranking_rows(path: Path) -> list[Any]:
    return [
        (r.question.question, tuple((h.id, h.score) for h in r.hits)) for r in read_results(path)
    ]


EXAMPLES = b"""[
{"question": "who wrote hamlet", "answers": ["Shakespeare"], "positive_ctxs": [{"title": "Hamlet", "text": \
"A play by \\"Shakespeare\\".", "passage_id": "1", "score": 12.5}], "hard_negative_ctxs": [{"title": "Ophelia", \
"text": "A painting {1851}.", "psg_id": 2}], "negative_ctxs": [{"title": "", "text": "Tea.", "id": 3}]},
{"question": "o\\u00f9 est le Nil?", "answers": ["\xc3\x89gypte", "Afrique"], "positive_ctxs": [{"title": null, \
"text": "Un fleuve."}], "hard_negative_ctxs": [], "negative_ctxs": []}
]
"""
EXAMPLE_LINES = b"\n".join(line.rstrip(b",") for line in EXAMPLES.split(b"\n")[1:-2]) + b"\n"
TSV = b"""id\ttext\ttitle
1\t"A play by ""Shakespeare"", of 1601."\tHamlet
2\t"A river
of two lines"\tNile
3\tunquoted, with a comma\t"Tea ""time""."
"""
NO_HEADER = b'7\t"Seven"\tSept\n8\t"Eight, or so"\tHuit\n9\t"Nine"\t"Neuf"\n'
COLLECTION = b'0\tThe zebra is a horse.\n1\t"Quoted" at first.\n2\tPlain text, 1 metre 80.\n'
PASSAGE_LINES = b"""{"id": "a", "text": "A play", "title": "Hamlet"}
{"_id": 2, "text": "A river \xe2\x80\x94 long", "title": ""}
{"id": "c", "text": "No title"}
"""
QA = b"""who wrote hamlet?\t['Shakespeare', "William's"]
what is \xc3\xa9t\xc3\xa9?\t"['summer', ""the 'hot' season""]"
where is it\t[]
"""
QUESTION_LINES = b"""{"question": "who wrote hamlet", "answers": ["Shakespeare"], "id": "q1", "passage_id": "7"}
{"_id": 4, "text": "what is tea"}
{"id": "k", "input": "where is the Nile", "output": [{"answer": "Africa"}, {"provenance": []}]}
"""
COMMA = b'question,answer\n"who wrote hamlet, the play",Shakespeare\nwhat is tea,a drink\n'
PLAIN = b"who wrote hamlet\n  what is tea?  \n\nwhere, is the Nile\n"
RESULTS = b"""{"id": "0", "question": "who wrote hamlet", "answers": ["Shakespeare"], "ctxs": [{"id": "1", "title": "Hamlet", \
"text": "A play by Shakespeare", "score": 12.5, "has_answer": true}, {"id": "2", "title": "", "text": "Tea", "score": 3}]}
{"id": "1", "question": "what is tea", "answers": ["a drink"], "ctxs": [{"id": "2", "title": "", "text": "Tea, a drink", "score": 1e-3}]}
"""
DPR_RESULTS = b"""[{"question": "who wrote hamlet", "answers": ["Shakespeare"], "ctxs": [{"id": "wiki:1", "title": "Hamlet", \
"text": "A play by Shakespeare", "score": "12.5", "has_answer": true}, {"id": "wiki:2", "title": "T", "text": "Tea", "score": "3"}]}]
"""

FORMATS = [
    Format(
        "examples",
        [("x.json", EXAMPLES), ("x.jsonl", EXAMPLE_LINES)],
        JSON,
        _example_rows,
        _right_examples,
        lambda path, out: ["select-data", path, "-o", out, "--num-items", 5, "--require", "positive"],
    ),
    Format(
        "passages",
        [("p.tsv", TSV), ("p.tsv", NO_HEADER), ("p.tsv", COLLECTION), ("p.jsonl", PASSAGE_LINES)],
        JSON,
        lambda path: [_triple(passage) for passage in read_passages(path)],
        readings.passages,
        lambda path, out: ["index", "--type", "bm25", "--passages", path, "--output-dir", out, "-q"],
    ),
    Format(
        "questions",
        [("q.csv", QA), ("q.jsonl", QUESTION_LINES), ("q.csv", COMMA), ("q.txt", PLAIN)],
        JSON,
        lambda path: [(one.question, one.answers) for one in read_questions(path)],
        readings.questions,
        lambda path, out: ["search", "--index", "words", "--questions", path, "-o", out],
    ),
    Format(
        "results",
        [("r.jsonl", RESULTS), ("r.json", DPR_RESULTS)],
        JSON,
        _ranking_rows,
        readings.results,
        lambda path, out: ["evaluate", "--results", path, "--output-dir", out, "-q"],
    ),
]  # fmt: skip


# --- what must hold -------------------------------------------------------------------------------


def _same(found: list[Any], right: list[Any]) -> bool:
    """Whether rows are equal; where the file gives a passage no id (None), any will do."""
    return len(found) == len(right) and all(map(_equal, found, right))


def _equal(found: Any, right: Any) -> bool:
    if right is None:
        return True
    if isinstance(right, tuple):
        return (
            isinstance(found, tuple) and len(found) == len(right) and all(map(_equal, found, right))
        )
    return bool(found == right)


def _wrong_rows(one: Format, path: Path, data: bytes) -> str:
    """What is wrong with what dprkit reads from `path`; `""`: it is refused, or right."""
    try:
        found = one.rows(path)
    except DprkitError as error:
        return "" if is_line(str(error)) else f"a refusal of several lines: {error}"
    except Exception as error:
        return f"reading ends with {error!r:.300}"
    try:
        right = one.right(data)
    except Exception as error:
        return f"taken as {found!r:.300}, where Python finds {type(error).__name__}: {error}"
    if any(_same(found, rows) for rows in right):
        return ""
    return f"read as {found!r:.400}, which is none of {right!r:.600}"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a BM25 index called words in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_bytes(PASSAGE_LINES)
    made = call(
        "index", "--type", "bm25", "--passages", "corpus.jsonl", "--output-dir", "words", "-q"
    )
    assert made.exit_code == 0, made.stderr
    return tmp_path


def _broken(one: Format, count: int) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(f"{SEED} {one.name}")
    for _ in range(count):
        name, data = draw.choice(one.whole)
        yield name, mutated(data, one.ways, draw)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_a_malformed_file_is_refused_in_one_line_or_read_as_python_reads_it(
    one: Format, words: Path
) -> None:
    def faults() -> Iterator[str]:
        for number, (name, data) in enumerate(_broken(one, 400)):
            path, out = words / f"{number}-{name}", words / "out"
            path.write_bytes(data)
            begin = time.monotonic()
            wrong = _wrong_rows(one, path, data)
            result = call(*one.command(path, out))
            wrong = wrong or wrong_end(result.exit_code, result.stdout, result.stderr, out)
            if time.monotonic() - begin > LONGEST:
                wrong = wrong or "it took too long"
            if wrong:
                yield f"{number}-{name} {data[:300]!r}: {wrong}"
            for left in (out, path):
                remove(left)

    told(faults())


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_a_command_given_a_malformed_file_ends_well(one: Format, words: Path) -> None:
    """In processes of their own, as from a shell."""

    def faults() -> Iterator[str]:
        for number, (name, data) in enumerate(_broken(one, 25)):
            path, out = words / f"{number}-{name}", words / "out"
            path.write_bytes(data)
            ended = shell(*one.command(path, out), text=False, timeout=LONGEST * 3)
            stdout, stderr = (
                stream.decode(errors="replace") for stream in (ended.stdout, ended.stderr)
            )
            if wrong := wrong_end(ended.returncode, stdout, stderr, out):
                yield f"{number}-{name} {data[:300]!r}: {wrong}"
            with contextlib.suppress(OSError):
                remove(out)

    told(faults())
