"""What a foreign file is read as: passages, questions, examples, judgements; and what is left out.

A reader of a kind (imports/kinds.py) yields items in the order of its source and holds nothing that
grows with it. It tells a Tally what it leaves out and where that stands.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

import msgspec

from dprkit.records import Example, Passage, Question


class Judgement(NamedTuple):
    """How well a passage answers a question; above 0 it does.

    `split` names that of the judgement, of a source that has splits of its own.
    """

    question_id: str
    passage_id: str
    grade: int
    split: str = ""


class SplitQuestion(Question, frozen=True):
    """A question of a source that has splits of its own; `split` names that of the question."""

    split: str = ""


class SplitExample(Example, frozen=True):
    """An example of a source that has splits of its own; `split` names that of the example."""

    split: str = ""


Item: TypeAlias = Passage | Question | Example | Judgement


def in_split(item: Item, split: str) -> Item:
    """An item with the split that its source has it in, if that names one; passages have none.

    A question or an example that has a split already keeps it.
    """
    if not split or isinstance(item, SplitQuestion | SplitExample):
        return item
    if isinstance(item, Judgement):
        return item._replace(split=item.split or split)
    if isinstance(item, Question):
        return SplitQuestion(**msgspec.structs.asdict(item), split=split)
    if isinstance(item, Example):
        return SplitExample(**msgspec.structs.asdict(item), split=split)
    return item


Place: TypeAlias = tuple[object, object]
"""A file, and the line or byte or item in it; put together where a message needs it."""


def shown(place: Place) -> str:
    """A place as messages have it: path:line."""
    return f"{place[0]}:{place[1]}"


class Dropped(msgspec.Struct):
    """How many items were left out for one reason, and where the first of them stands."""

    count: int
    first: str


class Tally:
    """What is told about a source beside its items."""

    def __init__(self) -> None:
        self.dropped: dict[str, Dropped] = {}
        self.notes: list[str] = []
        self.understood: dict[str, str] = {}
        """source -> how it is read, in words: its kind, and what each column is taken for."""
        self.at: Place | None = None
        """The file and line (or byte) of the item that is yielded next, where a reader knows it:
        what is left out later, such as an id that was there before, is then named by it."""

    def drop(self, reason: str, where: str) -> None:
        """Count an item that is left out for `reason`; `where`: its place, as path:line."""
        known = self.dropped.setdefault(reason, Dropped(0, where))
        known.count += 1

    def note(self, sentence: str) -> None:
        """Tell something that the reader of the report has to know; the same sentence once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def understand(self, source: object, sentence: str) -> None:
        """Tell how `source` is read; --dry-run and the report show it."""
        self.understood[str(source)] = sentence

    def place(self, source: object, number: int) -> Place:
        """The place of the item at hand: what the reader told, else its number in the source."""
        return self.at or (source, f" item {number:,}")

    def where(self, source: object, number: int) -> str:
        """The same for a message."""
        return shown(self.place(source, number))


def fault_of(item: Item) -> str:
    """Why an item cannot be written, or `""`."""
    if isinstance(item, Passage):
        if "\n" in item.id or "\r" in item.id or not item.id:
            return "no id" if not item.id else "an id with a line break"
        return "" if item.text.strip() or item.title.strip() else "no text"
    if isinstance(item, Question):
        return "" if item.question.strip() else "no question"
    if isinstance(item, Example):
        if not item.question.strip():
            return "no question"
        return "" if any(p.text.strip() for p in item.positives) else "no positive"
    if not (item.question_id and item.passage_id):
        return "a judgement without an id"
    ids = item.question_id + item.passage_id
    return "a tab or line break in an id" if re.search(r"[\t\n\r]", ids) else ""
