"""Opening and splitting files, against json of the standard library on whole documents.

Every chunk boundary counts, so CHUNK and the splitter's window are made small throughout.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dprkit.data import json_rows, streams
from dprkit.data.examples import read_examples
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import RawRow, Stream, open_stream, read_lines
from dprkit.errors import DprkitError, FormatError, InputError


def save(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def rows_of(path: Path) -> list[RawRow]:
    return list(read_json_rows(open_stream(path)))


def values_of(path: Path) -> list[Any]:
    return [json.loads(row.raw) for row in rows_of(path)]


def refusal(path: Path, read: Callable[[Path], object] = rows_of) -> FormatError:
    """The error that reading `path` ends in: one line that begins with the path and a place."""
    with pytest.raises(FormatError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(rf"{re.escape(str(path))}:(\d+|byte \d+): \w", message), message
    return caught.value


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def bz2_(data: bytes) -> bytes:
    return bz2.compress(data)


def xz(data: bytes) -> bytes:
    return lzma.compress(data)


def plain(data: bytes) -> bytes:
    return data


# --- JSON that tries to mislead a splitter --------------------------------------------------------

PIECES = ['\\"', "\\\\", "\\\\\\\\", "{", "}", "[", "]", "},{", "|", "\\u0022", "\\/", "\\n"]
STRINGS = st.lists(st.sampled_from([*PIECES, "a", ",", ":", " ", "é", "😀", "\u2028"])).map(
    lambda pieces: '"' + "".join(pieces) + '"'
)
SPACES = st.text(" \t\r\n", max_size=3)
NUMBERS = st.sampled_from(["0", "-1", "1.50", "1e5", "true", "false", "null"])


@st.composite
def containers(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    def spaced(text: str) -> str:
        return draw(SPACES) + text + draw(SPACES)

    items = draw(st.lists(inner, max_size=3))
    if draw(st.booleans()):
        return "[" + ",".join(map(spaced, items)) + "]"
    pairs = [spaced(draw(STRINGS)) + ":" + spaced(item) for item in items]
    return "{" + ",".join(pairs) + "}"


VALUES = st.recursive(STRINGS | NUMBERS, containers, max_leaves=8)


@st.composite
def objects(draw: st.DrawFn) -> str:
    pairs = draw(st.lists(st.tuples(SPACES, STRINGS, SPACES, VALUES, SPACES), max_size=3))
    return "{" + ",".join(f"{a}{key}{b}:{value}{c}" for a, key, b, value, c in pairs) + "}"


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    rows = draw(st.lists(st.tuples(SPACES, objects(), SPACES).map("".join), max_size=4))
    inside = ",".join(rows) or draw(SPACES)
    return f"{draw(SPACES)}[{inside}]{draw(SPACES)}".encode()


def cut_at(data: bytes, points: list[int]) -> list[bytes]:
    ends = [*sorted(points), len(data)]
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


@given(arrays(), st.lists(st.integers(0, 200), max_size=12), st.integers(1, 64))
def test_the_rows_of_an_array_are_those_that_json_finds_wherever_the_chunks_end(
    document: bytes, points: list[int], window: int
) -> None:
    pieces = cut_at(document, [point for point in points if point < len(document)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK", 1)
        patch.setattr(json_rows, "_WINDOW", window)
        rows = list(read_json_rows(Stream("x", b"[", iter(pieces))))
    assert [json.loads(row.raw) for row in rows] == json.loads(document)
    for row in rows:
        place = int(str(row.where).removeprefix("byte "))
        assert document[place:].startswith(row.raw)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8, 13, 64])
@pytest.mark.parametrize("indent", [None, 0, 1, 4])
def test_an_array_is_split_alike_in_any_layout_and_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, chunk: int
) -> None:
    data = [{"q": 'a "quoted\\" {', "p": [{"t": "}]\\\\"}, {}], "é": "\\"}, {}, {"z": "\u2028"}]
    path = save(tmp_path, json.dumps(data, indent=indent, ensure_ascii=False).encode())
    monkeypatch.setattr(streams, "CHUNK", chunk)
    assert values_of(path) == data


@given(st.lists(objects().map(lambda text: re.sub(r"[\r\n]", " ", text)), min_size=1, max_size=4))
@settings(max_examples=50)
def test_the_rows_of_a_jsonl_file_are_its_lines(rows: list[str]) -> None:
    document = "\n".join(rows).encode()
    pieces = [document[i : i + 1] for i in range(len(document))]
    found = list(read_json_rows(Stream("x", b"{", iter(pieces))))
    assert [json.loads(row.raw) for row in found] == [json.loads(row) for row in rows]
    assert [row.where for row in found] == list(range(1, len(rows) + 1))


def test_long_runs_of_backslashes_are_counted_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [{"a": "\\" * n + '"', "b": "}" + "\\" * n} for n in range(70)]
    path = save(tmp_path, json.dumps(data).encode())
    for chunk in (1, 7, 32):
        monkeypatch.setattr(streams, "CHUNK", chunk)
        monkeypatch.setattr(json_rows, "_WINDOW", 10)
        assert values_of(path) == data


def test_a_row_may_be_many_chunks_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHUNK", 1 << 10)
    data = [{"a": ["{word}" * 50_000]}, {"b": 1}]
    assert values_of(save(tmp_path, json.dumps(data).encode(), "array")) == data
    lines = "\n".join(map(json.dumps, data)).encode()
    assert values_of(save(tmp_path, lines, "lines")) == data


# --- faults in JSON -------------------------------------------------------------------------------

ROWS = [
    {"question": "wer? é {", "positive_ctxs": [{"text": 'x "]}\\', "title": "t"}]},
    {"question": "q2", "answers": ["a"], "positive_ctxs": [{"text": "y", "psg_id": 7}]},
]
ARRAYS = {
    "on one line": json.dumps(ROWS, ensure_ascii=False).encode(),
    "pretty-printed": b"\n" + json.dumps(ROWS, indent=1).encode() + b"\n",
    "without rows": b"[ ]\r\n",
}
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode() + b"\n"


@pytest.mark.parametrize("chunk", [3, 1 << 18])
@pytest.mark.parametrize("document", ARRAYS.values(), ids=ARRAYS)
def test_an_array_that_is_cut_off_at_any_byte_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: bytes, chunk: int
) -> None:
    monkeypatch.setattr(streams, "CHUNK", chunk)
    whole = document.rindex(b"]") + 1
    for cut in range(whole):
        refusal(save(tmp_path, document[:cut]), lambda path: list(read_examples(path)))
    for cut in range(whole, len(document) + 1):
        assert values_of(save(tmp_path, document[:cut])) == json.loads(document)


def test_a_jsonl_file_whose_last_row_is_cut_off_is_refused(tmp_path: Path) -> None:
    rows = LINES.splitlines()
    good = {len(rows[0]), len(rows[0]) + 1, len(LINES) - 1, len(LINES)}
    for cut in range(len(LINES) + 1):
        path = save(tmp_path, LINES[:cut])
        if cut in good:
            assert len(list(read_examples(path))) == LINES[: cut + 1].count(b"\n")
        else:
            refusal(path, lambda path: list(read_examples(path)))


@pytest.mark.parametrize("pack", [gz, zst, bz2_, xz])
@pytest.mark.parametrize("document", [ARRAYS["on one line"], LINES], ids=["array", "lines"])
def test_a_compressed_file_that_is_cut_off_at_any_byte_is_refused(
    tmp_path: Path, document: bytes, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(document)
    for cut in range(len(packed)):
        refusal(save(tmp_path, packed[:cut]), lambda path: list(read_examples(path)))
    assert values_of(save(tmp_path, packed)) == ROWS


def test_a_compressed_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    assert "gzip file is cut off" in str(refusal(save(tmp_path, gz(LINES)[:-9])))
    assert "zstandard file is cut off" in str(refusal(save(tmp_path, zst(LINES)[:-5])))
    assert "bzip2 file is cut off" in str(refusal(save(tmp_path, bz2_(LINES)[:-5])))
    assert "xz file is cut off" in str(refusal(save(tmp_path, xz(LINES)[:-5])))


def test_a_corrupt_compressed_file_is_refused(tmp_path: Path) -> None:
    noise = json.dumps([{"a": os.urandom(3000).hex()}]).encode()
    for pack in (gz, zst, bz2_, xz):
        packed = bytearray(pack(noise))
        packed[len(packed) // 2] ^= 0xFF
        assert "corrupt" in str(refusal(save(tmp_path, bytes(packed))))


def test_bytes_after_the_end_of_a_compressed_file_are_refused(tmp_path: Path) -> None:
    for pack, name in ((gz, "gzip"), (zst, "zstandard"), (bz2_, "bzip2"), (xz, "xz")):
        assert f"corrupt {name}" in str(refusal(save(tmp_path, pack(LINES) + b"more" * 9)))


def test_zeros_may_pad_a_compressed_file(tmp_path: Path) -> None:
    for pack in (gz, xz):
        first, second = (pack(line + b"\n") for line in LINES.splitlines())
        assert values_of(save(tmp_path, first + b"\0" * 8 + second + b"\0" * 512)) == ROWS


@pytest.mark.parametrize("pack", [gz, zst, bz2_, xz])
def test_what_unpacks_to_a_thousand_times_its_size_is_given_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(streams, "CHUNK", 1 << 12)
    data = LINES + b" " * 3_000_000
    chunks = list(open_stream(save(tmp_path, pack(data))).chunks)
    assert b"".join(chunks) == data
    assert pack is zst or max(map(len, chunks)) <= 1 << 12


@pytest.mark.parametrize(
    ("document", "byte"),
    [
        (b'[{"a": 1} {"b": 2}]', 10),  # no comma
        (b'[{"a": 1},, {"b": 2}]', 10),
        (b'[, {"a": 1}]', 1),
        (b'[{"a": 1}, ]', 9),
        (b'[{"a": 1}, 5]', 11),
        (b"[1, 2]", 1),
        (b'["a"]', 1),
        (b'[[{"a": 1}]]', 1),
        (b'[{"a": 1}}]', 9),
        (b'[{"a": 1}] {"b": 2}', 11),
        (b'[{"a": 1}]\n]', 11),
        (b"[{}] \n x", 7),
        (b"\n" * 50 + b"[{}, x]", 55),  # the space before the array is many chunks
    ],
)
@pytest.mark.parametrize("chunk", [4, 1 << 18])
def test_what_is_no_array_of_objects_is_refused_with_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: bytes, byte: int, chunk: int
) -> None:
    monkeypatch.setattr(streams, "CHUNK", chunk)
    error = refusal(save(tmp_path, document))
    if error.where == f"byte {byte}":
        assert "not JSON" in error.problem
    else:
        assert error.where == 1
        assert re.fullmatch(rf"expected an object .* \(byte {byte}\)", error.problem)


def test_what_is_no_object_of_an_array_is_named_with_its_line(tmp_path: Path) -> None:
    packed = gzip.compress(b'\n[{"a": 1},\n\n  [2]]')
    error = refusal(save(tmp_path, packed))
    assert error.where == 4
    assert error.problem == "expected an object with named fields, found a list (byte 15)"


@pytest.mark.parametrize("data", [b"hello", b"42", b'"text"', b"null", b"<b>", b"\x80pickle"])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "not JSON" in refusal(save(tmp_path, data)).problem


@pytest.mark.parametrize(
    "data", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", gz(b""), zst(b""), bz2_(b""), xz(b"")]
)
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "empty" in refusal(save(tmp_path, data)).problem


@pytest.mark.parametrize(
    "text",
    [
        "BZh is a name",
        "PK is short",
        "Rare words",
        "%PD",
        "GIF and PNG",
        "<b>html</b>?",
        "ORCs?",
        "PAR1 gene",
        "FEA1",
    ],
)
def test_text_that_begins_like_another_kind_stays_text(tmp_path: Path, text: str) -> None:
    [row] = read_lines(open_stream(save(tmp_path, text.encode())))
    assert row.raw.decode() == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("document", [LINES, ARRAYS["on one line"]], ids=["lines", "array"])
def test_utf_16_is_refused(tmp_path: Path, document: bytes, encoding: str) -> None:
    path = save(tmp_path, document.decode().encode(encoding))
    error = refusal(path, lambda path: list(read_examples(path)))
    assert error.problem.startswith("UTF-16 text; convert it: iconv -f utf-16")


def test_latin_1_is_refused_with_the_line_and_the_byte(tmp_path: Path) -> None:
    lines = b'{"question": "a", "positive_ctxs": []}\n' + (
        '{"question": "é", "positive_ctxs": []}\n'.encode("latin-1")
    )
    error = refusal(save(tmp_path, lines), lambda path: list(read_examples(path)))
    assert error.where == 2
    assert "0xe9" in error.problem
    assert "iconv" in error.problem


# --- what is simply read --------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [plain, gz, zst, bz2_, xz])
@pytest.mark.parametrize("name", ["x", "x.json", "x.gz", "x.zst"])
def test_a_file_is_unpacked_by_its_content_and_not_by_its_name(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str
) -> None:
    for document in (LINES, ARRAYS["pretty-printed"]):
        assert values_of(save(tmp_path, pack(document), name)) == ROWS


@pytest.mark.parametrize("pack", [gz, zst, bz2_, xz])
@pytest.mark.parametrize("chunk", [1, 17, "the first part", 1 << 18])
def test_compressed_files_may_have_several_parts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pack: Callable[[bytes], bytes],
    chunk: int | str,
) -> None:
    first, second = (pack(line + b"\n") for line in LINES.splitlines())
    size = len(first) if isinstance(chunk, str) else chunk
    monkeypatch.setattr(streams, "CHUNK", size)
    assert values_of(save(tmp_path, first + second)) == ROWS


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: b"\n \n" + data.replace(b"\n", b"\n\n \t\n\r\n") + b"\n\n",
    ],
    ids=["a mark", "CRLF", "no last newline", "blank lines"],
)
@pytest.mark.parametrize("document", [LINES, ARRAYS["pretty-printed"]], ids=["lines", "array"])
def test_marks_line_ends_and_blank_lines_are_simply_read(
    tmp_path: Path, document: bytes, spoil: Callable[[bytes], bytes]
) -> None:
    for pack in (plain, gz, zst):
        assert values_of(save(tmp_path, pack(spoil(document)))) == ROWS


def test_lines_are_numbered_with_the_blank_ones(tmp_path: Path) -> None:
    source = open_stream(save(tmp_path, b"\n\nfirst\r\n \n\nsecond"))
    assert list(read_lines(source)) == [RawRow(b"first", 3, 2), RawRow(b"second", 6, 12)]


@pytest.mark.parametrize("chunk", [4, 64])
@pytest.mark.parametrize("document", [LINES, ARRAYS["pretty-printed"]], ids=["lines", "array"])
def test_a_row_knows_its_first_byte_also_behind_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: bytes, chunk: int
) -> None:
    monkeypatch.setattr(streams, "CHUNK", chunk)
    data = b"\xef\xbb\xbf" + document
    rows = rows_of(save(tmp_path, data))
    assert rows
    assert all(data[row.start :].startswith(row.raw) for row in rows)


def test_a_mark_within_a_file_is_no_mark(tmp_path: Path) -> None:
    source = open_stream(save(tmp_path, b"a\n\xef\xbb\xbfb\n"))
    assert [row.raw for row in read_lines(source)] == [b"a", b"\xef\xbb\xbfb"]


# --- files that cannot be read --------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no-such\.json: no such file"):
        rows_of(tmp_path / "no-such.json")


def test_a_directory_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        rows_of(tmp_path)


def test_a_file_in_place_of_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a part of this path is a file"):
        rows_of(save(tmp_path, b"[]") / "x.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, b"[]")
    path.chmod(0)
    with pytest.raises(InputError, match="not readable"):
        rows_of(path)


# --- no more than is needed -----------------------------------------------------------------------


@pytest.mark.parametrize("pack", [plain, gz, zst, bz2_, xz])
@pytest.mark.parametrize("opening", [b"[", b""], ids=["array", "lines"])
def test_what_comes_long_after_the_rows_that_were_asked_for_is_not_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opening: bytes,
    pack: Callable[[bytes], bytes],
) -> None:
    monkeypatch.setattr(streams, "CHUNK", 64)
    rows = [b'{"n": %d}' % n for n in range(1000)]
    document = opening + (b",\n" if opening else b"\n").join(rows) + b"\xff}\x00]" * 1000
    path = save(tmp_path, pack(document))
    found = islice(read_json_rows(open_stream(path)), 2)
    assert [json.loads(row.raw) for row in found] == [{"n": 0}, {"n": 1}]
    with pytest.raises(DprkitError):
        list(read_examples(path))


FIRST_TWO = """
from itertools import islice
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import open_stream
for row in islice(read_json_rows(open_stream("-")), 2):
    print(row.raw.decode())
