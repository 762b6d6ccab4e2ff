"""Ways in which files go wrong: bytes in, other bytes out, each by the numbers of a seeded draw."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

SPLINTERS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\t", b"\n", b"\r", b"\r\n", b"\0", b" ", b"'",
    b"\xff", b"\xfe", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x1a", b"\x1f\x8b",
    b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"99999999999999999999999", b"\\ud800", b"\\u0000",
    b'""', b"\t\t", b"#", b";", b"\x0b", b"\x0c", b"\x85", b"id\ttext\ttitle\n", b"%s", b"../", b"~",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, float("nan"), float("inf"), -0.0, "", " ", "x", "\0", "\n", "0", "a" * 5000,
    "\ud800", "é", "auto", "none", [], [[]], [None], [1, "a"], {}, {"a": {}}, [{}], "null", "../../etc", 1e308, 2**31, 2**63,
]  # fmt: skip


def _place(data: bytes, draw: random.Random) -> int:
    return draw.randrange(len(data) + 1)


def flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def insert(data: bytes, draw: random.Random) -> bytes:
    at = _place(data, draw)
    return data[:at] + draw.choice(SPLINTERS) * draw.choice((1, 1, 2, 50)) + data[at:]


def cut_off(data: bytes, draw: random.Random) -> bytes:
    return data[: _place(data, draw)]


def cut_out(data: bytes, draw: random.Random) -> bytes:
    first = _place(data, draw)
    return data[:first] + data[first + draw.choice((1, 2, 10, 200)) :]


def repeat(data: bytes, draw: random.Random) -> bytes:
    first = _place(data, draw)
    last = first + draw.choice((1, 5, 100, 1000))
    return data[:last] + data[first:last] * draw.choice((1, 2, 40)) + data[last:]


def move_lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    if draw.random() < 0.5:
        lines.insert(draw.randrange(len(lines)), draw.choice([b"", b" ", b"x", b"\t", *lines]))
    return b"\n".join(lines)


def other_columns(data: bytes, draw: random.Random) -> bytes:
    old, new = draw.choice(
        [(b"\t", b","), (b"\t", b" "), (b",", b"\t"), (b"\n", b"\r"), (b"\n", b"\r\n")]
    )
    return data.replace(old, new, draw.choice((-1, 1, 3)))


def other_quotes(data: bytes, draw: random.Random) -> bytes:
    old, new = draw.choice(
        [(b'"', b"'"), (b'""', b'"'), (b'"', b""), (b'"', b'""'), (b'"', b'\\"')]
    )
    return data.replace(old, new, draw.choice((-1, 1, 2)))


def other_coding(data: bytes, draw: random.Random) -> bytes:
    coding = draw.choice(["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "utf-7"])
    return data.decode(errors="ignore").encode(coding, errors="ignore")


def packed(data: bytes, draw: random.Random) -> bytes:
    """In a container, whole or damaged."""
    made = draw.choice([gzip.compress, bz2.compress, lzma.compress, _zipped, _twice, _zstandard])(
        data
    )
    return made if draw.random() < 0.4 else draw.choice([flip, cut_off, insert])(made, draw)


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.tsv", data)
    return file.getvalue()


def _twice(data: bytes) -> bytes:
    return gzip.compress(gzip.compress(data))


def _zstandard(data: bytes) -> bytes:
    import zstandard

    return zstandard.compress(data)


def other_value(data: bytes, draw: random.Random) -> bytes:
    """A value of one JSON row becomes another, a key goes, comes or is misspelt."""
    whole = _loaded(data)
    rows = [line for line in data.split(b"\n")] if whole is None else None
    if rows is None:
        return _dumped(_changed(whole, draw), draw)
    at = draw.randrange(len(rows))
    row = _loaded(rows[at])
    if row is None:
        return insert(data, draw)
    rows[at] = _dumped(_changed(row, draw), draw)
    return b"\n".join(rows)


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _dumped(value: Any, draw: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5, indent=draw.choice((None, None, 1)))
    return text.encode(errors="surrogatepass")


def _changed(value: Any, draw: random.Random) -> Any:
    """`value` with one place in it changed; deeper places as often as near ones."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(sorted(value))
        action = draw.randrange(6)
        if action == 0:
            return {k: v for k, v in value.items() if k != key}
        if action == 1:
            return {(k.upper() if k == key else k): v for k, v in value.items()}
        if action == 2:
            return {**value, draw.choice(("x", "id", "text", "question", "")): draw.choice(VALUES)}
        return {**value, key: _changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        return [*value[:at], _changed(value[at], draw), *value[at + draw.choice((0, 1, 1, 2)) :]]
    if draw.random() < 0.03:
        return _deep(draw.choice((50, 5000)))
    return draw.choice(VALUES)


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(min(levels, 900)):  # json.dumps itself goes no deeper
        value = [value]
    return value


BYTES: list[Mutation] = [
    flip, insert, insert, cut_off, cut_out, repeat, move_lines, other_columns, other_quotes, other_coding, packed,
]  # fmt: skip
JSON: list[Mutation] = [*BYTES, *[other_value] * 9]


def mutated(data: bytes, ways: list[Mutation], draw: random.Random) -> bytes:
    """`data` after one to three mutations."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(ways)(data, draw)
    return data
