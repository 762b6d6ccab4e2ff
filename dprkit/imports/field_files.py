"""Files that dprkit reads everywhere: passages, questions, judgements and examples of the field.

    passages    DPR's psgs_w100.tsv, MS MARCO's collection.tsv, BEIR's corpus.jsonl
    questions   DPR's qa.csv, MS MARCO's queries.tsv, TREC's topics as tsv, NQ-open's jsonl, BEIR's
    qrels       TREC's and BEIR's judgements
    examples    DPR's training files

Two columns without a header, an id and a text, are passages or questions: the name of the file says
which, or else the length of the texts does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from msgspec.structs import replace

from dprkit.data import passages, questions
from dprkit.data.examples import parse_example
from dprkit.data.formats import read_records
from dprkit.data.json_rows import read_json_rows
from dprkit.data.qrels import cells_of, judgements
from dprkit.data.streams import Stream, open_stream
from dprkit.imports.items import Item, Judgement, Tally
from dprkit.imports.looking import first_lines, first_object
from dprkit.imports.names import stem
from dprkit.records import Example, Passage
from dprkit.settings import ImportSettings

_SHORT = 100
"""Letters that the middle one of some questions has at most, and of some passages does not."""
_QUESTIONS = re.compile(r"quer|question|topic|\bqas?\b", re.IGNORECASE)
_PASSAGES = re.compile(r"collection|corpus|passage|psgs|docs?\b|documents", re.IGNORECASE)
_ID = re.compile(r"\S*\d\S*")
_ANSWERS = ("[", "(")
"""How DPR's lists of answers begin."""
_OF_QUESTION = {
    "id",
    "_id",
    "question",
    "query",
    "text",
    "input",
    "answers",
    "answer",
    "passage_id",
    "passage_ids",
    "dataset",
    "tags",
    "pages",
    "metadata",
}
_OF_PASSAGE = {"id", "_id", "text", "title", "metadata"}
_HEADERS = ({"id", "text", "title"}, {"query-id", "corpus-id", "score"})
_GRADE = re.compile(r"[+-]?\d{1,2}(\.0*)?")


# --- what a file is -------------------------------------------------------------------------------


def is_examples(path: Path) -> bool:
    """Whether the first row is an example of DPR's."""
    return "positive_ctxs" in first_object(path)


def is_qrels(path: Path) -> bool:
    """Whether the first lines are judgements, with a header or without.

    Half of them do, so that a line that is broken is told by its place when it is read.
    """
    if {"query-id", "corpus-id"} <= first_object(path).keys():
        return True
    rows = [cells_of(line) for line in first_lines(path)]
    if rows and {cell.lower() for cell in rows[0]} == _HEADERS[1]:
        return True
    fitting = sum(map(_is_judgement, rows))
    return bool(rows) and _is_judgement(rows[0]) and 2 * fitting >= len(rows)


def _is_judgement(row: Sequence[str]) -> bool:
    if len(row) == 4 and not (row[1] in ("0", "Q0") or row[1].isdigit()):
        return False
    return len(row) in (3, 4) and bool(_GRADE.fullmatch(row[-1])) and " " not in row[0]


def is_passages(path: Path) -> bool:
    """Whether the first rows are an id and a text, with a title or without, and no question."""
    if row := first_object(path):
        own = {"text"} < row.keys() <= _OF_PASSAGE and row.keys() & {"id", "_id"}
        return bool(own) and ("title" in row or _is_long(path, [str(row["text"])]))
    rows = [line.split("\t") for line in first_lines(path)]
    if not rows:
        return False
    if {cell.lower() for cell in rows[0]} == _HEADERS[0]:
        return True
    if len(rows[0]) == 3:  # DPR's, without a header; a quoted text may span lines
        return bool(_ID.fullmatch(rows[0][0])) and " " in rows[0][1]
    return _is_id_and_text(rows) and _is_long(path, [row[1] for row in rows])


def is_questions(path: Path) -> bool:
    """Whether the first rows are questions in a form of their own: no table with named columns."""
    if row := first_object(path):
        asked = row.keys() & {"question", "query"} and row.keys() & {
            "id",
            "_id",
            "answer",
            "answers",
        }
        return row.keys() <= _OF_QUESTION and bool(asked or _is_of_beir(row, path))
    rows = [line.split("\t") for line in first_lines(path)]
    if _is_id_and_text(rows):
        return not _is_long(path, [row[1] for row in rows])
    return bool(rows) and all(len(row) == 2 and _lists_answers(row[1]) for row in rows)


def _is_of_beir(row: dict[str, Any], path: Path) -> bool:
    return "text" in row and "_id" in row and not _is_long(path, [str(row["text"])])


def _lists_answers(cell: str) -> bool:
    return cell.strip().strip('"').startswith(_ANSWERS)


def _is_id_and_text(rows: Sequence[Sequence[str]]) -> bool:
    return bool(rows) and all(
        len(row) == 2 and _ID.fullmatch(row[0].strip()) and not _lists_answers(row[1])
        for row in rows
    )


def _is_long(path: Path, texts: Sequence[str]) -> bool:
    """Whether texts are those of passages: by the file's name, or else by their lengths."""
    if bool(_QUESTIONS.search(path.name)) != bool(_PASSAGES.search(path.name)):
        return bool(_PASSAGES.search(path.name))
    return median(map(len, texts)) > _SHORT


# --- what is in it --------------------------------------------------------------------------------


def passage_items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The passages of a file."""
    return passages_of(open_stream(path), tally)


def passages_of(stream: Stream, tally: Tally) -> Iterator[Passage]:
    """The passages of a stream, in its order."""
    for place, passage in passages.placed_passages(stream):
        tally.at = (stream.path, place.where)
        yield passage


def question_items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The questions of a file. Where it has no ids, they are the file's name and their number."""
    prefix = "" if _has_ids(path) else f"{stem(path)}:"
    for number, question in enumerate(read_records(open_stream(path), questions.FORMATS)):
        tally.at = (path, f"question {number + 1}")
        yield replace(question, id=f"{prefix}{question.id}") if prefix else question


def _has_ids(path: Path) -> bool:
    if row := first_object(path):
        return bool(row.keys() & {"id", "_id"})
    rows = [line.split("\t") for line in first_lines(path)]
    return _is_id_and_text(rows) or not all(len(row) == 2 for row in rows)


def qrels_items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The judgements of a file."""
    return judgements_of(open_stream(path), tally)


def judgements_of(stream: Stream, tally: Tally) -> Iterator[Judgement]:
    """The judgements of a stream, in its order."""
    for question, passage, grade, where in judgements(stream):
        tally.at = (stream.path, where)
        yield Judgement(question, passage, grade)


def example_items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Example]:
    """The examples of a file of DPR's."""
    for row in read_json_rows(open_stream(path)):
        tally.at = (path, row.where)
        yield parse_example(row, path)
