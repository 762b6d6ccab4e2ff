"""One pass over a corpus for `audit`, by as many processes as there are cores.

The corpus is cut into spans of rows. What is learned of a span is small, so memory is a few spans
and 8 bytes a passage for its text's key; near duplicates take 160 bytes a passage in a temporary
file.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

from dprkit.audit.answer_search import open_search
from dprkit.audit.duplicates import Bands, Repeat, near_repeats, repeats
from dprkit.cpu_cores import thread_count
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.ids import text_key
from dprkit.errors import ProcessError
from dprkit.interrupts import die_with_parent, leave_signals_to_parent
from dprkit.models.config import QUESTION, ColbertConfig, load_config
from dprkit.models.late_tokens import late_tokens
from dprkit.models.tokens import Tokens, load_tokenizer, load_tokens
from dprkit.progress import Progress
from dprkit.records import Question, same_question

SPAN = 2048
"""Passages that a process looks at together."""


class Plan(NamedTuple):
    """What to look for."""

    passages: str
    answers: list[str]
    """Keys of answers; see `answer_key`."""
    match: str
    retriever: str | None
    """Whose tokenizer counts the tokens of passages."""
    near: float | None
    """The similarity of near duplicates; None: they are not looked for."""


class Part(NamedTuple):
    """What a span of rows holds."""

    start: int
    texts: np.ndarray
    """(N,), uint64: a key of each text, letter case and white space aside; 0 for no text."""
    found: set[int]
    """The numbers of the answers that occur."""
    counts: Counter[int]
    """Number of an answer -> passages that hold it, of those in which answers are counted."""
    counted: int
    """Passages in which answers are counted."""
    cut: int
    """Passages longer than the retriever reads."""
    bands: np.ndarray | None
    """(bands, N), uint64, as `Bands.keys` gives them."""


class CorpusFacts(NamedTuple):
    """What is known of the N passages of a corpus and of the A answers that were looked for."""

    passages: int
    found: np.ndarray
    """(A,), bool: the answers that occur."""
    shares: np.ndarray
    """(A,), float64: the share of the passages that hold each answer."""
    empty: int
    """Passages without a text."""
    cut: int
    """Passages longer than the retriever reads."""
    repeats: list[Repeat]
    near_repeats: list[Repeat]


def facts_of(plan: Plan, corpus: PassageFile, progress: Progress) -> CorpusFacts:
    """What a pass over the corpus tells."""
    count, answers = len(corpus), len(plan.answers)
    texts, counts = np.zeros(count, np.uint64), np.zeros(answers, np.int64)
    found = np.zeros(answers, bool)
    counted = cut = 0
    with TemporaryFile() as file:
        width = 0 if plan.near is None else Bands(plan.near).count
        bands = np.memmap(file, np.uint64, "w+", shape=(width, count)) if width else None
        progress.start("reading the corpus", count, "passages")
        for part in scan(plan, count):
            rows = slice(part.start, part.start + len(part.texts))
            texts[rows] = part.texts
            found[list(part.found)] = True
            for number, passages in part.counts.items():
                counts[number] += passages
            counted, cut = counted + part.counted, cut + part.cut
            if bands is not None:
                bands[:, rows] = np.asarray(part.bands)
            progress.advance(len(part.texts))
        progress.finish()
        near = near_repeats(corpus, bands, plan.near or 1.0) if bands is not None else []
    same = repeats(texts)
    known = {repeat.row for repeat in same}
    near = [repeat for repeat in near if repeat.row not in known]
    empty = int((texts == 0).sum())
    return CorpusFacts(count, found, counts / counted, empty, cut, same, near)


def scan(plan: Plan, count: int) -> Iterator[Part]:
    """The parts of a corpus of `count` passages, in their order.

    Raises ProcessError where a process dies, InputError where the corpus is changed meanwhile.
    """
    starts = range(0, count, SPAN)
    processes = min(thread_count(), len(starts))
    if processes == 1:
        yield from map(_scanner(plan), starts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (plan,)) as pool:
        try:
            yield from pool.map(_part, starts)
        except BrokenExecutor:
            raise ProcessError(
                "a process that reads the corpus died (out of memory?); with OMP_NUM_THREADS=1 "
                "there is one process alone"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _scanner(plan: Plan) -> Callable[[int], Part]:
    """What gives the part that starts at a row."""
    corpus = PassageFile(plan.passages)
    search = open_search(plan.answers, plan.match)
    cuts_of = _tokens(plan.retriever).passages_and_cuts if plan.retriever else None
    bands = None if plan.near is None else Bands(plan.near)

    def part(start: int) -> Part:
        passages = list(corpus.passages(start, start + SPAN))
        texts = [passage.text for passage in passages]
        counts: Counter[int] = Counter()
        found: set[int] = set()
        rows = range(start, start + len(texts))
        for row, text in zip(rows, texts, strict=True):
            held = search.found_in(text, row)
            found.update(held)
            if search.counts_at(row):
                counts.update(held)
        return Part(
            start,
            np.fromiter(map(_text_key, texts), np.uint64, len(texts)),
            found,
            counts,
            sum(map(search.counts_at, rows)),
            sum(cuts_of(passages)[1]) if cuts_of else 0,
            bands.keys(texts) if bands else None,
        )

    return part


def _text_key(text: str) -> int:
    """A number that texts with the same words have in common; 0 for no text."""
    words = same_question(text)
    return text_key(words) if words else 0


def _tokens(retriever: str) -> Tokens:
    """The tokenizers of a retriever, without its weights."""
    config, folder = load_config(retriever), Path(retriever)
    if isinstance(config, ColbertConfig):
        return late_tokens(load_tokenizer(folder / QUESTION), config, folder)
    return load_tokens(folder, config)


def questions_cut(questions: Sequence[Question], retriever: str) -> list[int]:
    """The questions that are longer than the retriever reads."""
    cuts = _tokens(retriever).questions_and_cuts([question.question for question in questions])[1]
    return [number for number, cut in enumerate(cuts) if cut]


# --- in a process of its own ----------------------------------------------------------------------

_opened: Callable[[], Callable[[int], Part]]


def _begin(plan: Plan) -> None:
    """Make ready, without opening anything: here, an error would break the pool untold."""
    global _opened
    _opened = cache(partial(_scanner, plan))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    leave_signals_to_parent()
    die_with_parent()


def _part(start: int) -> Part:
    return _opened()(start)
