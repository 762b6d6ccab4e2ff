"""JSON rows of foreign files -> the structs that say how these files spell things."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import jsonlines
import msgspec

from dprkit.data.streams import Row, decode
from dprkit.errors import FormatError

DPR_WIKI_PREFIX = "wiki:"
T = TypeVar("T")


_LOOKS = {
    "positive_ctxs": "a training example (select-data --passages-out makes a corpus of them)",
    "ctxs": "a ranking, as search writes it",
    "question": "a question",
    "text": "a passage",
}


def decoder(kind: type[T]) -> Callable[[Row, Path | str], T]:
    """A function that decodes a JSON row into `kind`, or raises a FormatError with its place."""
    decode_row = msgspec.json.Decoder(kind).decode

    def checked(row: Row, path: Path | str) -> T:
        try:
            return decode_row(row.raw)
        except UnicodeDecodeError:
            decode(row.raw, path, row.where)
            raise
        except msgspec.ValidationError as error:
            raise FormatError(path, row.where, _plain(error) + _hint(error, row, kind)) from None
        except msgspec.DecodeError as error:
            decode(row.raw, path, row.where)  # a byte that is no UTF-8 explains more
            raise FormatError(path, row.where, f"not JSON: {error}") from None

    return checked


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's message in a user's words: `$.positive_ctxs[0].text: expected str, got int`."""
    text = str(error).replace("`", "")
    problem, _, place = text.partition(" - at ")
    problem = problem.replace("Object missing required field", "lacks the field")
    return f"{place + ': ' if place else ''}{problem[0].lower()}{problem[1:]}"


def _hint(error: msgspec.ValidationError, row: Row, kind: type[Any]) -> str:
    """What the row seems to be, where it is not of the `kind` that was wanted."""
    if "missing required field" not in str(error) or " - at " in str(error):
        return ""
    there = msgspec.json.decode(row.raw, type=dict[str, msgspec.Raw])
    wanted, key = (next((k for k in _LOOKS if k in names), "") for names in (dir(kind), there))
    return f"; it looks like {_LOOKS[key]}" if key and key != wanted else ""


def content_id(title: str, text: str) -> str:
    """The id of a passage whose file gives it none: a hash of its title and text."""
    return hashlib.blake2b(f"{title}\n{text}".encode(), digest_size=8).hexdigest()


def text_key(text: str) -> int:
    """A number from 0 to 2^64 - 1 that stands for `text`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def first_id(*candidates: str | int | None) -> str | None:
    return next((str(found) for found in candidates if found is not None), None)


def json_lines(file: BinaryIO) -> jsonlines.Writer:
    """A writer of one JSON object a line."""
    return jsonlines.Writer(file, dumps=msgspec.json.encode)
