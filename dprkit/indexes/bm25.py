"""BM25: passages found by the words they share with a question.

Scores are Lucene's (Kamphuis et al. 2020, https://doi.org/10.1007/978-3-030-45442-5_4), computed
when the index is built. It is laid out as bm25s lays out its own (Lù 2024, arXiv:2407.03618), which
can open and search it too:

    bm25/data.csc.index.npy       (P,) float32, the score of each posting
    bm25/indices.csc.index.npy    (P,) int32, its passage's row; ascending within a term
    bm25/indptr.csc.index.npy     (T + 1,) int64, where each term's postings begin
    bm25/vocab.index.json         the T terms and their numbers, sorted
    bm25/params.index.json        k1, b and how many passages there are
    bm25/analyzer.json            how a text is cut into terms
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import msgspec
import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.npy import mapped
from dprkit.errors import InputError, writing
from dprkit.indexes.bm25_inverted_lists import ROWS, SCORES, STARTS, VOCABULARY, blocks, join
from dprkit.indexes.bm25_vocabulary import Vocabulary
from dprkit.indexes.bm25_weights import Bm25Weights
from dprkit.indexes.bm25_words import CURRENT, Analyzer, analyzer_for
from dprkit.indexes.hits_and_tie_order import Hits, in_order
from dprkit.indexes.index_folder import IndexFolder
from dprkit.records import Passage
from dprkit.settings import IndexSettings
from dprkit.store.drafts import Draft

FOLDER, BLOCKS = "bm25", "blocks"
ANALYZER, PARAMETERS = "analyzer.json", "params.index.json"
WINDOW = 1 << 20
"""Passages scored at a time: 4 MB of scores a thread."""
WORDS_KEPT = 1 << 16
"""Words of questions whose terms are remembered."""


class _Parameters(msgspec.Struct, frozen=True):
    """params.index.json, with the fields that bm25s reads."""

    k1: float
    b: float
    num_docs: int
    delta: float = 0.5
    method: Literal["lucene"] = "lucene"
    idf_method: Literal["lucene"] = "lucene"
    dtype: Literal["float32"] = "float32"
    int_dtype: Literal["int32"] = "int32"
    backend: str = "numpy"


# --- building -------------------------------------------------------------------------------------


def check_settings(settings: IndexSettings) -> None:
    """Raise SettingsError for a language without a stemmer."""
    analyzer_for(settings.stemmer)


def build(work: Draft, corpus: PassageFile, settings: IndexSettings) -> dict[str, Any]:
    """Build the index of a corpus; with a note where BM25 counts no word of a passage."""
    counts = write_index(work, corpus.passages(), settings)
    if not counts["wordless"]:
        return {**counts, "notes": []}
    place = f"{corpus.path}:{corpus.where(counts['first_wordless'])}"
    passages = "1 passage" if counts["wordless"] == 1 else f"{counts['wordless']:,} passages"
    note = (
        f"{passages} without a word that BM25 can find (empty, stop words, single letters), "
        f"such as the one at {place}"
    )
    work.run.progress.warn(note)
    return {**counts, "notes": [note]}


def write_index(
    work: Draft, passages: Iterable[Passage], settings: IndexSettings
) -> dict[str, Any]:
    """Write the BM25 index of `passages`, title and text, into `work`; its counts.

    Memory does not grow with the corpus. A build that was killed goes on after its last whole
    block, given the same passages from the first, and ends with the same bytes. Needs twelve bytes
    of disk for a posting while it works and eight in the end (a passage of 100 words has about 55).
    The counts name how many passages are without a word that counts, and the row of the first.
    """
    if "counts" not in work.state:
        begun = work.state.setdefault("analyzer", 1 if work.state.get("blocks") else CURRENT)
        analyzer = analyzer_for(settings.stemmer, begun)
        _gather(work, passages, analyzer)
        work.state["counts"] = _join(work, analyzer, settings)
        work.save()
    for number in range(work.state["blocks"]):
        work.remove(_block(number))
    counts: dict[str, Any] = work.state["counts"]
    return counts


def _block(number: int) -> str:
    return f"{BLOCKS}/{number:05d}"


def _gather(work: Draft, passages: Iterable[Passage], analyzer: Analyzer) -> None:
    """Write the blocks, and note after each what is in them."""
    names = ("blocks", "passages", "words", "postings", "wordless")
    state = dict.fromkeys(names, 0) | {"first_wordless": None} | work.state
    work.run.progress.start("counting words", None, "passages", state["passages"])
    for block in blocks(islice(passages, state["passages"], None), analyzer, state["passages"]):
        with work.folder(_block(state["blocks"])) as folder, writing(folder):
            words, postings, wordless = block.write(folder)
        if state["first_wordless"] is None:
            state["first_wordless"] = next(iter(wordless), None)
        state["wordless"] += len(wordless)
        state["words"] += words
        state["postings"] += postings
        state["blocks"] += 1
        state["passages"] += len(block.lengths)
        work.state.update(state)
        work.save()
        work.run.progress.advance(len(block.lengths))
    work.run.progress.finish()
    if not state["passages"]:
        raise InputError("the corpus holds no passages; nothing can be indexed")


def _join(work: Draft, analyzer: Analyzer, settings: IndexSettings) -> dict[str, Any]:
    state, progress = work.state, work.run.progress
    weights = Bm25Weights(state["passages"], state["words"], settings.k1, settings.b)
    parts = [work.directory / _block(number) for number in range(state["blocks"])]
    progress.start("joining", state["postings"], "postings")
    with work.folder(FOLDER) as folder, writing(folder):
        terms = join(parts, weights, folder, progress.advance)
        parameters = _Parameters(settings.k1, settings.b, weights.passages)
        (folder / PARAMETERS).write_bytes(msgspec.json.encode(parameters))
        (folder / ANALYZER).write_bytes(msgspec.json.encode(analyzer))
    progress.finish()
    return {
        "passages": weights.passages,
        "words": weights.words,
        "terms": terms,
        "postings": state["postings"],
        "wordless": state["wordless"],
        "first_wordless": state["first_wordless"],
    }


# --- searching ------------------------------------------------------------------------------------


class Bm25Index:
    """A BM25 index on disk, memory-mapped. Rows are the corpus's rows."""

    def __init__(self, index: IndexFolder, threads: int | None = None) -> None:
        """`threads`: how many search at once; None is as many as `cores.thread_count` says.

        Raises InputError for an index that is cut short or not of BM25.
        """
        files = [name for name in index.manifest.files if name.startswith(f"{FOLDER}/")]
        if not files:
            raise InputError(
                f"{index.path}: is no BM25 index; build one with dprkit index --type bm25"
            )
        for name in files:
            index.file(name)
        folder = index.path / FOLDER
        self.parameters = msgspec.json.decode((folder / PARAMETERS).read_bytes(), type=_Parameters)
        self.count = self.parameters.num_docs
        """Passages in it."""
        self.analyzer = msgspec.json.decode((folder / ANALYZER).read_bytes(), type=Analyzer)
        self.threads = threads or thread_count()
        self._vocabulary = Vocabulary(folder / VOCABULARY)
        self._scores, self._rows, self._starts = (
            mapped(folder / name) for name in (SCORES, ROWS, STARTS)
        )
        self._number = lru_cache(WORDS_KEPT)(self._look_up)

    def search(
        self, questions: Sequence[str], topk: int, allowed: np.ndarray | None = None
    ) -> Hits:
        """The best K = min(topk, count) passages that share a word with each of Q questions.

        For one thread at a time: it starts its own. A word that is in the question twice counts
        twice. Passages that share none are not found: the rest of the line is row -1. `allowed`:
        (A,) int64, ascending; no other rows are looked for, and K is at most A.
        """
        depth = min(topk, self.count if allowed is None else len(allowed))
        hits = Hits.none(len(questions), depth)
        if not depth:
            return hits
        asked = [self._terms(question) for question in questions]

        def answer(numbers: range) -> None:
            for number in numbers:
                rows, scores = self._best(asked[number], depth, allowed)
                hits.rows[number, : len(rows)], hits.scores[number, : len(rows)] = rows, scores

        shares = min(self.threads, len(asked))
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(answer, (range(n, len(asked), shares) for n in range(shares))))
        return hits

    def _terms(self, question: str) -> list[int]:
        """The numbers of the terms of a question that the corpus has, with repetitions."""
        numbers = map(self._number, self.analyzer.words(question))
        return [number for number in numbers if number >= 0]

    def _look_up(self, word: str) -> int:
        term = self.analyzer.term(word)
        return -1 if term is None else self._vocabulary.find(term)

    def _best(
        self, terms: list[int], depth: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best `depth` passages, in order."""
        windows = []
        for start in range(0, self.count, WINDOW):
            scores = self._window(terms, start)
            rows = None
            if allowed is not None:
                ends = np.searchsorted(allowed, (start, start + len(scores)))
                rows = allowed[slice(*ends)]
                scores = scores[rows - start]
            places = highest(scores, depth)
            windows.append((places + start if rows is None else rows[places], scores[places]))
        rows, scores = (np.concatenate(column) for column in zip(*windows, strict=True))
        order = in_order(rows, scores)[:depth]
        return rows[order], scores[order]

    def _window(self, terms: list[int], start: int) -> np.ndarray:
        """The scores of the passages from `start` on, WINDOW of them or what there is."""
        size = min(WINDOW, self.count - start)
        scores = np.zeros(size, np.float32)
        for term in terms:
            span = slice(*self._starts[term : term + 2].tolist())
            rows, weights = self._rows[span], self._scores[span]
            if size < self.count:
                edges = np.searchsorted(rows, np.array((start, start + size), np.int32))
                rows, weights = rows[slice(*edges)] - start, weights[slice(*edges)]
            np.add.at(scores, rows, weights)
        return scores


def open_folder(folder: IndexFolder, _depths: Mapping[str, int]) -> Bm25Index:
    """The BM25 index in a folder."""
    return Bm25Index(folder)


def highest(scores: np.ndarray, count: int) -> np.ndarray:
    """The places (M,), ascending, of the `count` highest positive ones of scores (N,).

    Those that tie with the last are among them.

    Selecting in the whole array would cost more than scoring it did. The `count`-th highest of the
    maxima of equal stretches is no higher than the `count`-th highest score, so that what lies
    below it can be left out first.
    """
    floor = np.float32(0)
    width = len(scores) // (4 * count)
    if width >= 4:
        floor = _last(scores[: len(scores) // width * width].reshape(-1, width).max(axis=1), count)
    places = np.flatnonzero(scores >= floor if floor > 0 else scores > 0)
    if len(places) > count:
        left = scores[places]
        places = places[left >= _last(left, count)]
    return places


def _last(scores: np.ndarray, count: int) -> np.float32:
    """The `count`-th highest."""
    last: np.float32 = np.partition(scores, len(scores) - count)[len(scores) - count]
    return last
