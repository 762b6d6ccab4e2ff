"""SQuAD's JSON, 1.1 and 2.0, and what has its form: articles with paragraphs and their questions.

{"version": ..., "data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question",
"answers": [{"text"}], "is_impossible"}]}]}]}        Rajpurkar et al. 2016, 2018

A paragraph becomes a passage, whose id says where it stands: dev-v1.1:3#12 is the 12th paragraph of
the third article of dev-v1.1.json. It is the gold passage of its questions. Memory is an article.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from dprkit.data.ids import first_id
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import has_list, head, rows_within
from dprkit.data.streams import STDIN, open_stream
from dprkit.errors import DprkitError
from dprkit.imports.items import Item, Tally
from dprkit.imports.names import stem
from dprkit.records import Passage, Question
from dprkit.settings import ImportSettings


class _Answer(msgspec.Struct, frozen=True):
    text: str


class _Asked(msgspec.Struct, frozen=True):
    question: str
    id: str | int | None = None
    answers: list[_Answer] = []
    is_impossible: bool = False


class _Paragraph(msgspec.Struct, frozen=True):
    context: str
    qas: list[_Asked] = []


class _Article(msgspec.Struct, frozen=True):
    paragraphs: list[_Paragraph]
    title: str = ""


_decode_article = decoder(_Article)
UNANSWERABLE = "unanswerable question"


def fits(path: Path) -> bool:
    """Whether it is an object with a list `data` of articles with paragraphs."""
    with suppress(DprkitError):
        if str(path) != STDIN:
            stream = open_stream(path)
            return has_list(stream, "data") and b'"paragraphs"' in head(stream)
    return False


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """Each paragraph, followed by its questions that have an answer."""
    for number, row in enumerate(rows_within(open_stream(path), "data"), start=1):
        article = _decode_article(row, path)
        tally.at = (path, row.where)
        for place, paragraph in enumerate(article.paragraphs, start=1):
            id_ = f"{stem(path)}:{number}#{place}"
            yield Passage(id_, paragraph.context, article.title)
            yield from _questions(paragraph, id_, tally)


def _questions(paragraph: _Paragraph, passage_id: str, tally: Tally) -> Iterator[Question]:
    for number, asked in enumerate(paragraph.qas, start=1):
        id_ = first_id(asked.id) or f"{passage_id}.{number}"
        answers = tuple(dict.fromkeys(answer.text for answer in asked.answers if answer.text))
        if asked.is_impossible or not answers:
            tally.drop(UNANSWERABLE, f"{tally.where(passage_id, number)} (question {id_})")
            continue
        yield Question(id_, asked.question, answers, (passage_id,))
