"""import-data --split-passages: paragraphs -> texts of passages, by words, sentences or tokens.

A text is cut into units that stay whole (words or sentences), each with a weight; a passage is as
many units as weigh no more than the limit, and the next one begins with the last of them, as far as
--overlap goes. Paragraphs are a stream, so a text may be of any length.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from dprkit.errors import SettingsError
from dprkit.imports.counted_tokens import CountedTokens, Unit

WORDS = 100
"""Words of a passage where nothing else is asked for: those of DPR's."""
SENTENCES = 5
"""Sentences of a passage where no number is given, as in a paragraph."""
_FORM = re.compile(r"(words|tokens)=([1-9][0-9]*)|(sentences)(?:=([1-9][0-9]*))?")

Cut = Callable[[str, Iterable[str]], Iterator[str]]
"""A title and the paragraphs below it -> the texts of passages, white space made one space."""


def cut_by(how: str | None, overlap: int, tokenizer: str | None) -> Cut:
    """The way of cutting that --split-passages names, with --overlap and --tokenizer.

    Raises SettingsError for what is no way, and for an overlap that is as long as a passage.
    """
    form = _FORM.fullmatch(how or f"words={WORDS}")
    if not form:
        raise SettingsError(
            f"--split-passages: {how!r} is not valid: expected words=100, sentences, sentences=5 "
            "or tokens=256"
        )
    by, size = form[1] or form[3], int(form[2] or form[4] or SENTENCES)
    if overlap >= size:
        raise SettingsError(
            f"--overlap {overlap}: must be below the {size} {by} of a passage; give {size // 4}"
        )
    if (by == "tokens") != (tokenizer is not None):
        raise SettingsError(
            "--split-passages tokens=N counts by a model's tokenizer; give --tokenizer FOLDER"
            if by == "tokens"
            else "--tokenizer: counts for --split-passages tokens=N alone; leave it out"
        )
    if by == "tokens":
        return _by_tokens(size, overlap, str(tokenizer))
    units = _words if by == "words" else _sentences
    return lambda _, paragraphs: windows(_each(units, paragraphs), size, overlap)


def windows(units: Iterable[Unit], limit: int, overlap: int) -> Iterator[str]:
    """Passages of units in turn that weigh `limit` at most; a unit above it is alone in one.

    Each begins with as many of the units before as weigh `overlap` at most.
    """
    held: deque[Unit] = deque()
    total = 0
    for unit in units:
        weight = unit.weight if held else unit.alone
        if held and total + weight > limit:
            yield _joined(held)
            total = _shorten(held, total, min(overlap, limit - weight))
            weight = unit.weight if held else unit.alone
        held.append(unit)
        total += weight
    if held:
        yield _joined(held)


def _shorten(held: deque[Unit], total: int, limit: int) -> int:
    """Drop the first units until the rest weighs `limit` at most. Returns its weight."""
    while held and total > limit:
        total -= held.popleft().alone
        if held:
            total += held[0].alone - held[0].weight
    return total


def _joined(units: Iterable[Unit]) -> str:
    return "".join(unit.text for unit in units).lstrip()


def _each(units: Callable[[str], Iterator[Unit]], paragraphs: Iterable[str]) -> Iterator[Unit]:
    return (unit for paragraph in paragraphs for unit in units(paragraph))


# --- words ----------------------------------------------------------------------------------------

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han
)
_WITHOUT_SPACES = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(rf" ?(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")


def _words(text: str) -> Iterator[Unit]:
    return (Unit(word, 1, 1) for word in spaced_words(text))


def spaced_words(text: str) -> Iterator[str]:
    """The words, each with a space before it; where a script has no spaces, its characters."""
    if _WITHOUT_SPACES.search(text):
        return (match[0] for match in _WORD.finditer(" " + " ".join(text.split())))
    return (f" {word}" for word in text.split())


# --- sentences ------------------------------------------------------------------------------------

_SHORT = re.compile(
    "mrs?|ms|dr|prof|st|vs|cf|ca|approx|inc|ltd|co|corp|jr|sr|gen|col|lt|sgt|capt|rev|hon|eds?|jan"
    r"|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|e\.g|i\.e|al|bzw|z\.b|nr|(?:[^\W\d_]\.)*[^\W\d_]"
)
_BEFORE_NUMBERS = re.compile("nos?|figs?|eqs?|secs?|ch|vols?|pp?|art|tab")
_END = re.compile(
    r"[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[¿¡]*[^\W_a-z])"  # and what follows begins as a sentence does
    r"|[。！？]+[」』”’)\]）]*"
)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a paragraph, white space made one space.

    One ends with . ! ? before a capital or a digit, but not behind a usual abbreviation or an
    initial, and with the marks of Chinese and Japanese.
    """
    text, start = " ".join(text.split()), 0
    for match in _END.finditer(text):
        end = match.end()
        if match[0] == "." and _is_short(text, start, end):
            continue
        yield text[start:end].strip()
        start = end
    if rest := text[start:].strip():
        yield rest


def _is_short(text: str, start: int, end: int) -> bool:
    """Whether the full stop before `end` belongs to an abbreviation or an initial."""
    word = text[text.rfind(" ", start, end) + 1 : end - 1].lower().lstrip("([\"'“‘")
    if _BEFORE_NUMBERS.fullmatch(word):
        return text[end + 1 : end + 2].isdigit()
    return _SHORT.fullmatch(word) is not None


def _sentences(text: str) -> Iterator[Unit]:
    return (Unit(f" {sentence}", 1, 1) for sentence in sentences(text))


# --- tokens ---------------------------------------------------------------------------------------


def _by_tokens(limit: int, overlap: int, folder: str) -> Cut:
    tokens = CountedTokens(folder)
    room_of = lru_cache(1)(lambda title: tokens.room(title, limit))

    def cut(title: str, paragraphs: Iterable[str]) -> Iterator[str]:
        room = room_of(title)
        units = (u for p in paragraphs for w in spaced_words(p) for u in tokens.units(w, room))
        return windows(units, room, min(overlap, room - 1))

    return cut
