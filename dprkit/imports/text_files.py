"""The texts in a folder: which files they are, and their lines as text.

A file is told by the ending of its name, and what it holds decides whether it is read: a file
that is no text, or not in UTF-8, is dropped and counted, as a whole: it is read to its end before
the first line is given. Links to files are followed, links to folders are not, so no link can loop.
Memory is a chunk, or a whole page of Markdown or HTML.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote_from_bytes

from dprkit.data.signatures import LFS
from dprkit.data.streams import PACKED, opened_chunks
from dprkit.errors import FormatError, InputError

ENDINGS = {
    **dict.fromkeys((".txt", ".text"), "text"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".jsonl", ".ndjson"), "rows"),
}
"""The ending of a name -> what the file is read as."""
PAGE_BYTES = 64 << 20
"""The largest page of Markdown or HTML: it is read as a whole."""
LINE = 1 << 20
"""Characters of the longest piece of a line that is given as one."""
READ = ".txt, .md, .html, .jsonl"
"""The usual endings, for messages."""
HIDDEN = "hidden: its name begins with a dot"
OTHER = f"a file of another kind (read: {READ})"
NOT_TEXT = "not a text"
NOT_UTF8 = "not in UTF-8"
SOLID = f"not a text: a line with {LINE >> 20} MB without a space"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSET = re.compile(
    rb"<(?:meta\b|\?xml\b)[^>]*?\b(?:charset|encoding)\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE
)
_HTML_HEAD = 4096
_AS_BROWSERS = {
    **dict.fromkeys(("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii"), "cp1252"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be"), "utf-8"),
}
"""What a page's own word for its encoding means."""
_FOREIGN = (b"%PDF-", b"{\\rtf", LFS)
"""How files begin that may hold text alone and are none."""


class Drop(Protocol):
    """Counts what is dropped by a reason, and keeps the first place."""

    def __call__(self, reason: str, where: str) -> None: ...


class TextFile(NamedTuple):
    """A file with texts."""

    path: Path
    name: str
    """Its path below the source, which begins with the source's own name; no white space, no #."""
    kind: str
    """What it is read as, "" where its name does not tell."""


class Unreadable(Exception):
    """A file that is dropped."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(reason)
        self.reason, self.where = reason, where


def kind_of(name: str) -> str | None:
    """What a file is read as by its name; None: it is passed over."""
    base, ending = os.path.splitext(name.lower())
    return ENDINGS.get(os.path.splitext(base)[1] if ending in PACKED else ending)


def files_in(source: Path, drop: Drop) -> Iterator[TextFile]:
    """The files below a folder, or the one that `source` is, in the order of their names.

    What is hidden, or no file, is dropped. Raises InputError for a folder that is not readable.
    """
    if not source.is_dir():
        yield TextFile(source, _quoted(source.name), kind_of(source.name) or "text")
        return
    yield from _below(source, _quoted(source.resolve().name or "texts"), drop, top=True)


def nothing_in(folder: Path) -> str:
    """What to tell of a folder that has no file to look at; "" where it has one."""
    passed: list[tuple[str, str]] = []
    if next(files_in(folder, lambda reason, where: passed.append((reason, where))), None):
        return ""
    if not passed:
        return "the folder is empty; name one with files in it, or the files"
    reason, where = passed[0]
    return f"nothing in it is read; {where} is passed over: {reason}"


def _below(folder: Path, name: str, drop: Drop, top: bool = False) -> Iterator[TextFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        if top:
            raise InputError(f"{folder}: not readable ({error.strerror})") from None
        return drop("a folder that is not readable", str(folder))
    for entry in entries:
        path, below = folder / entry.name, f"{name}/{_quoted(entry.name)}"
        if entry.name.startswith("."):
            drop(HIDDEN, str(path))
        elif entry.is_dir(follow_symlinks=False):
            yield from _below(path, below, drop)
        elif reason := _unfit(path):
            drop(reason, str(path))
        else:
            yield TextFile(path, below, kind_of(entry.name) or "")


def _unfit(path: Path) -> str:
    """Why a file is passed over before it is opened, or ""."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    if stat.S_ISDIR(mode):
        return "a link to a folder; name the folder as a source of its own"
    return "" if stat.S_ISREG(mode) else "no regular file"


def _quoted(name: str) -> str:
    """A part of a path without what an id cannot hold, as in a URL."""
    raw = os.fsencode(name)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return quote_from_bytes(raw)
    return re.sub(r"[\s%#\x00-\x1f\x7f]", lambda m: quote_from_bytes(m[0].encode()), text)


# --- what they hold -------------------------------------------------------------------------------


def lines(path: Path) -> Iterator[str]:
    """The lines of a text, of any length: a long one comes in pieces.

    Raises Unreadable for what is no text, before the first line.
    """
    for _ in _lines(path):
        pass
    yield from _lines(path)


def _lines(path: Path) -> Iterator[str]:
    rest = ""
    for text in _decoded(path, _opened(path), ""):
        *whole, rest = (rest + text).replace("\r\n", "\n").split("\n")
        yield from whole
        while len(rest) > LINE:
            at = rest.rfind(" ", 0, LINE) + 1 or LINE
            if at == LINE and _is_solid(rest[:LINE]):
                raise Unreadable(SOLID, str(path))
            yield rest[:at]
            rest = rest[at:]
    yield rest


def _is_solid(piece: str) -> bool:
    """Whether it has no word of any language: no white space, and letters of none without it."""
    return piece.isascii() and len(piece.split(None, 1)) == 1


def page(path: Path, html: bool) -> str:
    """The whole of a page. HTML may name its encoding.

    Raises Unreadable for what is no text, and for a page that is too large.
    """
    chunks, size = [], 0
    for chunk in _opened(path):
        chunks.append(chunk)
        size += len(chunk)
        if size > PAGE_BYTES:
            raise Unreadable(f"a page of more than {PAGE_BYTES >> 20} MB", str(path))
    named = _CHARSET.search(b"".join(chunks[:1])[:_HTML_HEAD]) if html else None
    return "".join(_decoded(path, iter(chunks), named[1].decode() if named else ""))


def _opened(path: Path) -> Iterator[bytes]:
    try:
        yield from opened_chunks(path)
    except FormatError as error:
        raise Unreadable("a packed file that is damaged", str(error)) from None
    except InputError as error:
        raise Unreadable("not readable", str(error)) from None


def _decoded(path: Path, chunks: Iterator[bytes], charset: str) -> Iterator[str]:
    """The text of a file, by its byte-order mark, by the encoding that it names, else as UTF-8."""
    first, line = next(chunks, b""), 1
    marked = next((name for mark, name in _MARKS if first.startswith(mark)), "")
    if not marked and (b"\0" in first or first.startswith(_FOREIGN)):
        raise Unreadable(NOT_TEXT, str(path))
    decoder = _decoder(marked or _AS_BROWSERS.get(charset.lower(), charset))
    try:
        for chunk in chain((first,), chunks):
            text = decoder.decode(chunk)
            line += text.count("\n")
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise Unreadable(NOT_UTF8, f"{path}:{line}") from None


def _decoder(charset: str) -> codecs.IncrementalDecoder:
    """Of the encoding called so; of UTF-8 where there is none of that name for texts."""
    name = charset or "utf-8"
    try:
        "".encode(name)  # a LookupError for what is no encoding of texts, such as hex
    except (LookupError, UnicodeError):
        name = "utf-8"
    return codecs.getincrementaldecoder(name)()
