"""A page read without a browser, as docs/formats.md describes it."""

from __future__ import annotations

import gzip
import json
import re
import struct

import numpy as np

ELEMENT = re.compile(rb'<script type="(text/plain|application/json)" id="(\w+)">([^<]*)</script>')


UNFIT = b"\0\n\r\x1a\x1b<\x7f"


def bytes_of_letters(data):
    """The bytes of letters of seven bits."""
    bits = ""
    for letter in map(ord, data.decode()):
        which = (letter - 0x400) // 128
        if letter >= 128 and which < 7:
            bits += f"{UNFIT[which]:07b}"
        bits += f"{letter % 128:07b}"
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))


def code_table(symbols, lengths):
    """Each code, as 0 and 1, with its symbol: canonical codes of these lengths."""
    table, code, size = {}, 0, 0
    for length, _, symbol in sorted(zip(lengths, range(len(symbols)), symbols, strict=True)):
        code, size = code << length - size, length
        table[f"{code:0{size}b}" if size else ""] = symbol
        code += 1
    return table


def fields_of(data, classes, follow):
    """The fields of a block of texts, which are codes of words."""
    count = len(classes)
    words = [code_table(*one) for one in classes]
    after = []
    for before in range(count):
        row = follow[before * count : (before + 1) * count]
        known = [own for own in range(count) if row[own]]
        after.append(code_table(known, [row[own] for own in known]))
    rest = iter("".join(f"{byte:08b}" for byte in data))

    def symbol(table):
        code = ""
        while code not in table:
            code += next(rest)
        return table[code]

    fields, own = [], 1
    left, field = int("".join(next(rest) for _ in range(16)), 2), ""
    while len(fields) < left:
        own = symbol(after[own])
        if own == 2:
            field += chr(int("".join(next(rest) for _ in range(21)), 2))
        else:
            field += symbol(words[own])
        if own == 1:
            fields.append(field)
            field = ""
    return fields


def unpacked(text):
    data = bytes_of_letters(text)
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


class Page:
    """The blocks of a page by their ids, decoded."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        self.blocks = {
            name.decode(): data if kind == b"application/json" else unpacked(data)
            for kind, name, data in ELEMENT.findall(self.bytes)
        }
        self.summary = json.loads(self.blocks["summary"])
        if "questions" in self.blocks:
            self.questions = json.loads(self.blocks["questions"])
            count = self.summary["questions"]["blocks"]
            self.rankings = [
                one for at in range(count) for one in json.loads(self.blocks[f"r{at}"])
            ]
            words, follow = json.loads(self.blocks["words"]), self.blocks["follow"]
            texts = (self.blocks[f"t{at}"] for at in range(self.summary["passages"]["blocks"]))
            fields = [one for text in texts for one in fields_of(text, words, follow)]
            self.texts = [fields[at : at + 3] for at in range(0, len(fields), 3)]

    def column(self, name):
        raw = self.blocks["columns"]
        (length,) = struct.unpack_from("<I", raw)
        header = json.loads(raw[4 : 4 + length])
        array = header["arrays"][name]
        offset = 4 + length + array["offset"]
        assert (4 + length) % 8 == array["offset"] % 8 == 0
        return np.frombuffer(raw, "<" + array["type"], header["rows"], offset).tolist()

    def ranking(self, question, system):
        """[(rank, id, score, [what is lit])] of a ranking."""
        packed = self.rankings[question][system]
        ranks = packed.get("r", range(1, len(packed["n"]) + 1))
        whole, shown = 0, []
        for at, (rank, number, step) in enumerate(
            zip(ranks, packed["n"], packed["s"], strict=True)
        ):
            whole = whole - step if at else step
            id_, _, text = self.texts[number]
            units = text.encode("utf-16-le")
            spans = packed.get("m", {}).get(str(at))
            lit = spans and [units[2 * a : 2 * b].decode("utf-16-le") for a, b in spans]
            shown.append((rank, id_, whole / 10 ** packed["d"], lit))
        return shown
