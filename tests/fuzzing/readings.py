"""What a file says, read by Python's own json and csv: the answer that dprkit's readers must equal.

Each reading raises (anything) for bytes that say nothing, and is lenient where in doubt: it is only
asked about files that dprkit took.
"""

from __future__ import annotations

import ast
import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import warnings
from typing import Any

csv.field_size_limit(1 << 30)
Row = tuple[Any, ...]


def text_of(data: bytes) -> str:
    """The text of a file, unpacked as often as it is packed once."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as file:
            data = file.read()
    elif data.startswith(b"BZh"):
        data = bz2.decompress(data)
    elif data.startswith(b"\xfd7zXZ"):
        data = lzma.decompress(data)
    return data.decode("utf-8-sig")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def json_rows(data: bytes) -> list[dict[str, Any]]:
    """The objects of a JSON array, or of lines."""
    text = text_of(data).strip(" \t\r\n")
    lines = [text] if text[:1] == "[" else [line for line in text.split("\n") if line.strip()]
    values = [json.loads(line, parse_constant=_refuse) for line in lines]
    rows = values[0] if text[:1] == "[" else values
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("not objects")
    return rows


def _first(row: dict[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not all(isinstance(one, str) for one in value):
        raise ValueError("not strings")
    return tuple(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value


def _passage(row: dict[str, Any]) -> Row:
    """(id, text, title); the id is None where the file has none."""
    found = _first(row, "passage_id", "psg_id", "id")
    return (
        str(found) if found not in (None, "") else None,
        _string(row["text"]),
        row.get("title") or "",
    )


def examples(data: bytes) -> list[Row]:
    """(question, answers, positives, hard negatives, negatives) of each row."""
    return [
        (
            _string(row["question"]),
            _strings(row.get("answers", [])),
            *(
                tuple(map(_passage, row.get(key, []) if key[0] != "p" else row[key]))
                for key in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
            ),
        )
        for row in json_rows(data)
    ]


def passages(data: bytes) -> list[list[Row]]:
    """(id, text, title) of each row, in each way that the file may be meant."""
    text = text_of(data)
    if text.lstrip()[:1] in ("{", "["):
        rows = json_rows(data)
        return [
            [(str(_first(r, "id", "_id")), _string(r["text"]), r.get("title") or "") for r in rows]
        ]
    return [_of_table(rows) for rows in _tables(text)]


def _tables(text: str) -> list[list[list[str]]]:
    """The cells of each row: by csv's quoting, and with quotes as signs like any other."""
    found = []
    for sign in "\t,;":
        with contextlib.suppress(csv.Error):
            found.append(_csv(text, sign))
        lines = text.replace("\r\n", "\n").split("\n")
        found.append([line.split(sign) for line in lines if line.strip()])
        with contextlib.suppress(csv.Error):
            found.append([row for line in lines for row in _csv(line, sign)])
    return found


def _csv(text: str, sign: str) -> list[list[str]]:
    rows = csv.reader(io.StringIO(text, newline="\n"), delimiter=sign, strict=True)
    return [row for row in rows if "".join(row).strip()]


def _of_table(rows: list[list[str]]) -> list[Row]:
    if rows and {"id", "text"} <= {cell.strip().lower() for cell in rows[0]}:
        names = [cell.strip().lower() for cell in rows[0]]
        named = [
            dict(zip(names, row, strict=True)) if len(row) == len(names) else {} for row in rows[1:]
        ]
        return [(row.get("id"), row.get("text"), row.get("title", "")) for row in named]
    return [(row[0], row[1] if row[1:] else None, row[2] if row[2:] else "") for row in rows]


def questions(data: bytes) -> list[list[Row]]:
    """(question, answers) of each row, in each way that the file may be meant."""
    text = text_of(data)
    if text.lstrip()[:1] in ("{", "["):
        return [[_question(row) for row in json_rows(data)]]
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    plain = [(line.strip(), ()) for line in lines]
    tables = [[_answered(row) for row in rows] for rows in _tables(text)]
    alone = [[(row[0], ()) for row in rows[1:]] for rows in _tables(text)]  # beside other columns
    return [plain, *tables, *[table[1:] for table in tables], *alone]


def _question(row: dict[str, Any]) -> Row:
    text = next(row[key] for key in ("question", "input", "text") if row.get(key))
    if row.get("answers") is not None:
        return text, _strings(row["answers"])
    if row.get("answer") is not None:
        return text, _strings(row["answer"])
    found = [one.get("answer") for one in row.get("output", [])]
    return text, tuple(one for one in found if isinstance(one, str))


def _answered(row: list[str]) -> Row:
    if len(row) == 1:
        return row[0].strip(), ()
    if len(row) != 2:
        return tuple(row)
    try:
        with warnings.catch_warnings(action="ignore"):
            return row[0], _strings(ast.literal_eval(row[1]))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return row[0], (row[1],)


def results(data: bytes) -> list[list[Row]]:
    """(question, ((id, score), ...)) of each ranking, in each way that the file may be meant."""
    text = text_of(data)
    if text.lstrip()[:1] not in ("{", "["):
        return [_run(text)]
    found = []
    try:
        found.append([_ranking(row["question"], row["ctxs"], "id") for row in json_rows(data)])
    except (ValueError, KeyError, TypeError):
        by_id = json.loads(text, parse_constant=_refuse)
        scores = [score for run in by_id.values() for score in run.values()]
        if all(isinstance(score, int | float) for score in scores):
            return [[("", _by_score(list(run.items()))) for run in by_id.values()]]
        found.append([_ranking(r["question"], r["contexts"], "docid") for r in by_id.values()])
    return found


def _ranking(question: str, hits: list[dict[str, Any]], key: str) -> Row:
    pairs = [
        (str(hit[key]).removeprefix("wiki:"), float(_first(hit, "score") or 0)) for hit in hits
    ]
    return _string(question), tuple(pairs)


def _run(text: str) -> list[Row]:
    """A TREC run as trec_eval reads it: by score as float32, then by passage, both falling."""
    found: dict[str, list[tuple[str, float]]] = {}
    for line in filter(str.strip, text.split("\n")):
        question, _, passage, _, score, _ = line.split()
        found.setdefault(question, []).append((passage, float(score)))
    return [(question, _by_score(hits)) for question, hits in found.items()]


def _by_score(hits: list[tuple[str, float]]) -> Row:
    import numpy as np

    return tuple(sorted(hits, key=lambda hit: (np.float32(hit[1]), hit[0]), reverse=True))
