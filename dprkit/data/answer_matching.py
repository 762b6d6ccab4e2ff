"""Answer matching: whether a passage holds an answer, as DPR decides it for answer recall.

String matching is that of DPR (Karpukhin et al. 2020, which took the tokenizer from DrQA): text and
answer are decomposed (Unicode NFD) and cut into tokens, a token being a run of letters, digits and
marks or else one character that is neither a separator nor a control character; each token is
lower-cased; the answer is there if its tokens stand in the text one after the other. So "10" is not
in "2010", "cafe" is not in "café", and "u.s." is in "the U. S. Army".

What DPR decides by tokenizing every passage is decided here by looking for one word, in all
passages of a question at once:

    needle   the answer's longest plain token (ASCII letters and digits), or "" if it has none;
             where it does not stand alone in a passage the answer cannot, and most pairs end here
    rough    the passages one after the other as bytes, with "?" for all that is not ASCII, and in
             lower case: cheap to make, to search
    folded   a text decomposed, each token in lower case: what answers are compared with
    anchor   the answer's longest token; the tokens round it are read only where it stands in the
             folded text

A pair costs 1.2 microseconds for passages of 100 words and questions with an answer or two, 6 for
those with sixteen (TriviaQA's aliases). Nothing is remembered of passages.
"""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from itertools import accumulate, islice
from typing import Any, NamedTuple

import regex

from dprkit.data.kilt_matching import holds_plain, plain
from dprkit.errors import EmptyAnswer, SettingsError

