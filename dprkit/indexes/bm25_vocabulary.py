"""The vocabulary of a BM25 index: a sorted list of terms on disk, searched without loading it.

The file is a JSON object of term -> number, one line a term in the order of their UTF-8 bytes,
numbered in that order: any JSON reader takes it, and looking a term up reads a few lines of it.
Terms are of letters, their marks, digits and underscores, so that no character of them is escaped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

BEFORE, BETWEEN, AFTER = b"{\n", b",\n", b"\n}\n"


class VocabularyWriter:
    """Takes terms in their order; `count` is how many there were."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.count = file, 0

    def add(self, term: bytes) -> None:
        self.file.write(BETWEEN if self.count else BEFORE)
        self.file.write(b'"%b":%d' % (term, self.count))
        self.count += 1


@contextmanager
def writing_vocabulary(path: Path) -> Iterator[VocabularyWriter]:
    with path.open("wb") as file:
        writer = VocabularyWriter(file)
        yield writer
        file.write(AFTER if writer.count else BEFORE + AFTER[1:])


class Vocabulary:
    """Term -> number, by bisection of the memory-mapped file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def find(self, term: str) -> int:
        """The number of `term`, or -1."""
        text, wanted = self._text, term.encode()
        low, high = len(BEFORE), len(text) - len(AFTER) + 1  # the lines of the terms lie between
        while low < high:
            middle = (low + high) // 2
            start, end = text.rfind(b"\n", low - 1, middle) + 1, text.find(b"\n", middle)
            line = text[start:end]
            quote = line.index(b'"', 1)
            middle_term = line[1:quote]
            if middle_term == wanted:
                return int(line[quote + 2 :].rstrip(b","))
            low, high = (end + 1, high) if middle_term < wanted else (low, start)
        return -1
