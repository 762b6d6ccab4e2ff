"""The words of a text for BM25: the same rules for passages and for questions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, cached_property
from typing import NamedTuple

import msgspec

from dprkit.errors import SettingsError, nearest

NO_STEMMER = "none"
CURRENT = 2
"""The version of the rules that new indexes get."""
# Scripts that put no space between words, as the inside of a regular expression's class: letters
# and vowel signs, without digits and punctuation.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0ece\u0edc-\u0edf"  # Lao
    "\u1000-\u103f\u1050-\u108f\u109a-\u109d\ua9e0-\ua9ef\ua9fa-\ua9fe"  # Burmese
    "\uaa60-\uaa76\uaa7a-\uaa7f"  # Burmese of the Shan and others
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    "\u1950-\u1974\u1980-\u19c9\u1a20-\u1a7c"  # Tai Le, New Tai Lue, Tai Tham
    "\u1b00-\u1b4b\ua980-\ua9c0"  # Balinese, Javanese
    "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\uff66-\uff9f\U0001b000-\U0001b16f"  # narrow and old kana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3400-\u4dbf\u4e00-\u9fff"  # Han
    "\uf900-\ufaff\U00020000-\U0003ffff"  # more of Han
    "\ua000-\ua48c"  # Yi
)
OTHER_SCRIPTS = "\u0591-\u1fff\u2c00-\ufdff\uff66-\U0010ffff"
"""All but Latin, Greek, Cyrillic, Armenian and signs such as dashes and quotes."""


class Analyzer(msgspec.Struct, frozen=True, dict=True):
    """The rules, as an index keeps them.

    Words are what `pattern` finds in the lower-cased text; those in `stopwords` are dropped, the
    others are cut to their stem by the Snowball stemmer of a language (https://snowballstem.org).
    From version 2 on a word keeps its vowel signs (of Hindi, Tamil, pointed Hebrew ...), and a run
    of characters of an unspaced script is cut into its overlapping pairs, as Lucene's CJKAnalyzer
    does: 東京都 is 東京 and 京都. A character alone stays.
    Not to be shared between threads: a stemmer is not.
    """

    stemmer: str
    stopwords: tuple[str, ...] = ()
    pattern: str = r"\b\w\w+\b"
    version: int = 1

    def words(self, text: str) -> list[str]:
        """The words of `text` as they stand there, with repetitions."""
        text = text.lower()
        if self.version == 1 or text.isascii() or not _rules().special(text):
            return self._split(text)
        words = []
        for run, word in _rules().runs(text):
            if run:
                words += [run[n : n + 2] for n in range(max(len(run) - 1, 1))]
            elif len(word) > 1:
                words.append(word)
        return words

    def term(self, word: str) -> str | None:
        """What is counted for `word`; None for a stop word."""
        return None if word in self._dropped else self._stem(word)

    @cached_property
    def _split(self) -> Callable[[str], list[str]]:
        return re.compile(self.pattern).findall

    @cached_property
    def _dropped(self) -> frozenset[str]:
        return frozenset(self.stopwords)

    @cached_property
    def _stem(self) -> Callable[[str], str]:
        if self.stemmer == NO_STEMMER:
            return str
        import Stemmer

        stemmer: Callable[[str], str] = Stemmer.Stemmer(self.stemmer, 0).stemWord  # 0: no cache
        return stemmer


class _Rules(NamedTuple):
    """What version 2 asks of a text that is not ASCII."""

    special: Callable[[str], object]
    """Whether it may hold anything that version 1 would cut otherwise."""
    runs: Callable[[str], list[tuple[str, str]]]
    """Its (run of an unspaced script, "") and ("", other word), in their order."""


@cache
def _rules() -> _Rules:
    letter = rf"[^\W{UNSPACED}]"
    return _Rules(
        re.compile(f"[{OTHER_SCRIPTS}]").search,
        re.compile(f"([{UNSPACED}]+)|({letter}(?:{letter}|[{_signs()}])*)").findall,
    )


def _signs() -> str:
    """The vowel signs and other marks that are a part of words, as the inside of a class.

    Those of Latin, Greek and Cyrillic are not: there, words stay as version 1 and bm25s cut them.
    """
    mark, unspaced = re.compile(f"[{OTHER_SCRIPTS}]").match, re.compile(f"[{UNSPACED}]").match
    return "".join(
        letter
        for letter in map(chr, range(1 << 16))  # a class of more than these is searched slowly
        if mark(letter) and unicodedata.category(letter) in ("Mn", "Mc") and not unspaced(letter)
    )


def analyzer_for(stemmer: str, version: int = CURRENT) -> Analyzer:
    """The rules of a language: its stemmer, and its stop words where bm25s has some.

    `version`: that of an index that was begun by an earlier dprkit.

    Raises SettingsError for a language without a stemmer.
    """
    if stemmer == NO_STEMMER:
        return Analyzer(NO_STEMMER, version=version)
    import Stemmer
    from bm25s import stopwords

    if stemmer not in (stemmers := Stemmer.algorithms()):
        raise SettingsError(
            f"--stemmer: no stemmer is called {stemmer!r}{nearest(stemmer, stemmers)}; "
            f"there are {', '.join(stemmers)} and {NO_STEMMER}"
        )
    name = "STOPWORDS_EN" if stemmer == "english" else f"STOPWORDS_{stemmer.upper()}"
    return Analyzer(stemmer, tuple(getattr(stopwords, name, ())), version=version)
