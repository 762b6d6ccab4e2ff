"""From a text to the words that are counted: the same rules for passages and for questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import msgspec

from dprkit.errors import SettingsError, nearest

NO_STEMMER = "none"


class Analyzer(msgspec.Struct, frozen=True, dict=True):
    """The rules, as an index keeps them.

    Words are what `pattern` finds in the lower-cased text; those in `stopwords` are dropped, the
    others are cut to their stem by the Snowball stemmer of a language (https://snowballstem.org).
    Not to be shared between threads: a stemmer is not.
    """

    stemmer: str
    stopwords: tuple[str, ...] = ()
    pattern: str = r"\b\w\w+\b"

    def words(self, text: str) -> list[str]:
        """The words of `text` as they stand there, with repetitions."""
        return self._split(text.lower())

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


def analyzer_for(stemmer: str) -> Analyzer:
    """The rules of a language: its stemmer, and its stop words where bm25s has some.

    Raises SettingsError for a language without a stemmer.
    """
    if stemmer == NO_STEMMER:
        return Analyzer(NO_STEMMER)
    import Stemmer
    from bm25s import stopwords

    if stemmer not in (known := Stemmer.algorithms()):
        raise SettingsError(
            f"--stemmer: no stemmer is called {stemmer!r}{nearest(stemmer, known)}; "
            f"there are {', '.join(known)} and {NO_STEMMER}"
        )
    name = "STOPWORDS_EN" if stemmer == "english" else f"STOPWORDS_{stemmer.upper()}"
    return Analyzer(stemmer, tuple(getattr(stopwords, name, ())))
