"""Texts as codes of words, read again as docs/formats.md has them, here and in node."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.report.blocks import json_bytes
from dprkit.report.huffman import code_lengths, codes
from dprkit.report.seven_bits import seven_bits
from dprkit.report.vocabulary import Distinct, Vocabulary
from dprkit.report.word_codes import WordCodes
from tests.report.reading import UNFIT, bytes_of_letters, code_table, fields_of

WEB = Path(__file__).parents[2] / "dprkit/report/web"
MANY = [f" w{n}" for n in range(12_000) for _ in range(3)]


def coded(learned, read=None):
    """Words of `learned` passages, and a block of `read` ones."""
    distinct = Distinct()
    texts = [distinct.numbers(learned)]
    vocabulary = Vocabulary(distinct.words, texts)
    table = vocabulary.table(distinct.words)
    numbers = [vocabulary.numbers(one, distinct.words, table) for one in texts]
    codes = WordCodes(vocabulary, numbers)
    return codes, codes.encode(numbers[0] if read is None else vocabulary.read(read))


def read_again(codes, data):
    fields = fields_of(data, codes.classes, codes.follow.tobytes())
    return [tuple(fields[at : at + 3]) for at in range(0, len(fields), 3)]


PASSAGES = st.lists(st.tuples(*[st.text(max_size=20)] * 3), max_size=4)


@given(PASSAGES, PASSAGES)
def test_texts_come_back_as_they_were(learned, read):
    for own in (None, read):
        codes, data = coded(learned * 3, own)
        assert read_again(codes, data) == (learned * 3 if own is None else own)


def test_what_comes_up_three_times_is_a_word_and_all_else_is_spelled():
    passages = [("1", "A Title", "the cat")] * 2 + [("2", "A Title", "the owl")]
    codes, data = coded(passages)
    words = [word for own, _ in codes.classes for word in own]
    assert sorted(words) == sorted(["", "", "", "A Title", "the", *" catowl12"])
    assert read_again(codes, data) == passages


def test_common_words_take_few_bits():
    often = [("", "", "the cat " * 300)] * 20 + [("", "", f"word{n} " * 3) for n in range(500)]
    codes, data = coded(often, [("", "", "the cat " * 800)])
    assert len(data) < 800 * 2 / 4  # less than two bits a word
    assert read_again(codes, data) == [("", "", "the cat " * 800)]


def test_halves_of_characters_do_not_move_what_follows():
    codes, data = coded([], [("a \ud800 b", "", "\ud800")] * 3)
    assert read_again(codes, data) == [("a ? b", "", "?")] * 3


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_codes_are_as_short_as_any_and_none_begins_another(counts):
    lengths = code_lengths(counts)
    table = code_table(range(len(counts)), lengths)
    assert len(table) == len(counts)
    for one, other in itertools.permutations(table, 2):
        assert not one.startswith(other)
    assert {int(code or "0", 2) for code in table} == set(codes(np.array(lengths)).tolist())
    assert sum(a * b for a, b in zip(counts, lengths, strict=True)) == merged(counts)


def merged(counts):
    """What Huffman's tree costs: each sum of two least nodes, added up."""
    nodes, cost = sorted(counts), 0
    while len(nodes) > 1:
        cost += nodes[0] + nodes[1]
        nodes = sorted([nodes[0] + nodes[1], *nodes[2:]])
    return cost


@given(st.binary(max_size=40))
def test_letters_of_seven_bits_hold_any_bytes_and_nothing_that_is_unfit(data):
    letters = seven_bits(data)
    assert bytes_of_letters(letters) == data
    assert not set(letters) & set(UNFIT)
    assert len(letters) <= len(data) * 8 / 7 + 2


def test_json_with_halves_of_characters_keeps_their_places():
    assert json_bytes(["a \ud800 b"]).decode() == '["a \ufffd b"]'


def test_node_reads_what_python_writes(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    text = "".join(MANY)
    rows = [
        ("1", "caf\u00e9 \U0001f600", "w1 w11999 w10300\n<b> \ufeff\u2028 w300"),
        ("2", "", "\U0001f600 w11000, w2"),
    ]
    codes, data = coded([("1", "A Title", text)], rows)
    every = bytes(range(256)) + b"\r\n\n\0<" * 20
    (tmp_path / "blocks.json").write_text(
        json.dumps(
            {
                "words": codes.classes,
                "follow": codes.follow.ravel().tolist(),
                "text": seven_bits(data).decode(),
                "every": [seven_bits(every[:size]).decode() for size in range(len(every))],
            }
        )
    )
    program = f"""
import {{ readFileSync }} from "node:fs";
import {{ bytesOfLetters }} from "{(WEB / "seven_bits.mjs").as_uri()}";
import {{ rowsOfWords, wordCodes }} from "{(WEB / "words.mjs").as_uri()}";
const {{ words, follow, text, every }} = JSON.parse(readFileSync("blocks.json", "utf8"));
const rows = rowsOfWords(bytesOfLetters(text), wordCodes(words, Uint8Array.from(follow)));
console.log(JSON.stringify([rows, every.map((one) => [...bytesOfLetters(one)])]));
"""
    (tmp_path / "read.mjs").write_text(program)
    done = subprocess.run(["node", "read.mjs"], capture_output=True, cwd=tmp_path, check=True)
    read, parts = json.loads(done.stdout)
    assert list(map(tuple, read)) == rows
    assert [bytes(part) for part in parts] == [every[:size] for size in range(len(every))]
