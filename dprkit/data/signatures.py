"""Foreign kinds of files, told by their first bytes and refused with what to do.

The signatures are those that the formats' own descriptions give (and `man 5 magic` collects).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

HEAD = 512
"""Bytes that are looked at."""
LFS = b"version https://git-lfs"
"""How the file begins that stands in a clone for one that was not fetched."""

_IMPORT = "make dprkit's files of it: dprkit import-data {} --output-dir data"
_SAVE = "save its rows as jsonl"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

_SIGNATURES: list[tuple[bytes, str, str]] = [
    (b"PK\x03\x04", "a zip archive", "unpack it first: unzip {}"),
    (b"PK\x05\x06", "an empty zip archive", "name the file with the data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first: 7z x {}"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it first: unrar x {}"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "unpack it first: lz4 -d {}"),
    (b"\x1f\x9d", "a compress (.Z) file", "unpack it first: uncompress {}"),
    (b"LZIP\x01", "an lzip file", "unpack it first: lzip -d {}"),
    (b"\x89LZO", "an lzop file", "unpack it first: lzop -d {}"),
    (b"\xff\x06\x00\x00sNaPpY", "a snappy file", "unpack it first: python3 -m snappy -d {}"),
    (b"!<arch>\n", "an ar archive", "unpack it first: ar x {}"),
    (b"\x1f\x8b", "a gzip file in a compressed file", "unpack it once: gunzip {}"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file in a compressed file", "unpack it once: unzstd {}"),
    (b"\xfd7zXZ\x00", "an xz file in a compressed file", "unpack it once"),
    (b"PAR1\x15", "a parquet file", _IMPORT),
    (b"ARROW1\x00", "an Arrow file", _IMPORT),
    (b"FEA1\x00", "an old feather file", _SAVE),
    (b"\xff\xff\xff\xff", "an Arrow stream", _IMPORT),
    (b"Obj\x01", "an Avro file", _SAVE),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _SAVE),
    (b"\x93NUMPY", "a numpy array", "text is needed; vectors come in by dprkit import-embeddings"),
    (b"SQLite format 3\x00", "an SQLite database", "save its table as jsonl or csv"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "save it as csv"),
    (b"%PDF-", "a PDF document", "take the text out of it first: pdftotext {}"),
    (b"%!PS", "a PostScript document", "take the text out of it first"),
    (b"{\\rtf", "an RTF document", "save it as plain text"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "name the file with the data"),
    (b"\xff\xd8\xff", "a JPEG image", "name the file with the data"),
    (b"GIF8", "a GIF image", "name the file with the data"),
    (b"\x7fELF", "a program", "name the file with the data"),
    (LFS, "a pointer of Git LFS, not the data", "fetch it: git lfs pull"),
    *(
        (start, "a pickle", f"it is not read, as it can run code; {_SAVE}")
        for start in (*_PICKLES, b"(lp0\n", b"(dp0\n", b"ccopy_reg\n", b"c__builtin__\n")
    ),
]
_PAGE = re.compile(rb"<!doctype html|<html|<head", re.IGNORECASE)
_MARKUP = re.compile(rb"<\?xml|<!--|<[a-z][^<>]*>[ \t\r]*[\n<]", re.IGNORECASE)
_UTF16, _UTF32 = (b"\xff\xfe", b"\xfe\xff"), (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")


def foreign_kind(head: bytes, path: Path | str, markup: bool = False) -> str:
    """What the file at `path` is and what to do, by its first HEAD bytes; "" for what is text.

    `markup`: HTML and XML are text too.
    """
    given = "FILE" if str(path) == "-" else str(path)
    name = shlex.quote(given)
    if head[257:262] == b"ustar":
        return f"a tar archive; unpack it first: tar -xf {name}"
    if head.startswith(_UTF32):
        return "UTF-32 text; convert it: iconv -f utf-32 -t utf-8"
    if head.startswith(_UTF16):
        return "UTF-16 text; convert it: iconv -f utf-16 -t utf-8"
    if order := _utf16_without_mark(head):
        return f"UTF-16 text; convert it: iconv -f utf-16{order} -t utf-8"
    for start, what, way_out in _SIGNATURES:
        if head.startswith(start):
            return f"{what}; " + way_out.replace("{}", name)
    start = b"" if markup else head.lstrip()
    if _PAGE.match(start):
        return "an HTML page; fetch the data itself (a server's error page is often saved like it)"
    return f"XML, or markup like it; {_SAVE}" if _MARKUP.match(start) else ""


def _utf16_without_mark(head: bytes) -> str:
    """`le` or `be` where every other byte of the beginning is 0, as in Latin text in UTF-16."""
    start = head[: min(len(head), 64) // 2 * 2]
    even, odd = set(start[::2]), set(start[1::2])
    if len(start) < 8 or (0 in even) == (0 in odd):
        return ""
    return "le" if odd == {0} else "be" if even == {0} else ""
