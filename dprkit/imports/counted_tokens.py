"""Units of a text, and words that weigh as many tokens as a model's tokenizer makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dprkit.errors import InputError, loading

FILE = "tokenizer.json"
_PLACES = ("", "passage_encoder", "question_encoder", "0_Transformer")
"""Where a model's folder has its tokenizer: a Hugging Face model, a retriever of dprkit."""
KNOWN = 1 << 16
"""Words whose tokens are remembered."""
BEFORE = "a"
"""A word before the one that is counted: some tokenizers add a space to what begins with one."""
LEFT = 2
"""A title leaves at least 1 of so many parts of a passage to the text."""


class Unit(NamedTuple):
    """A piece of a text that is in a passage as a whole, with the space before it."""

    text: str
    weight: int
    alone: int
    """Its weight at the beginning of a passage, where no space is before it."""


class CountedTokens:
    """The tokenizer of a model's folder, which counts words one by one.

    Tokenizers part a text at its spaces first, so a text has the tokens of its words.
    """

    def __init__(self, folder: Path | str) -> None:
        """Raises InputError where no tokenizer.json is there."""
        self._tokenizer = _tokenizer(Path(folder))
        self._weights = lru_cache(KNOWN)(self._weighed)

    def count(self, text: str) -> int:
        """The tokens of a text by itself, special ones left out."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return len(ids)

    def room(self, title: str, limit: int) -> int:
        """The tokens left for the text where a passage with its title is to have `limit`.

        The special tokens of a pair of title and text count too. A long title takes half at most.
        """
        special: int = self._tokenizer.num_special_tokens_to_add(bool(title))
        return max(limit - self.count(title) - special, (limit - special) // LEFT, 1)

    def units(self, word: str, room: int) -> Iterator[Unit]:
        """A word with the space before it; in pieces where it has more tokens than `room`."""
        unit = self._weights(word)
        if max(unit.weight, unit.alone) <= room or len(word) < LEFT:
            yield unit
            return
        half = len(word) // 2
        yield from self.units(word[:half], room)
        yield from self.units(word[half:], room)

    def _weighed(self, word: str) -> Unit:
        alone = self.count(word.lstrip())
        if not word.startswith(" "):  # a piece of a word
            return Unit(word, alone, alone)
        return Unit(word, self.count(f"{BEFORE}{word}") - self.count(BEFORE), alone)


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    found = (folder / place / FILE for place in _PLACES)
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise InputError(f"{folder}: no {FILE} there; --tokenizer takes the folder of a model")
    with loading(path, f"its {FILE} is damaged"):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
