"""Questions that a training file has too: the same ones, and those with nearly the same words.

Questions are the same where they differ in letter case, punctuation and space alone. They are near
where the words that both have are a large share of the words that either has (Jaccard). All pairs
that are near are found, without comparing all: if two sets of words are near, one of the few rarest
words of the one is among the few rarest of the other (prefix filtering; Chaudhuri et al. 2006,
Bayardo et al. 2007). Memory is that of the questions that are looked for, not of training files.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from dprkit.data.selection import normalise


class Twin(msgspec.Struct, frozen=True):
    """The training question that is most like a question."""

    question: str
    similarity: float
    """The share of the words of both that both have; 1 for the same question."""
    same: bool
    """Whether they differ in letter case, punctuation and space alone."""


class QuestionOverlap:
    """Finds, for each of some questions, its twin among training questions that go by."""

    def __init__(self, questions: Sequence[str], near: float) -> None:
        """`near`: the similarity from which on two questions are near."""
        self.near = near
        self.twins: dict[int, Twin] = {}
        """Number of a question -> its twin; those that have none are absent."""
        self._texts = [normalise(question) for question in questions]
        self._words = [frozenset(text.split()) for text in self._texts]
        self._frequency = Counter(word for words in self._words for word in words)
        self._same: defaultdict[str, list[int]] = defaultdict(list)
        self._by_rare: defaultdict[str, list[int]] = defaultdict(list)
        for number, (text, words) in enumerate(zip(self._texts, self._words, strict=True)):
            if words:
                self._same[text].append(number)
                for word in self._rarest(words):
                    self._by_rare[word].append(number)

    def add(self, question: str) -> None:
        """Compare the questions with one more training question."""
        text = normalise(question)
        for number in self._same.get(text, ()):
            self.twins[number] = Twin(question, 1.0, True)
        words = frozenset(text.split())
        rarest = self._rarest(words)
        for number in {n for word in rarest for n in self._by_rare.get(word, ())}:
            self._compare(number, question, words)

    def _compare(self, number: int, question: str, words: frozenset[str]) -> None:
        common = len(words & self._words[number])
        similarity = common / (len(words) + len(self._words[number]) - common)
        known = self.twins.get(number)
        if similarity >= self.near and (known is None or similarity > known.similarity):
            self.twins[number] = Twin(question, similarity, False)

    def _rarest(self, words: frozenset[str]) -> list[str]:
        """As many of the rarest words as near sets cannot be without.

        A set that is near has at least `least` of the words, so it lacks fewer than these.
        """
        least = math.ceil(self.near * len(words) - 1e-9)
        ordered = sorted(words, key=lambda word: (self._frequency[word], word))
        return ordered[: len(words) - least + 1]