"""


@pytest.mark.parametrize("pack", [plain, gz, zst, bz2_, xz])
def test_standard_input_may_be_compressed(pack: Callable[[bytes], bytes]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FIRST_TWO], input=pack(LINES), stdout=subprocess.PIPE, check=True
    )
    assert [json.loads(line) for line in ended.stdout.splitlines()] == ROWS


def test_standard_input_may_have_no_end() -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", FIRST_TWO], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdin is not None

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError):
            reader.stdin.write(b"[")
            while True:
                reader.stdin.write(b'{"a": 1},' * 1000)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert reader.stdout is not None
    output = reader.stdout.read()
    assert reader.wait(timeout=20) == 0
    feeder.join()
    reader.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        reader.stdin.close()
    assert output.split() == [b'{"a":', b"1}"] * 2


def large_rows() -> Iterator[bytes]:
    """30 MB: 300 rows of 100 kB."""
    for n in range(300):
        passages = [{"title": f"{n}", "text": f"word {n * i} " * 100} for i in range(100)]
        yield json.dumps({"question": f"q{n}", "positive_ctxs": passages}).encode()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("large")
    rows = list(large_rows())
    array, lines = b"[" + b",\n".join(rows) + b"]", b"\n".join(rows)
    assert len(array) > 28_000_000
    packed = gzip.compress(lines, compresslevel=1)
    return {
        "array": save(folder, array, "array"),
        "lines": save(folder, lines, "lines"),
        "gzip": save(folder, packed, "gzip"),
        "zstandard": save(folder, zst(array), "zstandard"),
        "repeated": save(folder, zst(rows[0] + b"\n" + (rows[1] + b"\n") * 299), "repeated"),
    }


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("array", 3), ("lines", 3), ("gzip", 3), ("zstandard", 3), ("repeated", 20)],
)
def test_memory_is_a_row_and_a_chunk(large: dict[str, Path], name: str, megabytes: int) -> None:
    rows_of(save(large[name].parent, LINES, "warm-up"))  # imports are not counted
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_json_rows(open_stream(large[name]))) == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1_000_000
