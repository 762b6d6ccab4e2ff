"""The form of BEIR: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.

BEIR's own readers take _id and text of a question; what else dprkit knows of it stands beside
them, where dprkit finds it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial

from dprkit.data.passages import read_passages
from dprkit.data.questions import named
from dprkit.errors import InputError, SettingsError
from dprkit.exports.judged import QRELS, Judged, all_questions, judged_of, judged_row, splits_of
from dprkit.exports.sources import DataFiles
from dprkit.exports.tables import Row, Table
from dprkit.records import Passage, Question


def beir_tables(files: DataFiles) -> list[Table]:
    """The tables of a folder of BEIR. Raises SettingsError where passages or questions lack."""
    if files.passages is None:
        raise SettingsError(
            "no passages, which BEIR's corpus is made of; name them with --passages "
            "(select-data --passages-out takes those of examples)"
        )
    if not splits_of(files):
        raise SettingsError("no questions for BEIR's queries; name them with --questions")
    return [
        Table("queries", "jsonl", {}, partial(all_questions, files), _query_row),
        Table("corpus", "jsonl", {}, partial(read_passages, files.passages), _corpus_row),
        *(
            Table(f"qrels/{split}", "tsv", QRELS, partial(judged_of, files, split), _qrels_row)
            for split in splits_of(files)
        ),
    ]


def _corpus_row(passage: Passage, _: Counter[str]) -> Iterable[Row]:
    yield {"_id": passage.id, "title": passage.title, "text": passage.text, "metadata": {}}


def _query_row(question: Question, _: Counter[str]) -> Iterable[Row]:
    row = named(question)
    id_, text, answers = row.pop("id"), row.pop("question"), row.pop("answers")
    more = {"answers": answers, "pages": question.pages}
    known = {name: value for name, value in more.items() if value}
    yield {"_id": id_, "text": text, "metadata": {}} | known | row


def _qrels_row(judged: Judged, dropped: Counter[str]) -> Iterable[Row]:
    for id_ in judged[:2]:
        if any(sign in id_ for sign in "\t\r\n"):
            raise InputError(f"the id {id_!r} has a tab or a line break, which BEIR's qrels cannot")
    return judged_row(judged, dropped)
