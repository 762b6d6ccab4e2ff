"""dprkit audit: seconds and memory, and what finds many answers in a passage.

    python benchmarks/audit.py psgs_w100.tsv.gz nq-dev.qa.csv

The matchers are measured on the first 20,000 passages, by processor time. pyahocorasick and
daachorse are tried where they are installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from resource import RUSAGE_CHILDREN, getrusage

from dprkit.audit.answer_search import AnswerNumbers, _spaced
from dprkit.data.answer_matching import has_answer
from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions

PASSAGES = 20_000


def audits(passages: str, questions: str) -> None:
    """The whole command, with and without near duplicates; the index of rows is there before."""
    for more in ([], [], ["--near-duplicates"]):
        with tempfile.TemporaryDirectory() as folder:
            before = getrusage(RUSAGE_CHILDREN)
            began = time.perf_counter()
            command = ["--passages", passages, "--questions", questions, "--output-dir", folder]
            subprocess.run(
                [sys.executable, "-m", "dprkit", "audit", *command, *more, "--quiet"],
                check=True,
            )
            after = getrusage(RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"audit {' '.join(more):<18} {used:6.1f} s of processors, "
                f"{time.perf_counter() - began:6.1f} s, at most {after.ru_maxrss / 1024:.0f} MB "
                "a process"
            )


def matchers(keys: list[str]) -> Iterable[tuple[str, Callable[[str], set[int]]]]:
    from ahocorasick_rs import AhoCorasick

    rust = AhoCorasick(keys).find_matches_as_indexes
    yield "ahocorasick_rs", lambda text: {found[0] for found in rust(text, overlapping=True)}
    try:
        from daachorse import CharwiseDoubleArrayAhoCorasick

        other = CharwiseDoubleArrayAhoCorasick(keys).find_overlapping
        yield "daachorse", lambda text: {found[2] for found in other(text)}
    except ImportError:
        pass
    try:
        from ahocorasick import Automaton

        automaton = Automaton()
        for number, key in enumerate(keys):
            automaton.add_word(key, number)
        automaton.make_automaton()
        yield "pyahocorasick", lambda text: {number for _, number in automaton.iter(text)}
    except ImportError:
        pass


def compared(passages: str, questions: str) -> None:
    texts = [passage.text for passage in islice(read_passages(passages), PASSAGES)]
    answers = AnswerNumbers(list(read_questions(questions)), "string")
    began = time.process_time()
    spaced = [_spaced(text) for text in texts]
    each = 1e6 / len(texts)
    print(f"tokens          {(time.process_time() - began) * each:8.1f} us a passage")
    for name, find in matchers(answers.keys):
        began = time.process_time()
        for text in spaced:
            find(text)
        print(f"{name:<16}{(time.process_time() - began) * each:8.1f} us a passage")
    began = time.process_time()
    for text in texts[:20]:
        for key in answers.keys:
            has_answer([key], text)
    print(f"has_answer alone{(time.process_time() - began) * 1e6 / 20:8.1f} us a passage")


if __name__ == "__main__":
    audits(*sys.argv[1:3])
    compared(*sys.argv[1:3])
