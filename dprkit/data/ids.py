"""Files of ids, one a line."""

from __future__ import annotations

from pathlib import Path

from dprkit.data.streams import open_stream, read_text_lines
from dprkit.errors import FormatError


def read_ids(path: Path | str) -> set[str]:
    """The ids in a file. Raises FormatError for lines that hold more than an id."""
    ids = set()
    stream = open_stream(path)
    for number, line in read_text_lines(stream):
        if "\t" in line.strip():
            problem = "tab-separated columns; an id a line is needed: cut -f1 FILE > ids.txt"
            raise FormatError(path, number, problem)
        if number == 1 and (line.strip() in ("[", "{") or _is_json(line)):
            problem = "JSON; an id a line is needed, as jq -r writes it"
            raise FormatError(path, number, problem)
        if "\0" in line or "\r" in line:
            raise FormatError(path, number, "a control character within a line; no file of ids")
        ids.add(line.strip())
    return ids


def _is_json(line: str) -> bool:
    """Whether the line is an array or an object, which an id hardly is."""
    import msgspec

    try:
        return isinstance(msgspec.json.decode(line), list | dict)
    except (msgspec.MsgspecError, RecursionError):
        return False
