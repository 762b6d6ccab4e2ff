"""TREC's topics: <top> with <num>, <title>, <desc>, or <topic number="1"> with <query>.

The question is the title, or else the query, the question, the description. Words that only repeat
the name of a field (Number:, Topic:, Description:) are left out, and a number has no zeros before
it, as judgements have it. Topics as a tsv are questions like MS MARCO's (field_files.py).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from dprkit.data.streams import STDIN, open_stream, read_text_lines
from dprkit.errors import DprkitError, FormatError
from dprkit.imports.items import Item, Tally
from dprkit.records import Question
from dprkit.settings import ImportSettings

_BEGIN = re.compile(r"<(?:top|topic)\b[^>]*>", re.IGNORECASE)
_END = re.compile(r"</(?:top|topic)>", re.IGNORECASE)
_FIELD = re.compile(r"<([a-z]+)\b[^<>]*>([^<]*(?:<(?!/?[a-z]+\b[^<>]*>)[^<]*)*)", re.IGNORECASE)
_NUMBER = re.compile(r"<topic\b[^>]*\bnumber\s*=\s*[\"']([^\"']+)", re.IGNORECASE)
_LABEL = re.compile(r"^(?:number|topic|description|narrative)\s*:", re.IGNORECASE)
_TEXTS = ("title", "query", "question", "desc", "description")
"""The fields that may be the question; the first one that has words is."""
_LOOKED_AT = 50


def fits(path: Path) -> bool:
    """Whether a topic begins among the first lines."""
    with suppress(DprkitError):
        if str(path) != STDIN:
            lines = islice(read_text_lines(open_stream(path, markup=True)), _LOOKED_AT)
            return any(_BEGIN.match(line.lstrip()) for _, line in lines)
    return False


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The topics as questions. Raises FormatError for one without a number, or without an end."""
    number = None
    for number, topic in _topics(path):
        tally.at = (path, number)
        yield _question(topic, path, number)
    if number is None:
        raise FormatError(path, 1, "holds no <top> or <topic number=...>; name a file of topics")


def _topics(path: Path) -> Iterator[tuple[int, str]]:
    """Each topic as it stands there, with the line that it begins on."""
    lines: list[str] = []
    first = 0
    for number, line in read_text_lines(open_stream(path, markup=True)):
        if begins := _BEGIN.search(line):
            if lines:
                raise FormatError(path, first, "a topic that does not end before the next begins")
            lines, first, line = [], number, line[begins.start() :]
        if begins or lines:
            lines.append(line)
        if lines and _END.search(line):
            yield first, "\n".join(lines)
            lines = []
    if lines:
        raise FormatError(path, first, "a topic without its end, </top>")


def _question(topic: str, path: Path, line: int) -> Question:
    fields: dict[str, str] = {}
    for name, text in _FIELD.findall(topic):
        words = " ".join(html.unescape(text).split())
        fields.setdefault(name.lower(), _LABEL.sub("", words).strip())
    attribute = _NUMBER.search(topic)
    id_ = attribute[1].strip() if attribute else fields.get("num", "")
    if not id_:
        raise FormatError(path, line, "a topic without a number; give it one, or remove it")
    text = next((fields[name] for name in _TEXTS if fields.get(name)), "")
    return Question(str(int(id_)) if re.fullmatch("[0-9]+", id_) else id_, text)
