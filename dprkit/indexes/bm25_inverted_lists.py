"""The inverted lists of a BM25 index, built from a corpus that is larger than memory.

Passages are gathered into blocks of a bounded number of words; a block is sorted in memory by
term and row and written down. Then all blocks are read side by side, term by term, and their lists
joined and scored (blocked sort-based indexing: Manning, Raghavan and Schütze, Introduction to
Information Retrieval, 2008, section 4.2).

A block is a folder:

    terms.txt       a line "term, tab, passages of this block that have it", in the order of the
                    terms' bytes
    postings.npy    (P, 3) int32, in the order of terms and then rows: the row of a passage, how
                    often it has the term, and how many words it has
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import numpy as np

from dprkit.data.npy import write_header
from dprkit.indexes.bm25_vocabulary import writing_vocabulary
from dprkit.indexes.bm25_weights import Bm25Weights
from dprkit.indexes.bm25_words import Analyzer
from dprkit.records import Passage

BLOCK = 1 << 20
"""Words gathered before a block is written: about 50 MB at the height of sorting them."""
GROUP = 1 << 20
"""Postings joined at a time."""
TERMS, POSTINGS = "terms.txt", "postings.npy"
# The joined lists, under the names that bm25s gives them: a matrix compressed by columns.
SCORES, ROWS, STARTS = "data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy"
VOCABULARY = "vocab.index.json"
READ_AHEAD = 1 << 14
"""Bytes of terms read from a block at a time; its file is closed in between."""


# --- blocks ---------------------------------------------------------------------------------------


class _Numbers(dict[str, int]):
    """Word -> number of its term in this block, given as they come; -1 for a stop word."""

    def __init__(self, analyzer: Analyzer) -> None:
        super().__init__()
        self.analyzer = analyzer
        self.terms: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        term = self.analyzer.term(word)
        number = -1 if term is None else self.terms.setdefault(term, len(self.terms))
        self[word] = number
        return number


class Block:
    """Consecutive passages, the first of which is row `first` of the corpus."""

    def __init__(self, analyzer: Analyzer, first: int) -> None:
        self.first = first
        self.words = array("i")
        """The numbers of all words, passage by passage."""
        self.lengths = array("i")
        """How many of them are each passage's."""
        self._analyzer, self._numbers = analyzer, _Numbers(analyzer)

    def add(self, passage: Passage) -> None:
        """Take the next passage: its title and its text."""
        words = self._analyzer.words(f"{passage.title} {passage.text}")
        self.words.extend(map(self._numbers.__getitem__, words))
        self.lengths.append(len(words))

    def write(self, folder: Path) -> tuple[int, int, list[int]]:
        """Write the block into `folder`.

        How many words count in it, how many postings it has, and the rows of the passages without
        a word that counts.
        """
        words = np.frombuffer(self.words, np.int32)
        rows = np.repeat(np.arange(len(self.lengths)), np.frombuffer(self.lengths, np.int32))
        rows, words = rows[words >= 0], words[words >= 0]
        terms = sorted(term.encode() for term in self._numbers.terms)
        keys = _places(terms, self._numbers.terms)[words] * len(self.lengths) + rows
        keys, times = np.unique(keys, return_counts=True)
        term, row = np.divmod(keys, len(self.lengths))
        in_all = np.bincount(rows, minlength=len(self.lengths))
        postings = np.stack((row + self.first, times, in_all[row]), axis=1, dtype=np.int32)
        np.save(folder / POSTINGS, postings, allow_pickle=False)
        frequencies = np.bincount(term, minlength=len(terms)).tolist()
        with (folder / TERMS).open("wb") as file:
            file.writelines(b"%b\t%d\n" % pair for pair in zip(terms, frequencies, strict=True))
        return len(words), len(postings), (np.flatnonzero(in_all == 0) + self.first).tolist()


def _places(terms: Sequence[bytes], numbers: dict[str, int]) -> np.ndarray:
    """The place among the sorted `terms` of each term, by its number."""
    places = np.empty(len(terms), np.int64)
    for place, term in enumerate(terms):
        places[numbers[term.decode()]] = place
    return places


def blocks(passages: Iterable[Passage], analyzer: Analyzer, first: int) -> Iterator[Block]:
    """Blocks of `passages`, the first of which is row `first`.

    Where one ends depends on the passages in it alone.
    """
    block = Block(analyzer, first)
    for passage in passages:
        block.add(passage)
        if len(block.words) >= BLOCK:
            yield block
            block = Block(analyzer, block.first + len(block.lengths))
    if block.lengths:
        yield block


# --- joining them ---------------------------------------------------------------------------------


