"""JSON rows decoded into structs, with errors that say in plain words what is wrong, and where."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import jsonlines
import msgspec

from dprkit.data.streams import RawRow, decode
from dprkit.errors import FormatError

T = TypeVar("T")


_LOOKS = {
    "positive_ctxs": "a training example (select-data --passages-out makes a corpus of them)",
    "ctxs": "a ranking, as search writes it",
    "question": "a question",
    "documents": "fused predictions of sentence-transformers, which have no ids and no scores",
    "text": "a passage",
    "data": "SQuAD's own file, whose form is another",
}


def decoder(kind: type[T]) -> Callable[[RawRow, Path | str], T]:
    """A function that decodes a JSON row into `kind`, or raises a FormatError with its place."""
    decode_row = msgspec.json.Decoder(kind).decode

    def checked(row: RawRow, path: Path | str) -> T:
        if not row.raw.isascii():
            decode(row.raw, path, row.where)  # msgspec passes over what it does not look for
        try:
            return decode_row(row.raw)
        except msgspec.ValidationError as error:
            raise FormatError(path, row.where, _plain(error) + _hint(error, row, kind)) from None
        except msgspec.DecodeError as error:
            raise FormatError(path, row.where, f"not JSON: {_broken(error, row)}") from None
        except RecursionError:
            raise FormatError(path, row.where, "JSON that is nested too deeply") from None

    return checked


_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "array": "a list",
    "object": "an object",
    "bool": "true or false",
    "null": "null",
}


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's message in plain words: `the field answers is text; it has to be a list`."""
    problem, _, place = str(error).replace("`", "").partition(" - at ")
    place = place.removeprefix("$").removeprefix(".").replace("[...]", "")
    if missing := re.fullmatch("Object missing required field (.*)", problem):
        return f"{place} lacks the field {missing[1]}".lstrip()
    if not (mismatch := re.fullmatch("Expected (.*), got (.*)", problem)):
        return f"{place}: {problem}".removeprefix(": ")
    wanted = " or ".join(dict.fromkeys(_WORDS.get(kind, kind) for kind in mismatch[1].split(" | ")))
    what = f"the field {place}" if place else "the row"
    return f"{what} is {_WORDS.get(mismatch[2], mismatch[2])}; it has to be {wanted}"


_NO_NUMBER = re.compile(rb"[:,\[]\s*(NaN|-?Infinity)\b")
"""What Python writes for floats that JSON has no word for."""


def _broken(error: msgspec.DecodeError, row: RawRow) -> str:
    if found := _NO_NUMBER.search(row.raw):
        return f"{found[1].decode()} stands for a number; write finite numbers"
    if "truncated" in str(error) and isinstance(row.where, int):
        return "the object does not end on its line; put each on one: jq -c . FILE > rows.jsonl"
    return str(error)


def _hint(error: msgspec.ValidationError, row: RawRow, kind: type[Any]) -> str:
    """What the row seems to be, where it is not of the `kind` that was wanted."""
    if "missing required field" not in str(error) or " - at " in str(error):
        return ""
    try:
        fields = msgspec.json.decode(row.raw, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:  # behind the object comes more
        return ""
    wanted, key = (next((k for k in _LOOKS if k in names), "") for names in (dir(kind), fields))
    return f"; it looks like {_LOOKS[key]}" if key and key != wanted else ""


def finite_score(score: float | str, row: RawRow, path: Path | str, place: str = "") -> float:
    """A score that a file has as a number or as a text; `place`, such as " at rank 3": for errors.

    Raises FormatError for a text that is no number, or not a finite one.
    """
    try:
        number = float(score)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(path, row.where, f"the score {score!r}{place} is not a finite number")
    return number


def json_lines(file: BinaryIO) -> jsonlines.Writer:
    """A writer of one JSON object a line."""
    return jsonlines.Writer(file, dumps=msgspec.json.encode)
