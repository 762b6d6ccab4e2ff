"""Tables written so that a run that was stopped is gone on with: text grows, parquet has parts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from dprkit.exports.tables import Kind, Row, Table
from dprkit.store.atomic_files import sync
from dprkit.store.drafts import Draft

GROWING = "growing"
SAVED_EVERY = 5.0
"""Seconds of work that a killed run loses at most, of text."""
BLOCK = 1 << 20
"""Bytes of text that are written at once."""
GROUP = 32 << 20
"""Bytes of a row group of parquet, before it is packed, about."""
PART = 256 << 20
"""Bytes of a file of parquet, before it is packed, about."""


class Done(msgspec.Struct):
    """How far an export is: the tables that are whole, and the table that is being written."""

    whole: list[str] = []
    records: int = 0
    bytes: int = 0
    parts: int = 0
    rows: dict[str, int] = {}
    """Of each table."""
    dropped: dict[str, int] = {}


def write_tables(work: Draft, tables: list[Table]) -> Done:
    """Write each table, from where an earlier run stopped."""
    done = msgspec.convert(work.state.get("export", {}), Done)
    for table in tables:
        if table.name in done.whole:
            continue
        done.rows.setdefault(table.name, 0)
        work.run.progress.start(f"writing {table.name}", None, "rows", done.rows[table.name])
        (_write_parts if table.form == "parquet" else _grow)(work, table, done)
        if not (done.rows[table.name] or table.needed):
            _take_back(work, table)
        work.run.progress.finish()
        done.whole.append(table.name)
        done.records = done.bytes = done.parts = 0
        _save(work, done)
    return done


def _save(work: Draft, done: Done) -> None:
    work.state["export"] = msgspec.to_builtins(done)
    work.save()


def _take_back(work: Draft, table: Table) -> None:
    """Remove the file of a table without rows."""
    part = "-00000" if table.form == "parquet" else ""
    work.remove(f"{table.name}{part}.{table.form}")


# --- text -----------------------------------------------------------------------------------------


def _grow(work: Draft, table: Table, done: Done) -> None:
    """A file of lines, which grows block by block."""
    name = f"{table.name}.{table.form}"
    work.rewind(GROWING, done.bytes, name)
    line = _tsv_line if table.form == "tsv" else _json_line
    block = bytearray()
    if table.form == "tsv" and not done.bytes:
        block += _tsv_line({name: name for name in table.columns})
    saved = time.monotonic()
    for rows in _left(work, table, done):
        for row in rows:
            block += line(row)
        if len(block) >= BLOCK:
            done.bytes += work.append(GROWING, bytes(block))
            block.clear()
            if time.monotonic() - saved >= SAVED_EVERY:
                sync(work.directory / GROWING)  # on the disk before it counts
                _save(work, done)
                saved = time.monotonic()
    done.bytes += work.append(GROWING, bytes(block))
    (work.directory / name).parent.mkdir(exist_ok=True)
    work.move_in(name, work.directory / GROWING)


def _left(work: Draft, table: Table, done: Done) -> Iterator[list[Row]]:
    """The rows of each record that is left; `done` counts a record with its rows."""
    dropped = Counter(done.dropped)
    for record in islice(table.records(), done.records, None):
        rows = list(table.rows(record, dropped))
        done.records += 1
        done.rows[table.name] += len(rows)
        done.dropped = dropped
        yield rows
        work.run.progress.advance(len(rows))


def _json_line(row: Row) -> bytes:
    return msgspec.json.encode(row) + b"\n"


def _tsv_line(row: Row) -> bytes:
    return "\t".join(map(str, row.values())).encode() + b"\n"


# --- parquet --------------------------------------------------------------------------------------


def _write_parts(work: Draft, table: Table, done: Done) -> None:
    """Files of PART bytes each; one at least, which may be empty."""
    from pyarrow import parquet

    schema = _schema(table.columns)
    left = _left(work, table, done)
    more = True
    while more:
        with (
            work.file(f"{table.name}-{done.parts:05d}.parquet") as file,
            parquet.ParquetWriter(_sink(file), schema, compression="zstd") as writer,
        ):
            more = _fill(writer, left, schema)
        done.parts += 1
        if more:  # else it counts together with the table, which is whole
            _save(work, done)


def _sink(file: Any) -> Any:
    import pyarrow

    return pyarrow.PythonFile(file, mode="w")


def _fill(writer: Any, left: Iterator[list[Row]], schema: Any) -> bool:
    """Write row groups of GROUP bytes up to PART bytes; whether there may be more."""
    import pyarrow

    size, group, rows = 0, 0, list[Row]()
    for of_record in left:
        rows += of_record
        added = sum(len(msgspec.json.encode(row)) for row in of_record)
        size, group = size + added, group + added
        if group >= GROUP:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows, group = [], 0
        if size >= PART:
            break
    writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    return size >= PART


def _schema(columns: Mapping[str, Kind]) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    context = {"passage_id": text, "title": text, "text": text}
    scores = {"score": number, "teacher_score": number}
    kinds = {
        "text": text,
        "texts": pa.list_(text),
        "sets": pa.list_(pa.list_(text)),
        "number": pa.int64(),
        "passages": pa.list_(pa.struct([*(context | scores).items()])),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
