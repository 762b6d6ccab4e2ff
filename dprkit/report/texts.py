"""The passages of a report: numbered as they come up, their texts packed a hundred in a block.

Memory is some 250 bytes a passage, for its id and a hash of its text, and the first 60,000 texts
until their words have numbers.
"""

from __future__ import annotations

from array import array
from typing import Any

from dprkit.records import Hit
from dprkit.report.spool import Blocks, Spool
from dprkit.report.words import Words

PASSAGES = 100
"""In a block."""
_LEARNED_FROM = 600
"""Blocks from which words get their numbers."""
Row = tuple[str, str, str]
"""Id, title and text of a passage."""


class Texts:
    """Passages, numbered in order of first appearance, whose texts fill blocks.

    Two texts of one id, of systems that search different corpora, are two passages. A hit without
    a text is a passage of its id that has one, if any came before.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._blocks = Blocks("t", PASSAGES, self._add)
        self._words: Words | None = None
        self._waiting: list[tuple[str, list[Row]]] = []
        """The first blocks, from which words get their numbers."""
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

    def _add(self, id_: str, passages: list[Row]) -> None:
        if self._words:
            self._spool.add(id_, self._words.encode(passages))
            return
        self._waiting.append((id_, passages))
        if len(self._waiting) == _LEARNED_FROM:
            self._learn()

    def _learn(self) -> None:
        texts = (text for _, passages in self._waiting for row in passages for text in row[1:])
        self._words = Words(texts)
        self._spool.add_json("words", self._words.words)
        for id_, passages in self._waiting:
            self._spool.add(id_, self._words.encode(passages))
        self._waiting = []

    def finish(self) -> dict[str, Any]:
        """How many passages there are, how many with a text, and how many blocks of them."""
        blocks = self._blocks.finish()
        if self._words is None:
            self._learn()
        return {
            "count": self._blocks.count,
            "texts": self.with_text,
            "blocks": blocks,
            "words": True,
        }