# DPR adds IGNORECASE, UNICODE and MULTILINE, which change neither pattern for any character.
_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_TOKEN_BACKWARDS = regex.compile(r"(?r)[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_ASCII_TOKENS = re.compile(r"[0-9a-z]+|[!-/:-@\[-`{-~]").findall
"""The same for lower-case ASCII, in two thirds of the time."""
_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}\p{M}]")
_NOT_ASCII = regex.compile(r"[^\x00-\x7f]")
_PLAIN = frozenset(string.ascii_lowercase + string.digits)
_PLAIN_BYTES = frozenset(bytes([sign]) for sign in (string.ascii_letters + string.digits).encode())
_LOWER = ord("a") - ord("A")  # a bit that the small letters have, and the digits
_SHORT = 4096  # bytes; numpy begins to pay
_KELVIN = "\u212a"  # the only character outside ASCII that decomposes into an ASCII letter or digit


def has_answer(answers: Sequence[str], text: str, match: str = "string") -> bool:
    """Whether `text` holds any of `answers`; no answers, no match.

    `match` is "string" (whole tokens, see above), "regex" or "kilt" (kilt_matching.py). With
    "regex" each answer is a pattern of the `regex` module, decomposed (NFD), and searched in the
    decomposed text without regard to case, `^` and `$` standing for the ends of lines. An invalid
    pattern matches nothing, as in DPR, and so does an answer without anything that "kilt"
    compares; see `unmatchable`.

    Raises:
        EmptyAnswer: an answer has no token, and DPR would find it in every passage.
        SettingsError: `match` is none of the three.
    """
    ready = _ready(_as_key(answers), match)
    if isinstance(ready, dict):  # most pairs end here
        rough = text.replace(_KELVIN, "K").encode("ascii", "replace").lower()
        for needle in ready:
            if rough.find(needle) >= 0:
                break
        else:
            return False
    return Texts((text,)).flags(answers, match)[0]


def answer_flags(answers: Sequence[str], texts: Sequence[str], match: str = "string") -> list[bool]:
    """`has_answer` for each of `texts`, the passages of one question; raises what it raises."""
    return Texts(texts).flags(answers, match)


def answer_spans(answers: Sequence[str], text: str, match: str = "string") -> list[tuple[int, int]]:
    """Where `answers` stand in `text`, as `has_answer` finds them; raises what it raises.

    Start and end of each place in characters of `text`, ascending; places that overlap are one.
    There is at least one where `has_answer` is true, but for a pattern that matches no character.
    KILT finds an answer in a part of a word too: its places are whole words.
    """
    _ready(_as_key(answers), match)  # refuses what `has_answer` refuses
    if match == "kilt":
        return _merged(span for answer in answers for span in _plain_places(plain(answer), text))
    if match == "regex":
        decomposed = unicodedata.normalize("NFD", text)
        patterns = filter(None, map(pattern_of, answers))
        return _merged(
            _undecomposed([m.span() for p in patterns for m in p.finditer(decomposed)], text)
        )
    return _merged(answer_places(answers, text))


def answer_places(answers: Sequence[str], text: str) -> set[tuple[int, int]]:
    """As `answer_spans` of the match "string", each place by itself, also where they overlap."""
    _ready(_as_key(answers), "string")
    folded = _fold(text)
    tokens = (_TOKEN.findall(_fold(answer)) for answer in answers)
    return set(_undecomposed([span for own in tokens for span in _places(own, folded)], text))


def tokens_of(text: str) -> list[str]:
    """The tokens of a text as string matching compares them.

    A text holds an answer where the tokens of the answer are consecutive tokens of the text.
    """
    if text.isascii():
        return _ASCII_TOKENS(text.lower())
    tokens: list[str] = _TOKEN.findall(_fold(text))
    return tokens


def has_token(answer: str) -> bool:
    """Whether there is anything in `answer` to look for; `has_answer` refuses one without."""
    return _TOKEN.search(answer) is not None


def unmatchable(answers: Sequence[str], match: str) -> list[str]:
    """Those of `answers` that match nothing.

    With "regex" those that are no valid pattern, and with "kilt" those that are but articles and
    punctuation, which KILT finds in every passage.
    """
    if match == "regex":
        return [answer for answer in answers if pattern_of(answer) is None]
    return [answer for answer in answers if match == "kilt" and not plain(answer)]


def _as_key(answers: Sequence[str]) -> tuple[str, ...]:
    if isinstance(answers, str):  # a sequence of one-letter answers, which is never meant
        raise TypeError(f"answers must be a list of strings, not the string {answers!r}")
    return tuple(answers)


@lru_cache(maxsize=1024)
def _ready(answers: tuple[str, ...], match: str) -> dict[bytes, list[_Answer]] | partial[bool]:
    """The answers made ready: by their needles, or as a function of a passage's text."""
    if match not in ("string", "regex", "kilt"):
        raise SettingsError(f"match {match!r} is not known; choose string, regex or kilt")
    for answer in answers:
        if not has_token(answer):
            raise EmptyAnswer(answer)
    if match == "string":
        return _by_needle(answers)
    if match == "kilt":
        return partial(holds_plain, list(filter(None, map(plain, answers))))
    return partial(_fits, [pattern for pattern in map(pattern_of, answers) if pattern])


# String matching


class _Answer(NamedTuple):
    """An answer's tokens: its longest one, those before it (last to first), those after it."""

    before: list[str]
    anchor: str
    after: list[str]


def _by_needle(answers: Sequence[str]) -> dict[bytes, list[_Answer]]:
    """Answers by needle, as variants of one name ("Broncos", "Denver Broncos") often share it."""
    grouped: dict[bytes, list[_Answer]] = {}
    for answer in answers:
        tokens = _TOKEN.findall(_fold(answer))
        anchor = max(tokens, key=len)
        at = tokens.index(anchor)
        needle = max(filter(_PLAIN.issuperset, tokens), key=len, default="")
        parts = _Answer(tokens[:at][::-1], anchor, tokens[at + 1 :])
        grouped.setdefault(needle.encode(), []).append(parts)
    return grouped


class Texts:
    """The texts of passages, in which answers are looked for, those of one question or of many."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._folded: dict[int, str] = {}

    def flags(self, answers: Sequence[str], match: str = "string") -> list[bool]:
        """`has_answer` for each of the texts; raises what it raises."""
        ready = _ready(_as_key(answers), match)
        if not isinstance(ready, dict):
            return list(map(ready, self._texts))
        flags = [False] * len(self._texts)
        for needle, some in ready.items():
            for place in self._with_needle(needle) if needle else self._without_needle(some):
                flags[place] = flags[place] or self._holds(place, some)
        return flags

    def _with_needle(self, needle: bytes) -> Iterator[int]:
        """The places of the texts in which a needle stands alone."""
        lower, rough, size = self._lower, self._rough, len(needle)
        start = lower.find(needle)
        while start >= 0:
            before = rough[start - 1 : start] if start else b""
            if before in _PLAIN_BYTES or rough[start + size : start + size + 1] in _PLAIN_BYTES:
                start = lower.find(needle, start + 1)  # a part of a word
                continue
            place = bisect_right(self._ends, start)
            yield place
            start = lower.find(needle, self._ends[place])

    def _without_needle(self, answers: Sequence[_Answer]) -> list[int]:
        """The places of the texts that may hold such answers."""
        foreign = not any(answer.anchor.isascii() for answer in answers)
        return [i for i, text in enumerate(self._texts) if not (foreign and text.isascii())]

    def _holds(self, place: int, answers: Sequence[_Answer]) -> bool:
        if (folded := self._folded.get(place)) is None:
            folded = self._folded[place] = _fold(self._texts[place])
        return any(_stands_in(folded, answer) for answer in answers)

    @cached_property
    def _rough(self) -> bytes:
        return _rough(self._texts)

    @cached_property
    def _lower(self) -> bytes:
        return _lower(self._rough)

    @cached_property
    def _ends(self) -> list[int]:
        """Where the texts end in the rough copy, with the line ends behind them."""
        return list(accumulate([len(text) + 1 for text in self._texts]))


def _rough(texts: Sequence[str]) -> bytes:
    """`texts` in ASCII, a byte a character, a line end behind each."""
    if any([_KELVIN in text for text in texts]):
        texts = [text.replace(_KELVIN, "K") for text in texts]
    return b"\n".join([text.encode("ascii", "replace") for text in texts])


def _lower(rough: bytes) -> bytes:
    """Letters in lower case and digits as they are; other signs may become any other."""
    if len(rough) < _SHORT:
        return rough.lower()
    import numpy as np

    return (np.frombuffer(rough, np.uint8) | np.uint8(_LOWER)).tobytes()


def _stands_in(folded: str, answer: _Answer) -> bool:
    """Whether the answer's tokens are consecutive tokens of `folded`."""
    if not all([token in folded for token in (answer.anchor, *answer.before, *answer.after)]):
        return False
    return any(
        _reads(_TOKEN.finditer(folded, end), answer.after)
        and _reads(_TOKEN_BACKWARDS.finditer(folded, 0, start), answer.before)
        for start, end in _occurrences(answer.anchor, folded)
    )


def _occurrences(token: str, folded: str) -> Iterator[tuple[int, int]]:
    """Start and end of `token` in `folded`, wherever it is a token and not a part of one."""
    is_word = _is_word(token[0])
    start = folded.find(token)
    while start >= 0:
        end = start + len(token)
        if not is_word or not (
            _is_word(folded[start - 1 : start]) or _is_word(folded[end : end + 1])
        ):
            yield start, end
        start = folded.find(token, start + 1)


@lru_cache(maxsize=4096)
def _is_word(character: str) -> bool:
    """Whether `character` makes one token with others of its kind (no character: False)."""
    return _WORD_CHARACTER.match(character) is not None


def _reads(matches: Iterator[Any], tokens: list[str]) -> bool:
    """Whether the next matches are these tokens."""
    return [match[0] for match in islice(matches, len(tokens))] == tokens


def _fold(text: str) -> str:
    """`text` decomposed, each of its tokens in lower case."""
    text = unicodedata.normalize("NFD", text)
    if "Σ" in text:  # the one letter whose lower case (σ or ς) depends on where its token ends
        return str(_TOKEN.sub(lambda token: token[0].lower(), text))
    return text.lower()


# Regular expressions


@lru_cache(maxsize=1024)
def pattern_of(answer: str) -> Any | None:
    """`answer` compiled as "regex" mode searches it in decomposed text; None if it cannot be."""
    try:
        return regex.compile(
            unicodedata.normalize("NFD", answer), regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
        )
    except Exception:  # besides regex.error, a deeply nested pattern ends in RecursionError
        return None


def _fits(patterns: Sequence[Any], text: str) -> bool:
    text = unicodedata.normalize("NFD", text)
    return any(pattern.search(text) for pattern in patterns)


# Places


def _places(tokens: Sequence[str], folded: str) -> Iterator[tuple[int, int]]:
    """Start and end of the tokens wherever they are consecutive tokens of `folded`."""
    for start, end in _occurrences(tokens[0], folded):
        after = list(islice(_TOKEN.finditer(folded, end), len(tokens) - 1))
        if [token[0] for token in after] == tokens[1:]:
            yield start, after[-1].end() if after else end


def _plain_places(answer: str, text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the words of `text` that hold an answer, which is plain."""
    words = [(plain(word[0]), word.span()) for word in regex.finditer(r"\S+", text)]
    words = [(word, span) for word, span in words if word]
    found = " ".join(word for word, _ in words)
    ends = list(accumulate(len(word) + 1 for word, _ in words))  # with the space behind it
    start = found.find(answer) if answer else -1
    while start >= 0:
        first, last = (bisect_right(ends, at) for at in (start, start + len(answer) - 1))
        yield words[first][1][0], words[last][1][1]
        start = found.find(answer, start + 1)


def _undecomposed(spans: Iterable[tuple[int, int]], text: str) -> Iterator[tuple[int, int]]:
    """Spans of the decomposed text as spans of `text`: of a character they touch they have all."""
    longer: list[tuple[int, int, int]] = []
    """Of characters that have become several: where they begin in `text` and there, how many."""
    shift = 0
    for character in _NOT_ASCII.finditer(text):
        width = len(unicodedata.normalize("NFD", character[0]))
        if width != 1:
            longer.append((character.start(), character.start() + shift, width))
            shift += width - 1
    begins = [begin for _, begin, _ in longer]

    def place(offset: int, is_end: bool) -> int:
        at = bisect_right(begins, offset) - 1
        if at < 0:
            return offset
        character, begin, width = longer[at]
        inside = offset - begin
        if inside < width:
            return character + (is_end and inside > 0)
        return character + 1 + inside - width

    return ((place(start, False), place(end, True)) for start, end in spans)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, without empty ones; those that overlap are one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif start < end:
            merged.append((start, end))
    return merged
