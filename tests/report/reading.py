"""A page read without a browser, as docs/formats.md describes it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct

import numpy as np

ELEMENT = re.compile(rb'<script type="(text/plain|application/json)" id="(\w+)">([^<]*)</script>')


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
            self.texts, self.rankings = self._all("t"), self._all("r")

    def _all(self, prefix):
        size = self.summary["passages" if prefix == "t" else "questions"]["blocks"]
        return [one for at in range(size) for one in json.loads(self.blocks[f"{prefix}{at}"])]

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
