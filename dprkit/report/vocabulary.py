"""Texts as numbers of words.

A text is cut into words, each with the space before it, so that a text is its words put together.
What comes up less than three times is spelled, each letter a word.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Passage = tuple[str, str, str]
"""Id, title, text."""
ANY, END, OTHER = range(3)
"""Numbers of no word: nothing, the end of a field, a letter that has none."""
LEAST = 3
"""How often a word comes up that has a number."""
NO_NUMBER = -(1 << 31)

_WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s")


class Distinct:
    """Different words, numbered as they come up. A title is one word."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__
        self._end = self._numbers[""]

    @property
    def words(self) -> list[str]:
        """By their numbers. The first, "", is the end of a field."""
        return list(self._numbers)

    def numbers(self, passages: Iterable[Passage]) -> np.ndarray:
        """The numbers of all words of `passages`, whose three fields each have an end."""
        import numpy as np

        found = array("i")
        number, end = self._numbers.__getitem__, self._end
        for id_, title, text in passages:
            found.extend(map(number, _WORD.findall(id_)))
            found.extend((end, number(title), end) if title else (end, end))
            found.extend(map(number, _WORD.findall(text)))
            found.append(end)
        return np.array(found, np.int32)


class _Letters(dict[str, int]):
    """Letters by their numbers; the letter N of Unicode that has none is -1 - N."""

    def __missing__(self, letter: str) -> int:
        return -1 - ord(letter)


class Vocabulary:
    """What has a code, by its number: ANY, END, OTHER, words, and letters of other words.

    Words stand for themselves, letters of what is spelled are 1-tuples.
    """

    def __init__(self, words: Sequence[str], texts: Iterable[np.ndarray]) -> None:
        """`texts` are numbers of `words`, as Distinct gives them."""
        import numpy as np

        counts = np.zeros(len(words), np.int64)
        for places in texts:
            counts += np.bincount(places, minlength=len(words))
        letters: set[str] = set()
        self.entries: list[Any] = [ANY, END, OTHER]
        for word, count in zip(words[1:], counts[1:].tolist(), strict=True):
            if count >= LEAST and _whole(word) == word:
                self.entries.append(word)
            else:
                letters.update(_whole(word))
        first = len(self.entries)
        self._letters = _Letters({one: first + at for at, one in enumerate(sorted(letters))})
        self.entries += [(letter,) for letter in self._letters]
        known = enumerate(self.entries[:first])
        self._numbers = {entry: number for number, entry in known if number > OTHER} | {"": END}

    def read(self, passages: Iterable[Passage]) -> np.ndarray:
        """The numbers of all that is in `passages`."""
        distinct = Distinct()
        places = distinct.numbers(passages)
        return self.numbers(places, distinct.words, self.table(distinct.words))

    def table(self, words: Sequence[str]) -> np.ndarray:
        """The number of each word, NO_NUMBER where it has none."""
        import numpy as np

        return np.array([self._numbers.get(word, NO_NUMBER) for word in words], np.int32)

    def spelled(self, text: str) -> list[int]:
        """The letters of a word, or the words of a title and the letters of those without one."""
        letter = self._letters.__getitem__
        if " " not in text[1:]:
            return [*map(letter, _whole(text))]
        found: list[int] = []
        for word in _WORD.findall(_whole(text)):
            number = self._numbers.get(word)
            found += map(letter, word) if number is None else (number,)
        return found

    def numbers(self, places: np.ndarray, words: Sequence[str], table: np.ndarray) -> np.ndarray:
        """The numbers of a text, which is `words` at `places`; `table` is that of the words."""
        import numpy as np

        found: np.ndarray = table[places]
        missing = np.flatnonzero(found == NO_NUMBER)
        if not len(missing):
            return found
        spelled = [self.spelled(words[place]) for place in places[missing]]
        found[missing] = [one[0] for one in spelled]
        sizes = [len(one) - 1 for one in spelled]
        others = [number for one in spelled for number in one[1:]]
        return np.insert(found, np.repeat(missing + 1, sizes), others)


def _whole(word: str) -> str:
    """Without halves of characters, which UTF-8 does not know."""
    return word if word.isascii() else word.encode("utf-8", "replace").decode()
