"""All of dprkit's data as tables that Hugging Face's datasets loads, nothing of it lost.

The folder has a folder for each kind of record, with files of a split each, and a README.md whose
head says which files belong together (https://huggingface.co/docs/hub/datasets-manual-configuration).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.exports.judged import QRELS, judged_of, judged_row, questions_of, splits_of
from dprkit.exports.sources import DataFiles
from dprkit.exports.tables import Kind, Row, Table
from dprkit.records import Candidate, Example, Passage, Question

PASSAGES: Mapping[str, Kind] = {"id": "text", "title": "text", "text": "text"}
QUESTIONS: Mapping[str, Kind] = {
    "id": "text",
    "question": "text",
    "answers": "texts",
    "passage_ids": "texts",
    "dataset": "text",
    "tags": "texts",
    "pages": "sets",
}
EXAMPLES: Mapping[str, Kind] = {
    "question": "text",
    "answers": "texts",
    "positive_ctxs": "passages",
    "hard_negative_ctxs": "passages",
    "negative_ctxs": "passages",
}


def whole_tables(files: DataFiles) -> list[Table]:
    """A table for each kind of record and each split."""
    tables = []
    if files.passages:
        read = partial(read_passages, files.passages)
        tables.append(Table("corpus/corpus", "parquet", PASSAGES, read, _passage_row))
    for split in files.questions:
        read_split = partial(questions_of, files, split)
        tables.append(Table(f"queries/{split}", "parquet", QUESTIONS, read_split, _question_row))
    for split, path in files.examples.items():
        read_rows = partial(read_examples, path)
        tables.append(Table(f"examples/{split}", "parquet", EXAMPLES, read_rows, _example_row))
    for split in splits_of(files) if files.qrels else ():
        judged = partial(judged_of, files, split)
        tables.append(Table(f"qrels/{split}", "parquet", QRELS, judged, judged_row))
    return tables


def card(tables: list[Table]) -> str:
    """README.md, by which datasets finds the files of each kind of record."""
    configs: dict[str, list[str]] = {}
    for table in tables:
        config, _, split = table.name.partition("/")
        configs.setdefault(config, []).append(split)
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            name = re.sub(r"\W", "_", split)  # datasets takes no other signs there
            lines += [f"  - split: {name}", f"    path: {config}/{split}-*.parquet"]
    return "\n".join([*lines, "---", "", "Written by `dprkit export-data`.", ""])


def _passage_row(passage: Passage, _: Counter[str]) -> Iterable[Row]:
    yield {"id": passage.id, "title": passage.title, "text": passage.text}


def _question_row(question: Question, _: Counter[str]) -> Iterable[Row]:
    yield {
        "id": question.id,
        "question": question.question,
        "answers": question.answers,
        "passage_ids": question.gold,
        "dataset": question.dataset,
        "tags": question.tags,
        "pages": question.pages,
    }


def _example_row(example: Example, _: Counter[str]) -> Iterable[Row]:
    yield {
        "question": example.question,
        "answers": example.answers,
        "positive_ctxs": _contexts(example.positives),
        "hard_negative_ctxs": _contexts(example.hard_negatives),
        "negative_ctxs": _contexts(example.negatives),
    }


def _contexts(candidates: Iterable[Candidate]) -> list[Row]:
    return [
        {
            "passage_id": one.id,
            "title": one.title,
            "text": one.text,
            "score": one.score,
            "teacher_score": one.teacher_score,
        }
        for one in candidates
    ]
