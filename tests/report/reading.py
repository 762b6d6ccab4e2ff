"""A page read without a browser, as docs/formats.md describes it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct

import numpy as np

ELEMENT = re.compile(rb'<script type="(text/plain|application/json)" id="(\w+)">([^<]*)</script>')


def fields_of(data, words):
    """The fields of a block of texts, which are numbers of words."""
    fields, field, rest = [], "", iter(data)
    for byte in rest:
        if byte < 200:
            field += words[byte]
        elif byte < 240:
            field += words[200 + (byte - 200) * 256 + next(rest)]
        elif byte < 254:
            field += words[10_440 + (byte - 240) * 65_536 + next(rest) * 256 + next(rest)]
        elif byte == 254:
            fields.append(field)
            field = ""
        else:
            field += bytes(iter(rest.__next__, 255)).decode()
    return fields


class Page:
    """The blocks of a page by their ids, decoded."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        self.blocks = {
            name.decode(): data
            if kind == b"application/json"
            else gzip.decompress(base64.b64decode(data))
            for kind, name, data in ELEMENT.findall(self.bytes)
        }
        self.summary = json.loads(self.blocks["summary"])
        if "questions" in self.blocks:
            self.questions = json.loads(self.blocks["questions"])
            count = self.summary["questions"]["blocks"]
            self.rankings = [
                one for at in range(count) for one in json.loads(self.blocks[f"r{at}"])
            ]
            words, count = json.loads(self.blocks["words"]), self.summary["passages"]["blocks"]
            fields = [one for at in range(count) for one in fields_of(self.blocks[f"t{at}"], words)]
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
