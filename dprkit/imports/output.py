"""The files of an import, which grow batch by batch: what is written where, and what is not.

    passages.jsonl                    {"id", "title", "text"} a line
    questions.jsonl                   as data/questions.py writes them
    train.jsonl                       examples in DPR's form
    qrels.tsv                         judgements in BEIR's form

With splits, what is of the split `valid` is in valid.questions.jsonl, valid.jsonl, valid.qrels.tsv.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import msgspec

from dprkit.data.examples import context_of
from dprkit.data.questions import write_question
from dprkit.data.seen import NEW, SAME, Seen
from dprkit.imports.items import (
    Item,
    Judgement,
    Place,
    SplitExample,
    SplitQuestion,
    Tally,
    fault_of,
    shown,
)
from dprkit.imports.source_lines import SourceLines
from dprkit.imports.splits import Splits
from dprkit.records import Example, Passage, Question

BATCH, BATCH_BYTES = 4096, 4 << 20
PASSAGES, QRELS, QUESTIONS = "passages.jsonl", "qrels.tsv", "questions.jsonl"
QRELS_HEADER = b"query-id\tcorpus-id\tscore\n"


class Batch:
    """Items on their way into files, and what was there before them.

    Ids of passages, questions and judgements are held, 10 bytes each; nothing else grows.
    """

    def __init__(self, tally: Tally, splits: Splits | None = None) -> None:
        self.tally, self.splits = tally, splits
        self.written: dict[str, int] = {}
        """What was written of each sort."""
        self.lines: dict[str, SourceLines] = {}
        """Where the rows of each file of judgements stood in their sources."""
        self._items: list[tuple[Item, Place]] = []
        self._bytes = 0
        self.has_gold = False
        """Whether a question names gold passages."""
        self._seen = {Passage: Seen(), Question: Seen(), Judgement: Seen()}

    @property
    def full(self) -> bool:
        return len(self._items) >= BATCH or self._bytes >= BATCH_BYTES

    def add(self, item: Item, place: Place) -> None:
        """Take an item, or count it among the dropped where it cannot be written."""
        if fault := fault_of(item):
            self.tally.drop(fault, shown(place))
            return
        if self.splits and isinstance(item, Judgement) and item.split:
            item = item._replace(split="")  # its questions are shared out anew
        self._items.append((item, place))
        self._bytes += _length(item)

    def flush(self) -> dict[str, bytes]:
        """file -> what it grows by; the batch is empty then."""
        files: dict[str, io.BytesIO] = {}
        told = self._told_again()
        sets = self._sets(told)
        for (item, place), state, split in zip(self._items, told, sets, strict=True):
            if state != NEW:
                self.tally.drop(_again(item, state == SAME), shown(place))
                continue
            self.has_gold |= isinstance(item, Question) and bool(item.gold)
            if split is None:
                self.tally.drop("of no set of --split", shown(place))
                continue
            name, write = _target(item, split)
            write(item, files.setdefault(name, io.BytesIO()))
            if isinstance(item, Judgement):
                self.lines.setdefault(name, SourceLines()).add(place)
            sort = _SORTS[type(item)]
            self.written[sort] = self.written.get(sort, 0) + 1
        self._items, self._bytes = [], 0
        return {name: file.getvalue() for name, file in files.items()}

    def _told_again(self) -> list[int]:
        """Whether each item's id is new."""
        told = [NEW] * len(self._items)
        for kind, seen in self._seen.items():
            rows = [row for row, (item, _) in enumerate(self._items) if isinstance(item, kind)]
            found: list[Any] = [self._items[row][0] for row in rows]
            if rows:
                states = seen.add(
                    [_key(item) for item in found], [_content(item) for item in found]
                )
                for row, state in zip(rows, states, strict=True):
                    told[row] = state
        return told

    def _sets(self, told: list[int]) -> list[str | None]:
        """The set that each item is of; "" where there are no sets, None where it is of none."""
        sets: list[str | None] = [getattr(item, "split", "") for item, _ in self._items]
        if self.splits is None:
            return sets
        rows, shared = [], list[Question | Example]()
        for row, (item, _) in enumerate(self._items):
            if told[row] == NEW and isinstance(item, Question | Example) and not sets[row]:
                rows.append(row)
                shared.append(item)
        for row, name in zip(rows, self.splits.of(shared), strict=True):
            sets[row] = name
        return sets


def _target(item: Item, split: str) -> tuple[str, Callable[[Any, io.BytesIO], object]]:
    """The file that an item of a set goes to, and how it is written there."""
    if isinstance(item, Passage):
        return PASSAGES, _write_passage
    if isinstance(item, Judgement):
        return qrels_of(split), _write_judgement
    if isinstance(item, Example):
        return f"{split or 'train'}.jsonl", _write_example
    return f"{split}.{QUESTIONS}".removeprefix("."), _write_one_question


def qrels_of(split: str) -> str:
    """The file of the judgements of a split; "" is the one of a source without splits."""
    return f"{split}.{QRELS}".removeprefix(".")


_SORTS: dict[type, str] = {
    Passage: "passages",
    Question: "questions",
    SplitQuestion: "questions",
    Example: "examples",
    SplitExample: "examples",
    Judgement: "judgements",
}


def _again(item: Item, same: bool) -> str:
    """Why an item is left out whose id was there before."""
    if isinstance(item, Judgement):
        return "the same judgement again" if same else "another grade for a passage judged before"
    what = "passage" if isinstance(item, Passage) else "question"
    return f"the same {what} again" if same else f"the id of another {what}"


def _key(item: Passage | Question | Judgement) -> str:
    """What may be there once. Questions and judgements may be in several splits of their source."""
    if isinstance(item, Judgement):
        return f"{item.split}\n{item.question_id}\t{item.passage_id}"
    return f"{item.split}\n{item.id}" if isinstance(item, SplitQuestion) else item.id


def _content(item: Passage | Question | Judgement) -> str:
    if isinstance(item, Judgement):
        return str(item.grade)
    if isinstance(item, Passage):
        return f"{item.title}\n{item.text}"
    return "\n".join((item.question, *item.answers))


def _length(item: Item) -> int:
    if isinstance(item, Passage):
        return len(item.text)
    if isinstance(item, Example):
        groups = (item.positives, item.hard_negatives, item.negatives)
        return sum(len(passage.text) for group in groups for passage in group)
    return 0


# --- written --------------------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, gc=False):
    id: str
    title: str
    text: str


def passage_row(passage: Passage) -> bytes:
    """A passage as a row of passages.jsonl."""
    return _encode(_Line(passage.id, passage.title, passage.text)) + b"\n"


def _write_passage(passage: Passage, file: io.BytesIO) -> None:
    file.write(passage_row(passage))


def _write_judgement(judgement: Judgement, file: io.BytesIO) -> None:
    file.write("\t".join(map(str, judgement[:3])).encode() + b"\n")


def _write_one_question(question: Question, file: io.BytesIO) -> None:
    write_question(question, QUESTIONS, file)


def example_line(example: Example) -> bytes:
    """An example as a row of train.jsonl."""
    row = {
        "question": example.question,
        "answers": example.answers,
        "positive_ctxs": [context_of(p) for p in example.positives],
        "negative_ctxs": [context_of(p) for p in example.negatives],
        "hard_negative_ctxs": [context_of(p) for p in example.hard_negatives],
    }
    return _encode(row) + b"\n"


def _write_example(example: Example, file: io.BytesIO) -> None:
    file.write(example_line(example))
