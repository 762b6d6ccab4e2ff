"""import-data --split: which set an example is of, decided by a hash of what must not be parted.

So a set is the same whatever else is imported, one pass is enough, and a share is met as well as
chance allows: of 1,000 groups, 10 % are 100 give or take 19. A question whose rows are of several
titles or documents stays whole: its first row decides, and the others' articles are then parted.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, combinations
from typing import Literal

from dprkit.data.ids import text_key
from dprkit.data.seen import Seen
from dprkit.data.split_sizes import ADVICE, REST, check_split
from dprkit.errors import InputError, SettingsError
from dprkit.records import Example, Passage, Question, same_question

By = Literal["question", "title", "document"]
PLACE = "#"
"""In an id: what is before it names a document, what follows a place in it."""
_SETS = 256


class Splits:
    """The sets of --split. Memory: 8 bytes for each example, and for each positive of one.

    Where titles or documents decide, 10 bytes more for each question.
    """

    def __init__(self, shares: Mapping[str, int | str], by: By = "question", seed: int = 0) -> None:
        """`shares`: name of a set -> its share ("80%"), or "rest".

        Raises SettingsError for shares above 100 %, for numbers of rows, and for what is no name.
        """
        check_shares(shares)
        self.names = tuple(shares)
        self.counts = dict.fromkeys(shares, 0)
        """The examples of each set, as far as they were asked for."""
        self._by, self._seed, self._ends = by, seed, _ends(shares)
        self._groups = array("Q")
        """For each example the hash of its group."""
        self._met = array("Q")
        """For each positive the hash of its article, with the number of the set in the low byte."""
        self._questions = Seen()
        """The number of the set of each question, where its group does not tell it."""

    def of(self, items: Sequence[Example | Question]) -> list[str | None]:
        """The set that each item is of; None: of none, where the shares leave some out.

        The first gold passage of a question names its document.
        """
        numbers = [self._drawn(_group(item, self._by)) for item in items]
        if self._by != "question" and items:
            asked = [same_question(item.question) for item in items]
            numbers = self._questions.first(asked, numbers)
        names = [self.names[n] if n < len(self.names) else None for n in numbers]
        for item, number, name in zip(items, numbers, names, strict=True):
            if name:
                self.counts[name] += 1
                self._note_articles(item, number)
        return names

    def check(self) -> None:
        """Raise InputError for a set that stayed empty."""
        empty = [name for name, count in self.counts.items() if not count]
        if empty:
            count = self._count()
            groups = f" of {count:,} {self._by}{'s' * (count != 1)}"
            of = "" if self._by == "question" else groups
            raise InputError(
                f"--split: {len(self._groups):,} examples{of} are shared out, and "
                f"{' and '.join(empty)} got none; give a larger share or another --seed"
            )

    def _count(self) -> int:
        """How many groups there are."""
        import numpy as np

        return len(np.unique(np.frombuffer(self._groups, np.uint64))) if self._groups else 0

    def notes(self) -> list[str]:
        """What to tell of articles whose examples are in several sets, for each two sets."""
        why = {
            "question": "articles (positives of one title, or of one id where there is no title); "
            "--split-by title keeps an article in one set",
            "title": "titles, by questions that have positives of several titles; a question stays "
            "in the set of its first positive",
            "document": "documents, by questions that have positives of several documents; a "
            "question stays in the set of its first positive",
        }
        shared = self._shared().items()
        return [f"{a} and {b} share {count:,} {why[self._by]}" for (a, b), count in shared]

    def _drawn(self, group: str) -> int:
        """The number of the set that a group is of, or how many sets there are: of none."""
        key = text_key(f"{self._seed} {group}")
        self._groups.append(key)
        return next((n for n, end in enumerate(self._ends) if key / 2**64 < end), len(self._ends))

    def _note_articles(self, item: Example | Question, number: int) -> None:
        positives = item.positives if isinstance(item, Example) else ()
        for article in {_article(passage, self._by) for passage in positives} - {""}:
            self._met.append(text_key(article) // _SETS * _SETS + number)

    def _shared(self) -> Mapping[tuple[str, str], int]:
        """For each two sets that share some, how many articles are in both."""
        found: Counter[tuple[str, str]] = Counter()
        for numbers in self._sets_of_articles():
            found.update(combinations([self.names[n] for n in numbers], 2))
        return found

    def _sets_of_articles(self) -> Iterator[list[int]]:
        """For each article of several sets the numbers of these."""
        import numpy as np

        keys = np.unique(np.frombuffer(self._met, np.uint64)) if self._met else np.empty(0, "<u8")
        _, starts, sets = np.unique(keys // _SETS, return_index=True, return_counts=True)
        for start, count in zip(starts[sets > 1], sets[sets > 1], strict=True):
            yield [int(key) % _SETS for key in keys[start : start + count]]


def _group(item: Example | Question, by: By) -> str:
    """What the set depends on; the question where there is no positive to name the group."""
    gold = item.gold if isinstance(item, Question) else ()
    positives = item.positives if isinstance(item, Example) else [Passage(id_, "") for id_ in gold]
    first = positives[0] if positives else None
    if by == "title" and first and first.title.strip():
        return f"title {same_question(first.title)}"
    if by != "question" and first and first.id:
        return f"document {document_of(first.id)}"
    return f"question {same_question(item.question)}"


def _article(passage: Passage, by: By) -> str:
    """The title or the document of a passage, whose others are best in the same set; or ""."""
    title = same_question(passage.title) if by != "document" else ""
    return title or document_of(passage.id)


def document_of(id_: str) -> str:
    """The document of a passage: its id without the place that `texts` and others put behind #."""
    return id_.partition(PLACE)[0] or id_


def check_shares(shares: Mapping[str, int | str]) -> None:
    """Raise SettingsError for what cannot be the sets of an import."""
    check_split(shares)
    if len(shares) >= _SETS:
        raise SettingsError(f"--split: {len(shares)} sets are too many; give fewer than {_SETS}")
    for name, share in shares.items():
        if isinstance(share, int):
            raise SettingsError(
                f"--split: {name}={share} is a number of rows, and an import does not know how "
                f"many there are before it ends; {ADVICE}"
            )
        if not re.fullmatch(r"[\w-]+", name):
            raise SettingsError(
                f"--split: {name!r} is not valid: it becomes the file {name}.jsonl; "
                "use letters, digits, _ and - only"
            )
    if empty := [name for name, share in _parts(shares).items() if share <= 0]:
        raise SettingsError(f"--split: nothing is left for {' and '.join(empty)}; {ADVICE}")


def _parts(shares: Mapping[str, int | str]) -> dict[str, float]:
    """The part of the whole, from 0 to 1, that each set is to have."""
    named = {n: float(str(s).rstrip("%")) / 100 for n, s in shares.items() if s != REST}
    rest = round(1 - sum(named.values()), 9)
    return {name: named.get(name, rest) for name in shares}


def _ends(shares: Mapping[str, int | str]) -> list[float]:
    """The place from 0 to 1 where each set ends, in order."""
    return [1.0 if end > 1 - 1e-9 else end for end in accumulate(_parts(shares).values())]
