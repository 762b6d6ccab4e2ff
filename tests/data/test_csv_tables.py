"""Tables of passages with quotes, commas and headers, against csv and str.split.

Each file is read in one pass and from every row on, which has to be the same.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from pathlib import Path

import pytest

from dprkit.data import row_index
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.passages import PASSAGES_HEADER, passage_line, read_passages
from dprkit.errors import FormatError
from dprkit.records import Passage


@pytest.fixture(autouse=True)
def every_file_is_worth_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_index, "WORTH", 0)


def save(folder: Path, data: bytes | str, name: str = "corpus") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(path: Path) -> list[Passage]:
    """The passages by every way there is to read them."""
    passages = list(read_passages(path))
    for file in (PassageFile(path), PassageFile(path)):  # the second one loads the index
        assert list(file.passages()) == passages
        for start in range(len(passages)):
            assert list(file.passages(start)) == passages[start:]
        order = random.Random(0).sample(range(len(passages)), len(passages))
        assert file.at(order) == [passages[row] for row in order]
        assert all(file.at([row]) == [passage] for row, passage in enumerate(passages))
    return passages


def refusal(path: Path) -> FormatError:
    with pytest.raises(FormatError) as caught:
        list(read_passages(path))
    with pytest.raises(FormatError) as again:
        PassageFile(path)
    assert str(again.value) == str(caught.value)
    assert re.match(rf"{re.escape(str(path))}:\d+: .+$", str(caught.value))
    return caught.value


# --- quotes in a tsv ------------------------------------------------------------------------------

UNQUOTED = {
    "a quote within": '0\tAll about "cats".\n1\tplain\n',
    "a quoted word first": '0\tplain\n1\t"Cats" are animals\n2\t"Dogs" too, "he" said\n',
    "a quote that is never closed": '0\t"Cats are\n1\tplain\n',
    "a quote that ends rows later": '0\tplain\n1\t"cats\n2\tzebras\n3\tdogs"\n4\tlast\n',
    "a quoted text after one that shows": '0\t"Cats" are\n1\t"all of it."\n2\t"Dogs" are\n',
    "quotes alone": '0\t"\n1\t""\n2\t"""\n3\ta"\n',
    "three columns": '0\t"Cats" are\tT\n1\tplain\t"T\n',
    "CRLF": '0\t"Cats" are\r\n1\tplain\r\n',
    "blank lines": '\n0\tplain\n \n1\t"Cats" are\n\n',
}


@pytest.mark.parametrize("header", [False, True], ids=["", "header"])
@pytest.mark.parametrize("name", UNQUOTED)
def test_a_tsv_without_quoting_is_read_as_it_stands(
    tmp_path: Path, name: str, header: bool
) -> None:
    lines = [line for line in UNQUOTED[name].splitlines() if line.strip()]
    expected = [Passage(*line.split("\t")) for line in lines]
    columns = "\t".join(("id", "text", "title")[: lines[0].count("\t") + 1])
    text = f"{columns}\n{UNQUOTED[name]}" if header else UNQUOTED[name]
    assert read(save(tmp_path, text)) == expected
    assert read(save(tmp_path, gzip.compress(text.encode()), "packed")) == expected


QUOTED = {
    "as DPR writes": '1\t"a ""b"" c"\tT\n2\t"d\te"\tT\n3\t""\t\n',
    "a text of several lines first": '1\t"a\n\nb"\tT\n2\tc\tT\n',
    "only where needed": '1\ta\tT\n2\t"b ""c"""\tT\n3\t"d\te"\t"T\tU"\n4\tf"g\tT\n',
    "a title of several lines": '1\ta\tT\n2\tb\t"T\nU"\n3\tc\tV\n',
    "a text with a table in it": '1\t"a"\tT\n2\t"Year\tTeam\n1999\tA\n2000\tB"\tT\n3\t"c"\tT\n',
    "two columns": '1\ta\n2\t"b\n\nc"\n3\t"d""e"\n',
    "all cells": '"1"\t"a"\t"T"\n"2"\t"b ""c"""\t"T\nU"\n',
}


