"""The data in a report's page: compressed blocks that the page decodes when it needs them.

A block is a script element that no browser runs, which holds gzip as letters of seven bits. These
have no "<": no text of strangers can end the element.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.report.seven_bits import seven_bits

if TYPE_CHECKING:
    import numpy as np

FORMAT = 2
LEVEL = 6
"""Of compression: 9 takes twice the time of 6 and saves 1 %."""
_ALIGNED = 8


def block(id_: str, data: bytes) -> bytes:
    """A script element that holds `data`, compressed."""
    return plain_block(id_, gzip.compress(data, LEVEL, mtime=0))


def plain_block(id_: str, data: bytes) -> bytes:
    """A script element that holds `data` as it is."""
    return b'<script type="text/plain" id="%s">%s</script>\n' % (id_.encode(), seven_bits(data))


def json_block(id_: str, value: Any) -> bytes:
    """A block of JSON. A lone surrogate, which UTF-8 does not have, is written as U+FFFD."""
    return block(id_, json_bytes(value))


def columns_block(id_: str, columns: Mapping[str, np.ndarray]) -> bytes:
    """A block of arrays of one length behind a JSON header, as docs/formats.md describes it."""
    rows = len(next(iter(columns.values()), ()))
    parts: list[bytes] = []
    arrays, offset = {}, 0
    for name, column in columns.items():
        data = column.astype(column.dtype.newbyteorder("<")).tobytes()
        arrays[name] = {"type": column.dtype.str[1:], "offset": offset}
        padded = data + bytes(-len(data) % _ALIGNED)
        parts.append(padded)
        offset += len(padded)
    header = msgspec.json.encode({"rows": rows, "arrays": arrays})
    header += b" " * (-(4 + len(header)) % _ALIGNED)
    return block(id_, struct.pack("<I", len(header)) + header + b"".join(parts))


def summary_element(summary: Any) -> bytes:
    """The summary, in plain sight."""
    data = json_bytes(summary).replace(b"<", b"\\u003c")
    return b'<script type="application/json" id="summary">%s</script>\n' % data


def json_bytes(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        import json

        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
