"""Texts as numbers of words, read again as docs/formats.md has them, here and in node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.report.blocks import json_bytes
from dprkit.report.words import Words
from tests.report.reading import fields_of

WEB = Path(__file__).parents[2] / "dprkit/report/web"
MANY = [f" w{n}" for n in range(12_000) for _ in range(3)]
"""So many words that numbers of each length are needed: the last ones take three bytes."""


@given(st.lists(st.text(max_size=20), max_size=4), st.lists(st.text(max_size=20), max_size=6))
def test_texts_come_back_as_they_were(learned, texts):
    words = Words(learned * 3)
    data = words.encode([texts])
    assert fields_of(data, words.words) == texts


def test_common_words_are_short_and_others_stand_as_they_are():
    words = Words(["the cat the dog the end"] * 3)
    assert words.words[0] == " the"  # twice in each text
    assert sorted(words.words[1:]) == [" cat", " dog", " end", "the"]
    assert words.encode([["the dog"]]) == bytes(map(words.words.index, ["the", " dog"])) + b"\xfe"
    assert words.encode([["the owl"]]) == bytes([words.words.index("the")]) + b"\xff owl\xff\xfe"


def test_halves_of_characters_do_not_move_what_follows():
    words = Words([])
    assert fields_of(words.encode([["a \ud800 b"]]), []) == ["a ? b"]


def test_json_with_halves_of_characters_keeps_their_places():
    assert json_bytes(["a \ud800 b"]).decode() == '["a \ufffd b"]'


def test_node_reads_what_python_writes(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    words = Words(["".join(MANY)])
    rows = [
        ["1", "caf\u00e9 \U0001f600", "w1 w11999 w10300\n<b> \ufeff\u2028 w300"],
        ["2", "", "\U0001f600 w11000, w2"],
    ]
    (tmp_path / "words.json").write_text(json.dumps(words.words))
    (tmp_path / "block").write_bytes(words.encode(rows))
    program = f"""
import {{ readFileSync }} from "node:fs";
import {{ rowsOfWords }} from "{(WEB / "words.mjs").as_uri()}";
const words = JSON.parse(readFileSync("words.json", "utf8"));
console.log(JSON.stringify(rowsOfWords(new Uint8Array(readFileSync("block")), words)));
"""
    (tmp_path / "read.mjs").write_text(program)
    done = subprocess.run(["node", "read.mjs"], capture_output=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout) == rows
