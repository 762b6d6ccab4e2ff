"""Numbers of words as bits: a fifth smaller than what gzip makes of them.

Each word is in a class. What is written of a word is the code of its class, which depends on the
class before it, and then its own code among the words of the class. All are Huffman's codes.

    class 0   nothing: any class may follow it. It stands before one that seldom follows another.
    class 1   the end of a field; a block begins as if one had ended
    class 2   a letter without a number, by its place in Unicode, 21 bits
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dprkit.report.huffman import code_lengths, codes, pack_bits
from dprkit.report.vocabulary import ANY, END, LEAST, OTHER, Vocabulary
from dprkit.report.word_classes import word_classes

if TYPE_CHECKING:
    import numpy as np

_COUNT_BITS, _LETTER_BITS = 16, 21


class WordCodes:
    """The codes of a vocabulary, for words that come up and follow each other as in `learned`."""

    def __init__(self, vocabulary: Vocabulary, learned: Sequence[np.ndarray]) -> None:
        import numpy as np

        words = vocabulary.entries
        counts = np.zeros(len(words), np.int64)
        for numbers in learned:
            counts += np.bincount(np.maximum(numbers, 0), minlength=len(words))
        own = [
            *(ANY, END, OTHER),
            *(3 + one for one in word_classes(words[3:], counts[3:].tolist())),
        ]
        self._class = np.array(own, np.int32)
        self.classes: list[tuple[list[str], list[int]]] = []
        """The words of each class, and how long their codes are."""
        self._codes, self._lengths = np.zeros(len(words), np.int64), np.zeros(len(words), np.uint8)
        self._number_words(words, counts)
        self.follow = self._learn_order(learned)
        """(C, C) uint8: how long the code of a class is behind each class; 0: it has none."""
        self._follow_codes = np.zeros(self.follow.shape, np.int64)
        for row, lengths in enumerate(self.follow):
            after = np.flatnonzero(lengths)
            self._follow_codes[row, after] = codes(lengths[after])

    def _number_words(self, words: Sequence[Any], counts: np.ndarray) -> None:
        import numpy as np

        members: list[list[int]] = [[] for _ in range(self._class.max() + 1)]
        for number, own in enumerate(self._class.tolist()):
            members[own].append(number)
        for numbers in members:
            lengths = code_lengths(counts[numbers].tolist())
            texts = ["".join(words[one]) if one > OTHER else "" for one in numbers]
            rows = sorted(zip(lengths, texts, numbers, strict=True))
            sizes, shown, places = map(list, zip(*rows, strict=True))
            self.classes.append((shown, sizes))
            self._lengths[places] = sizes
            self._codes[places] = codes(np.array(sizes, np.uint8))

    def _learn_order(self, learned: Sequence[np.ndarray]) -> np.ndarray:
        import numpy as np

        count = len(self.classes)
        pairs = np.zeros(count * count, np.int32)
        for numbers in learned:
            found, times = np.unique(self._pairs(self._classes_of(numbers)), return_counts=True)
            pairs[found] += times.astype(np.int32)
        table = pairs.reshape(count, count)
        seldom = np.where(table < LEAST, table, 0)
        table -= seldom
        table[ANY] = seldom.sum(axis=0) + 1
        table[:, ANY] = seldom.sum(axis=1) + 1
        follow = np.zeros(table.shape, np.uint8)
        for row, often in enumerate(table):
            after = np.flatnonzero(often)
            follow[row, after] = np.maximum(code_lengths(often[after].tolist()), 1)
        return follow

    def _classes_of(self, numbers: np.ndarray) -> np.ndarray:
        import numpy as np

        own: np.ndarray = np.where(numbers < 0, OTHER, self._class[np.maximum(numbers, 0)])
        return own

    def _pairs(self, classes: np.ndarray) -> np.ndarray:
        """For each class, its place behind the one before it in a flat (C, C) table."""
        import numpy as np

        before = np.append(np.int32(END), classes[:-1])
        places: np.ndarray = before * len(self.classes) + classes
        return places

    def encode(self, numbers: np.ndarray) -> bytes:
        """Words by their numbers, behind how many fields they are."""
        import numpy as np

        fields = int((numbers == END).sum())
        pairs = self._pairs(self._classes_of(numbers))
        seldom = np.flatnonzero(self.follow.ravel()[pairs] == 0)
        numbers = np.insert(numbers, seldom, ANY)
        pairs = self._pairs(self._classes_of(numbers))
        other, known = numbers < 0, np.maximum(numbers, 0)
        sizes = self.follow.ravel()[pairs], np.where(other, _LETTER_BITS, self._lengths[known])
        bits = self._follow_codes.ravel()[pairs], np.where(other, -1 - numbers, self._codes[known])
        return pack_bits(
            np.append(fields, np.stack(bits, axis=1)),
            np.append(_COUNT_BITS, np.stack(sizes, axis=1)),
        )