class _Source:
    """A block, read from its beginning to its end."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number, self.taken = folder, number, 0
        mapped: Any = np.load(folder / POSTINGS, mmap_mode="r", allow_pickle=False)
        self._start = mapped.offset

    def terms(self) -> Iterator[tuple[bytes, int, int]]:
        """(term, number of this block, passages that have it), in the order of terms."""
        place = 0
        while True:
            with (self.folder / TERMS).open("rb") as file:
                file.seek(place)
                lines = file.readlines(READ_AHEAD)
                place = file.tell()
            if not lines:
                return
            for line in lines:
                term, frequency = line.split(b"\t")
                yield term, self.number, int(frequency)

    def take(self, count: int) -> np.ndarray:
        """The next `count` postings (P, 3)."""
        place = self._start + self.taken * 12
        self.taken += count
        return np.fromfile(self.folder / POSTINGS, np.int32, count * 3, offset=place).reshape(-1, 3)


class _Column:
    """An .npy file that grows; its header has room for any length."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.file, self.dtype, self.count = path.open("wb"), np.dtype(dtype), 0
        self._header()

    def append(self, values: Any) -> None:
        self.file.write(np.ascontiguousarray(values, self.dtype).data)
        self.count += len(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.file:
            self.file.seek(0)
            self._header()

    def _header(self) -> None:
        write_header(self.file, (self.count,), self.dtype)


class _Joined:
    """The joined lists: rows and scores, term by term, and where each term's begin."""

    def __init__(
        self,
        folder: Path,
        sources: Sequence[_Source],
        weights: Bm25Weights,
        done: Callable[[int], None],
    ) -> None:
        self.sources, self.weights, self.done = sources, weights, done
        self.rows = _Column(folder / ROWS, "<i4")
        self.scores = _Column(folder / SCORES, "<f4")
        self.starts = _Column(folder / STARTS, "<i8")
        self._met: list[tuple[int, int, np.float32]] = []  # block, passages, idf: not yet read
        self._waiting, self._ends = 0, array("q", [0])

    def add(self, parts: Sequence[tuple[bytes, int, int]]) -> None:
        """The lists of the next term in the blocks that have it."""
        frequency = sum(count for _, _, count in parts)
        rarity = self.weights.idf(frequency)
        self._ends.append(self._ends[-1] + frequency)
        for _, block, count in parts:
            self._met.append((block, count, rarity))
            self._waiting += count
            if self._waiting >= GROUP:
                self.flush()

    def flush(self) -> None:
        """Read and score what was met."""
        if self._met:
            read = self._read()
            times, lengths, rarities = read[:, 1], read[:, 2], np.array([m[2] for m in self._met])
            sizes = [count for _, count, _ in self._met]
            self.rows.append(read[:, 0])
            self.scores.append(np.repeat(rarities, sizes) * self.weights.saturation(times, lengths))
        self.done(self._waiting)
        self._met, self._waiting = [], 0
        if len(self._ends) > 1:
            self.starts.append(self._ends[:-1])
            self._ends = self._ends[-1:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.rows, self.scores, self.starts:
            if kind is None:
                self.flush()
                self.starts.append(self._ends)

    def _read(self) -> np.ndarray:
        """The postings (P, 3) of what was met, in its order.

        Each block gives all its own at once, so they come ordered by block.
        """
        blocks, sizes = (np.array([met[i] for met in self._met]) for i in (0, 1))
        order = np.argsort(blocks, kind="stable")
        shares = np.bincount(blocks, weights=sizes).astype(int).tolist()
        read = np.concatenate([self.sources[n].take(share) for n, share in enumerate(shares)])
        wanted, come = _before(sizes)[order], _before(sizes[order])
        # The postings of a term in a block were read at `come` and belong at `wanted`.
        placed = np.empty_like(read)
        placed[np.repeat(wanted - come, sizes[order]) + np.arange(len(read))] = read
        return placed


def _before(sizes: np.ndarray) -> np.ndarray:
    """The sum of the sizes before each."""
    sums: np.ndarray = np.cumsum(sizes) - sizes
    return sums


def join(
    blocks: Sequence[Path], weights: Bm25Weights, folder: Path, done: Callable[[int], None]
) -> int:
    """Join the lists of all blocks into `folder`; how many terms there are.

    Memory: GROUP postings and some terms of every block. `done` is told how many postings more are
    joined.
    """
    sources = [_Source(block, number) for number, block in enumerate(blocks)]
    met = heapq.merge(*(source.terms() for source in sources))
    with (
        _Joined(folder, sources, weights, done) as joined,
        writing_vocabulary(folder / VOCABULARY) as vocabulary,
    ):
        for term, parts in groupby(met, key=itemgetter(0)):
            vocabulary.add(term)
            joined.add(list(parts))
    return vocabulary.count