@pytest.mark.parametrize("header", [False, True], ids=["", "header"])
@pytest.mark.parametrize("name", QUOTED)
def test_a_quoted_tsv_is_read_as_csv_reads_it(tmp_path: Path, name: str, header: bool) -> None:
    text = QUOTED[name]
    expected = [Passage(*row) for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t")]
    columns = "\t".join(("id", "text", "title")[: 2 if name == "two columns" else 3])
    assert read(save(tmp_path, f"{columns}\n{text}" if header else text)) == expected


def test_our_own_file_of_one_passage_that_looks_like_rows_is_read_back(tmp_path: Path) -> None:
    passage = Passage("1", "a\tb\nx\ty", "T\nU\tV\nW")
    assert read(save(tmp_path, PASSAGES_HEADER + passage_line(passage))) == [passage]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('1\t"a"\n2\t"b\n3\tzebra\n4\tc"\n5\td\n', 2, "goes on for 3 lines that look like rows"),
        ('1\ta\tT\n2\t"b\tc"\tT\n3\td\t"T\n4\te\tU"\n', 3, "goes on for 2 lines that look like"),
        ('1\t"a ""b"""\tT\n2\t"c" d\tT\n', 2, "broken quotes: '\t' expected after"),
        ('1\t"the end of the file is lost', 1, "broken quotes: unexpected end of data"),
        ('1\t"a" b\tT\n2\t"c ""d"""\tT\n', 2, "a cell in csv quotes in a file in which"),
        ('1\t"a" b\tT\n2\t"c"\tT\n3\t"d"\tT\n', 3, "a cell in csv quotes in a file in which"),
    ],
)
def test_quotes_that_contradict_each_other_are_refused_with_a_way_out(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    path = save(tmp_path, text)
    error = refusal(path)
    assert error.where == line
    assert problem in error.problem
    way_out = error.problem[error.problem.index("sed 's") :]
    assert way_out == r"""sed 's/"/""/g; s/[^\t]*/"&"/g' FILE > quoted.tsv"""


def test_a_quoted_text_may_be_long(tmp_path: Path) -> None:
    text = 'a "b" and more of it\n' * 8_000  # more than csv's own limit of 131,072 characters
    for passages in ([Passage("1", text, "T")], [Passage("0", "x"), Passage("1", text, "T")]):
        file = io.StringIO(newline="")
        csv.writer(file, delimiter="\t").writerows([p.id, p.text, p.title] for p in passages)
        assert read(save(tmp_path, file.getvalue())) == passages


def test_the_way_out_makes_characters_of_quotes(tmp_path: Path) -> None:
    import subprocess

    path = save(tmp_path, '1\t"a"\n2\t"b\n3\tzebra\n4\tc"\n5\td\n')
    way_out = str(refusal(path)).rpartition("quotes: ")[2].replace("FILE", str(path))
    subprocess.run(["sh", "-c", way_out], check=True, cwd=tmp_path)
    expected = [Passage(*line.split("\t")) for line in path.read_text().splitlines()]
    assert read(tmp_path / "quoted.tsv") == expected


def test_what_a_quote_is_is_the_same_from_every_row_on(tmp_path: Path) -> None:
    """The cell that decides comes late, and rows behind it could be read both ways."""
    lines = [f"{n}\ttext {n}" for n in range(3000)]
    lines[2500:2503] = ['2500\t"Cats" are', '2501\t"in quotes"', '2502\t"open']
    path = save(tmp_path, "\n".join(lines))
    file = PassageFile(path)
    assert [p.text for p in file.passages(2499, 2503)] == [
        "text 2499",
        '"Cats" are',
        '"in quotes"',
        '"open',
    ]
    assert PassageFile(path).at([2501]) == [Passage("2501", '"in quotes"')]


# --- headers --------------------------------------------------------------------------------------

CELLS = [("1", 'a, "b"; c', "T"), ("2", "line\nbreak\tand tab", ""), ("3", "", "U;V,W")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(
    "header", [("id", "text", "title"), ("ID", "Text", "Title"), ("_id", "passage", "title")]
)
def test_a_csv_with_a_header_is_read_by_its_columns(
    tmp_path: Path, delimiter: str, quoting: int, header: tuple[str, ...]
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=quoting).writerows([header, *CELLS])
    assert read(save(tmp_path, file.getvalue())) == [Passage(*cells) for cells in CELLS]


def test_a_header_with_id_and_text_may_have_anything_else(tmp_path: Path) -> None:
    path = save(tmp_path, "id\ttext\tsource (%s...)\n1\ta\t5\n")
    assert read(path) == [Passage("1", "a")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_may_come_in_another_order_and_with_others(tmp_path: Path, delimiter: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([("url", "text", "id"), *((f"u{id_}", text, id_) for id_, text, _ in CELLS)])
    path = save(tmp_path, file.getvalue())
    assert read(path) == [Passage(id_, text) for id_, text, _ in CELLS]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,text\n1,a\n2,b,c\n", "3 comma-separated columns where there should be 2 (id, text)"),
        ('id,text\n1,"a" b\n', "broken quotes"),
        ("1,a,T\n2,b,T\n", "if it is a csv, begin it with a header such as id,text,title"),
        ("1;a;T\n2;b;T\n", "if it is a csv, begin it with a header such as id;text;title"),
        ("title,text\nT,a\n", "the header lacks id; it must name id and text, and may name title"),
        ("id\tt%xt\ttitle\n1\ta\tT\n", "the header lacks text; it must name"),
        ("id\ttitle\n1\tT\n", "the header lacks text; it must name"),
        ("id\t_id\ttext\n1\t2\ta\n", "the header has 2 columns id"),
        ("question,answer\nwho,me\n", "the header is one of questions; name the file of the"),
        ("query-id\tcorpus-id\tscore\n1\t2\t1\n", "the header is one of judgements"),
        ("who wrote it\t['me']\n", "is no id; begin the file with a header such as id<tab>text"),
        ("1\ta\r2\tb\r3\tc\r", "a carriage return within a line; make line ends of them"),
    ],
)
def test_a_table_that_does_not_tell_its_columns_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert problem in refusal(save(tmp_path, text)).problem


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_passages_is_read(tmp_path: Path, indent: int | None) -> None:
    objects = [{"id": n, "text": f'te"{{x}}t\n{n}', "title": "]"} for n in range(40)]
    objects.append({"_id": "x", "text": "é"})
    expected = [
        Passage(str(o.get("id", o.get("_id"))), str(o["text"]), str(o.get("title", "")))
        for o in objects
    ]
    text = json.dumps(objects, indent=indent)
    assert read(save(tmp_path, text)) == expected
    assert read(save(tmp_path, gzip.compress(text.encode()), "packed")) == expected


def test_a_fault_in_an_array_of_passages_has_its_byte(tmp_path: Path) -> None:
    path = save(tmp_path, '[{"id": 1, "text": "a"}, {"id": 2}]')
    with pytest.raises(FormatError, match=r"corpus:byte 25: lacks the field text"):
        list(read_passages(path))
    path = save(tmp_path, '[{"id": 1, "text": "a"}, {"id": 1, "text": "b"}]')
    with pytest.raises(FormatError, match=r"corpus:byte 25: the id '1' is that of passage 1 too"):
        PassageFile(path)
