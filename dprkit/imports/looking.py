"""The beginning of a file, by which its kind is told. Standard input is never looked at."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from dprkit.data.formats import is_json
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import STDIN, open_stream, read_text_lines
from dprkit.errors import DprkitError

LINES = 100
_decode = decoder(dict[str, Any])


def first_lines(path: Path, count: int = LINES) -> list[str]:
    """The first lines that are not blank; none of JSON, a folder, and what is no text."""
    with suppress(DprkitError):
        if str(path) != STDIN and not is_json(stream := open_stream(path)):
            return [line for _, line in islice(read_text_lines(stream), count)]
    return []


def first_object(path: Path) -> dict[str, Any]:
    """The first row of a JSON file; empty where there is none, or not of a row's own."""
    with suppress(DprkitError):
        if str(path) != STDIN and is_json(stream := open_stream(path)):
            for row in read_json_rows(stream):
                return _decode(row, path)
    return {}
