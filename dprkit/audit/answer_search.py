"""Which of many answers a passage holds: all of them looked for at once, as `has_answer` decides.

string   The tokens of a passage are written with a blank between two and at both ends, and so
         are those of each answer. Then a passage holds an answer just where the one text
         holds the other, and an Aho-Corasick automaton (1975) finds all answers in one look.
kilt     The same with the texts as KILT compares them.
regex    Each pattern is searched in each passage, some 5 microseconds a pair, until a passage
         was found that holds it. How often it occurs is counted in a part of the passages.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from dprkit.data.answer_matching import has_token, pattern_of, tokens_of
from dprkit.data.kilt_matching import plain
from dprkit.records import Question

if TYPE_CHECKING:
    import numpy as np

SAMPLED = 64
"""One of so many passages is searched for every pattern, so that they can be counted."""


class AnswerSearch(Protocol):
    """Looks for the answers of all questions in one passage after the other."""

    def counts_at(self, row: int) -> bool:
        """Whether all answers that passage `row` holds are found, not only new ones."""
        ...

    def found_in(self, text: str, row: int) -> Iterable[int]:
        """The numbers of the answers that passage `row` holds, each once."""
        ...


def answer_key(answer: str, match: str) -> str | None:
    """What is looked for; answers with the same key are found in the same passages.

    None: nothing, as the answer has no token, or is no valid regular expression.
    """
    if not has_token(answer):
        return None
    if match == "regex":
        return answer if pattern_of(answer) else None
    return (plain(answer) or None) if match == "kilt" else _spaced(answer)


def open_search(keys: Sequence[str], match: str) -> AnswerSearch:
    """A search for the answers with these keys, by their numbers."""
    if match == "regex":
        return PatternSearch(keys)
    return TextSearch(keys, plain if match == "kilt" else _spaced)


class AnswerNumbers:
    """The answers of some questions, each key once, and which questions have which of them."""

    def __init__(self, questions: Sequence[Question], match: str) -> None:
        numbers: dict[str, int] = {}
        self._answered = {n for n, question in enumerate(questions) if question.answers}
        self.of: list[dict[str, int]] = []
        """For each question its answers that can be looked for, and their numbers."""
        for question in questions:
            keys = {answer: answer_key(answer, match) for answer in question.answers}
            known = {answer: key for answer, key in keys.items() if key is not None}
            self.of.append({a: numbers.setdefault(key, len(numbers)) for a, key in known.items()})
        self.keys = list(numbers)

    def holders(self, chosen: np.ndarray) -> list[int]:
        """The questions with one of the answers that `chosen`, (A,) bool, says."""
        return [n for n, mine in enumerate(self.of) if any(chosen[list(mine.values())])]

    def without(self, chosen: np.ndarray) -> list[int]:
        """The questions that have answers, but none of those that `chosen`, (A,) bool, says."""
        return sorted(self._answered - set(self.holders(chosen)))


def _spaced(text: str) -> str:
    return f" {' '.join(tokens_of(text))} "


class TextSearch:
    """Finds answers as texts in the text of a passage, both written in one way."""

    def __init__(self, keys: Sequence[str], written: Callable[[str], str]) -> None:
        from ahocorasick_rs import AhoCorasick

        self._find = AhoCorasick(keys).find_matches_as_indexes
        self._written = written

    def counts_at(self, row: int) -> bool:
        """True."""
        return True

    def found_in(self, text: str, row: int) -> Iterable[int]:
        """The numbers of the answers in `text`."""
        return {number for number, _, _ in self._find(self._written(text), overlapping=True)}


class PatternSearch:
    """Finds answers that are regular expressions; one that was found is left out afterwards."""

    def __init__(self, keys: Sequence[str]) -> None:
        patterns = {number: pattern_of(key) for number, key in enumerate(keys)}
        self._patterns = {number: pattern for number, pattern in patterns.items() if pattern}
        self._new = dict(self._patterns)

    def counts_at(self, row: int) -> bool:
        """Whether it is one of the passages in which all patterns are counted."""
        return row % SAMPLED == 0

    def found_in(self, text: str, row: int) -> Iterable[int]:
        """The numbers of the patterns that match in `text`, or of the new ones among them."""
        text = unicodedata.normalize("NFD", text)
        patterns = self._patterns if self.counts_at(row) else self._new
        found = [number for number, pattern in patterns.items() if pattern.search(text)]
        for number in found:
            self._new.pop(number, None)
        return found
