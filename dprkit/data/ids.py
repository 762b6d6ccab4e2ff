"""Ids of passages and questions: given by a row, made from a content, read from a file of ids."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dprkit.data.streams import open_stream, read_text_lines
from dprkit.errors import FormatError

DPR_WIKI_PREFIX = "wiki:"
"""DPR's results have it before the ids of psgs_w100.tsv."""


def first_id(*candidates: str | int | None) -> str | None:
    """The first id that a row gives, under any of the names that the formats have for it."""
    return next((str(id_) for id_ in candidates if id_ is not None), None)


def content_id(title: str, text: str) -> str:
    """The id of a passage whose file gives it none: a hash of its title and text."""
    return hashlib.blake2b(f"{title}\n{text}".encode(), digest_size=8).hexdigest()


def text_key(text: str) -> int:
    """A number from 0 to 2^64 - 1 that stands for `text`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


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
            raise FormatError(path, number, "a control character; name a file with an id a line")
        ids.add(line.strip())
    return ids


def _is_json(line: str) -> bool:
    """Whether the line is an array or an object, which an id hardly is."""
    import msgspec

    try:
        return isinstance(msgspec.json.decode(line), list | dict)
    except (msgspec.MsgspecError, RecursionError):
        return False
