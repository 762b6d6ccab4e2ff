"""Texts that are the same to a reader, found quickly among many others."""

from __future__ import annotations

from collections.abc import Iterable

from dprkit.records import same_question


class TextSet:
    """Texts that are the same where only letter case and white space differ.

    Most are told apart by their first words; only where these are equal whole texts are compared.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._by_opening: dict[str, tuple[str, ...]] = {}
        for text in texts:
            self._put(text, opening(text))

    def add(self, text: str) -> bool:
        """Whether `text` is new; it is not from now on."""
        begins = opening(text)
        if self.has(text, begins):
            return False
        self._put(text, begins)
        return True

    def __contains__(self, text: str) -> bool:
        return self.has(text, opening(text))

    def has(self, text: str, begins: str) -> bool:
        """Whether it has `text`, whose opening is `begins`."""
        others = self._by_opening.get(begins)
        return others is not None and same_question(text) in map(same_question, others)

    def _put(self, text: str, begins: str) -> None:
        # Tuples of texts cost the garbage collector nothing; lists would.
        self._by_opening[begins] = (*self._by_opening.get(begins, ()), text)


def opening(text: str) -> str:
    """The first words of a text, at half a microsecond; "" where it has none."""
    return " ".join(text.split(None, 3)[:3]).casefold()
