"""The passages of a report: numbered as they come up, their texts packed a hundred in a block.

Memory is some 250 bytes a passage, for its id and a hash of its text, and the first 50,000 texts
as numbers until their words have codes.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from dprkit.records import Hit
from dprkit.report.spool import Blocks, Spool
from dprkit.report.vocabulary import Distinct, Passage, Vocabulary
from dprkit.report.word_codes import WordCodes

if TYPE_CHECKING:
    import numpy as np

PASSAGES = 100
"""In a block."""
_LEARNED_FROM = 500
"""Blocks from which words get their codes."""


class Texts:
    """Passages, numbered in order of first appearance, whose texts fill blocks.

    Two texts of one id, of systems that search different corpora, are two passages. A hit without
    a text is a passage of its id that has one, if any came before.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._blocks = Blocks("t", PASSAGES, self._add)
        self._coded: tuple[Vocabulary, WordCodes] | None = None
        self._distinct = Distinct()
        self._waiting: list[tuple[str, np.ndarray]] = []
        """The first blocks, from which words get their numbers and codes."""
        self._numbers: dict[str, int] = {}
        """id -> number of the passage of that id that came last."""
        self._others: dict[tuple[str, int], int] = {}
        """id and hash of the text -> number, where an id has several texts."""
        self._hashes = array("q")
        self.with_text = 0

    def number(self, hit: Hit) -> int:
        """The number of the passage."""
        number = self._numbers.get(hit.id)
        if number is not None and not hit.text:
            return number
        known = hash((hit.title, hit.text)) if hit.text else 0
        if number is not None and self._hashes[number] == known:
            return number
        if number is not None:
            self._others[hit.id, self._hashes[number]] = number
            if (other := self._others.get((hit.id, known))) is not None:
                return other
        self._hashes.append(known)
        self.with_text += bool(hit.text)
        self._numbers[hit.id] = number = self._blocks.append((hit.id, hit.title, hit.text))
        return number

    def _add(self, id_: str, passages: list[Passage]) -> None:
        if self._coded:
            vocabulary, codes = self._coded
            self._spool.add(id_, codes.encode(vocabulary.read(passages)), compressed=True)
            return
        self._waiting.append((id_, self._distinct.numbers(passages)))
        if len(self._waiting) == _LEARNED_FROM:
            self._learn()

    def _learn(self) -> None:
        words = self._distinct.words
        ids, texts = [one for one, _ in self._waiting], [one for _, one in self._waiting]
        self._waiting, self._distinct = [], Distinct()
        vocabulary = Vocabulary(words, texts)
        table = vocabulary.table(words)
        for at, places in enumerate(texts):
            texts[at] = vocabulary.numbers(places, words, table)
        codes = WordCodes(vocabulary, texts)
        self._spool.add_json("words", codes.classes)
        self._spool.add("follow", codes.follow.tobytes())
        for id_, text in zip(ids, texts, strict=True):
            self._spool.add(id_, codes.encode(text), compressed=True)
        self._coded = vocabulary, codes

    def finish(self) -> dict[str, Any]:
        """How many passages there are, how many with a text, and how many blocks of them."""
        blocks = self._blocks.finish()
        if self._coded is None:
            self._learn()
        return {
            "count": self._blocks.count,
            "texts": self.with_text,
            "blocks": blocks,
            "words": True,
        }
