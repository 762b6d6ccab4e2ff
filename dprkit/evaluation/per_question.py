"""per_question.jsonl and .parquet: the figures of each question, for people and other programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import msgspec

from dprkit.data.json_decoding import json_lines
from dprkit.evaluation.judging import Figures

PER_QUESTION, PARQUET = "per_question.jsonl", "per_question.parquet"


def write_figures(figures: Iterable[Figures], file: BinaryIO) -> None:
    """Write a line for each question."""
    lines = json_lines(file)
    for one in figures:
        lines.write(one)


def write_parquet(figures: Sequence[Figures], file: Any) -> None:
    """Write a row for each question, with a column for each measure after those of its line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.string(),
        "question": pa.string(),
        "hits": pa.int64(),
        "answer_rank": pa.int64(),
        "gold_ranks": pa.list_(pa.int64()),
        "dataset": pa.string(),
        "tags": pa.list_(pa.string()),
        "missing": pa.bool_(),
        "ties": pa.int64(),
        "tied": pa.list_(pa.int64()),
    }
    rows = [msgspec.to_builtins(one) for one in figures]
    arrays = {
        name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.items()
    }
    for label in rows[0]["measures"]:
        arrays[label] = pa.array([row["measures"][label] for row in rows], pa.float64())
    pq.write_table(pa.table(arrays), pa.PythonFile(file, mode="w"))
