"""Bytes as text of a page, seven bits in a byte: 8/7 of their size, where base64 takes 4/3.

A letter of seven bits is the ASCII character of that number. Seven of these cannot stand in a
script element, or are changed by what moves text files about; with one of them goes the letter
behind it, as one character of two bytes in UTF-8: 0x400 + 128 * which of the seven + the letter.
Where it is the last one, it is 0x400 + 128 * 7 + itself.
"""

from __future__ import annotations

import re

UNFIT = b"\0\n\r\x1a\x1b<\x7f"
"""The end of a string, line ends, the end of a file, an escape, the end of an element, delete."""
_PAIR = re.compile(rb"[\0\n\r\x1a\x1b<\x7f](?s:.?)")
_BASE = 0x400


def _character(number: int) -> bytes:
    return chr(_BASE + number).encode()


_CHARACTERS = {
    bytes([unfit, letter]): _character(128 * which + letter)
    for which, unfit in enumerate(UNFIT)
    for letter in range(128)
} | {bytes([unfit]): _character(128 * len(UNFIT) + unfit) for unfit in UNFIT}


def seven_bits(data: bytes) -> bytes:
    """`data` as UTF-8, without any of UNFIT."""
    import numpy as np

    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    rows = np.append(bits, np.zeros(-len(bits) % 7, np.uint8)).reshape(-1, 7)
    letters = (np.packbits(rows, axis=1) >> 1).tobytes()
    return _PAIR.sub(lambda pair: _CHARACTERS[pair[0]], letters)
