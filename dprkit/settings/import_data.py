"""Settings of import-data."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.data import Part
from dprkit.settings.fields import Count, Positive, about

KindName = Literal[
    "beir",
    "parquet",
    "squad",
    "kilt",
    "trec-topics",
    "examples",
    "rows",
    "triples",
    "qrels",
    "passages",
    "questions",
    "folder",
    "texts",
    "table",
]
"""The names of imports/kinds.py's table."""
Column = Literal[
    "id",
    "text",
    "title",
    "question",
    "question_id",
    "answers",
    "positive",
    "positive_id",
    "positive_title",
    "positive_score",
    "negative",
    "negative_id",
    "negative_score",
    "passages",
    "label",
    "score",
    "passage_id",
    "grade",
    "dataset",
    "tags",
    "pages",
]
"""What a column may hold (imports/columns.py)."""


class ImportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Read data of other tools and write dprkit's files.

    It writes passages.jsonl, questions.jsonl, train.jsonl and qrels.tsv, as far as the sources have
    something for them, tells how it understood the sources, and counts what it leaves out by
    reason. Of a source with splits each has its own: test.questions.jsonl, test.jsonl and
    test.qrels.tsv. Files may be compressed. --dry-run shows the first rows and writes nothing.

    Example: dprkit import-data pairs.csv --output-dir data
    Example: dprkit import-data faq.csv --columns question=Asked --output-dir data

    Settings:
        sources: Files and folders to read, one after another, as one import; OWNER/NAME is a data
            set of the Hugging Face hub.
        output_dir: Folder to write the files to.
        kind: What the sources are, for all of them or one after another (default: told by what is
            in them).
        columns: What the columns hold, where their names do not tell: what they hold, and the name
            of the column in the header or in the JSON rows, or its number, counted from 1, in a
            file without a header.
        min_grade: Grade from which a judged passage is a positive, in the examples that are made
            of questions, judgements and passages.
        subset: Subsets of a data set to read (Hugging Face's configs); without it all of them that
            belong together, or the default one.

    Sets:
        split: Write the examples and questions as several sets that share no question. The size
            of a set is a share, or the rest.
        split_by: What is never parted between two sets: a question, the passages of one title, or
            those of one document by their ids. A question with passages of several stays whole,
            with the first of them.
        seed: Seed of --split.

    Texts:
        split_passages: How long a passage is where texts are split: a number of words, of whole
            sentences (sentences stands for sentences=5), or of tokens of --tokenizer, with the
            title (default: words=100). A passage ends at a heading, too.
        overlap: Words, sentences or tokens at the end of a passage with which the next one begins.
        tokenizer: Folder of the model whose tokens count, for tokens=N.
    """

    sources: Annotated[tuple[str, ...], about(flag="argument", path=True)] = ()
    output_dir: Annotated[str | None, about(output=True)] = None
    kind: tuple[KindName, ...] = ()
    columns: Annotated[
        dict[Column, str | int] | None, about(metavar="question=query,positive=pos")
    ] = None
    min_grade: Count = 1
    subset: tuple[str, ...] = ()
    split: Annotated[
        dict[str, Positive | Part] | None, about(metavar="train=80%,valid=10%,test=rest")
    ] = None
    split_by: Literal["question", "title", "document"] = "question"
    seed: int = 0

    split_passages: Annotated[str | None, about(metavar="words=100|sentences|tokens=256")] = None
    overlap: Count = 0
    tokenizer: Annotated[str | None, about(path=True)] = None
