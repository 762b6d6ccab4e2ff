"""Answer matching: whether a passage holds an answer, as DPR decides it for answer recall.

String matching is that of DPR (Karpukhin et al. 2020, which took the tokenizer from DrQA): text and
answer are decomposed (Unicode NFD) and cut into tokens, a token being a run of letters, digits and
marks or else one character that is neither a separator nor a control character; each token is
lower-cased; the answer is there if its tokens stand in the text one after the other. So "10" is not
in "2010", "cafe" is not in "café", and "u.s." is in "the U. S. Army".

What DPR decides by tokenizing every passage is decided here by looking for one word:

    needle   the answer's longest plain token (ASCII letters and digits), or "" if it has none;
             a passage whose rough copy lacks it cannot match, and most pairs end here
    rough    the text in lower case with "?" for all that is not ASCII: cheap to make, to search
    folded   the text decomposed, each token in lower case: what answers are compared with
    anchor   the answer's longest token; the tokens round it are read only where it stands in the
             folded text

A pair costs 0.6 to 3 microseconds for passages of 100 words: least where passages come up again
and again, since the copies of 8 million characters of passages and the words of 4,000 passages are
remembered (together 80 MB for English, 190 MB at worst). It costs up to 15 where an answer of usual
words ("in the") must be read in many places, or where it has no plain token ("Москва") and the
passage was not seen before.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any, NamedTuple

import regex

from dprkit.data.kilt_matching import holds_plain, plain
from dprkit.errors import EmptyAnswer, SettingsError

# DPR adds IGNORECASE, UNICODE and MULTILINE, which change neither pattern for any character.
_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_TOKEN_BACKWARDS = regex.compile(r"(?r)[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}\p{M}]")
_PLAIN = frozenset(string.ascii_lowercase + string.digits)
_KELVIN = "\u212a"  # the only character outside ASCII that decomposes into an ASCII letter or digit
_NO_PUNCTUATION = "".join(sign if sign in _PLAIN else " " for sign in map(chr, range(128)))
_WORDS_REMEMBERED = 4_000  # passages; some 15 kB each
_REMEMBERED = 8_000_000  # characters of passages, some 10,000 passages of 100 words


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
    return _matcher(_as_key(answers), match)(text)


def answer_flags(answers: Sequence[str], texts: Sequence[str], match: str = "string") -> list[bool]:
    """`has_answer` for each of `texts`, the passages of one question; raises what it raises."""
    matcher = _matcher(_as_key(answers), match)
    if match != "string":
        return list(map(matcher, texts))
    # Most pairs end here, in one look at the words of a passage that came up before.
    lacks_needles, words_of = matcher.args[0].keys().isdisjoint, _words_of.get
    return [
        not ((words := words_of(text)) and lacks_needles(words)) and matcher(text) for text in texts
    ]


def has_token(answer: str) -> bool:
    """Whether there is anything in `answer` to look for; `has_answer` refuses one without."""
    return _TOKEN.search(answer) is not None


def unmatchable(answers: Sequence[str], match: str) -> list[str]:
    """Those of `answers` that match nothing.

    With "regex" those that are no valid pattern, and with "kilt" those that are but articles and
    punctuation, which KILT finds in every passage.
    """
    if match == "regex":
        return [answer for answer in answers if _pattern(answer) is None]
    return [answer for answer in answers if match == "kilt" and not plain(answer)]


def _as_key(answers: Sequence[str]) -> tuple[str, ...]:
    if isinstance(answers, str):  # a sequence of one-letter answers, which is never meant
        raise TypeError(f"answers must be a list of strings, not the string {answers!r}")
    return tuple(answers)


@lru_cache(maxsize=1024)
def _matcher(answers: tuple[str, ...], match: str) -> partial[bool]:
    """The answers made ready, as a function of a passage's text."""
    if match not in ("string", "regex", "kilt"):
        raise SettingsError(f"match {match!r} is not known; choose string, regex or kilt")
    for answer in answers:
        if not has_token(answer):
            raise EmptyAnswer(answer)
    if match == "string":
        return partial(_holds, _by_needle(answers))
    if match == "kilt":
        return partial(holds_plain, list(filter(None, map(plain, answers))))
    return partial(_fits, [pattern for pattern in map(_pattern, answers) if pattern])


# String matching


class _Answer(NamedTuple):
    """An answer's tokens: its longest one, those before it (last to first), those after it."""

    before: list[str]
    anchor: str
    after: list[str]


def _by_needle(answers: Sequence[str]) -> dict[str, list[_Answer]]:
    """Answers by needle, as variants of one name ("Broncos", "Denver Broncos") often share it."""
    grouped: dict[str, list[_Answer]] = {}
    for answer in answers:
        tokens = _TOKEN.findall(_fold(answer))
        anchor = max(tokens, key=len)
        at = tokens.index(anchor)
        needle = max(filter(_PLAIN.issuperset, tokens), key=len, default="")
        parts = _Answer(tokens[:at][::-1], anchor, tokens[at + 1 :])
        grouped.setdefault(needle, []).append(parts)
    return grouped


def _holds(by_needle: dict[str, list[_Answer]], text: str) -> bool:
    haystack = _words_of.get(text) or _haystack(text)
    for needle, answers in by_needle.items():
        if needle in haystack:
            folded = _rough[text] if text.isascii() else _folded[text]
            if any(_stands_in(folded, answer) for answer in answers):
                return True
    return False


def _haystack(text: str) -> str | set[str]:
    """Where to look for needles: in the rough copy, or in its words once a text comes up again.

    Cutting a text into words costs ten searches in it, and then a look-up is a tenth of one.
    """
    if text not in _rough or len(_words_of) == _WORDS_REMEMBERED:
        return _rough[text]
    words = _words_of[text] = set(_rough[text].translate(_NO_PUNCTUATION).split())
    words.add("")  # what an answer without a plain token is looked up by
    return words


def _stands_in(folded: str, answer: _Answer) -> bool:
    """Whether the answer's tokens are consecutive tokens of `folded`."""
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


def _roughen(text: str) -> str:
    """`text` in lower case with "?" for what is not ASCII: holds every plain token of its fold."""
    if not text.isascii():
        text = text.replace(_KELVIN, "K").encode("ascii", "replace").decode("ascii")
    return text.lower()


class _Copies(dict[str, str]):
    """A copy of each text, made when first asked for; all are forgotten when they are too many.

    Not an lru_cache, since that would count texts and not their lengths.
    """

    def __init__(self, make: Callable[[str], str]) -> None:
        self._make = make
        self._room = _REMEMBERED

    def __missing__(self, text: str) -> str:
        size = len(text) + 100  # bytes of a dict entry besides its characters
        if size > self._room:
            self.clear()
        self._room -= size
        copy = self[text] = self._make(text)
        return copy

    def clear(self) -> None:
        super().clear()
        _words_of.clear()
        self._room = _REMEMBERED


_words_of: dict[str, set[str]] = {}  # the first so many texts that come up twice


_rough = _Copies(_roughen)
_folded = _Copies(_fold)


# Regular expressions


@lru_cache(maxsize=1024)
def _pattern(answer: str) -> Any | None:
    """`answer` compiled; None if it cannot be."""
    try:
        return regex.compile(
            unicodedata.normalize("NFD", answer), regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
        )
    except Exception:  # besides regex.error, a deeply nested pattern ends in RecursionError
        return None


def _fits(patterns: Sequence[Any], text: str) -> bool:
    text = unicodedata.normalize("NFD", text)
    return any(pattern.search(text) for pattern in patterns)
