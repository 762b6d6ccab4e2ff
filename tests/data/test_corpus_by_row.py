"""The corpus opened at any row, against one pass over the file."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dprkit.data import corpus_by_row, row_index
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.passages import PASSAGES_HEADER, passage_line, read_passages
from dprkit.errors import FormatError, InputError
from dprkit.records import Passage
from dprkit.store import checksums


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every file is worth an index, a few rows fill a block, none lands in the user's folders."""
    monkeypatch.setattr(row_index, "WORTH", 0)
    monkeypatch.setattr(row_index, "BLOCK", 3)
    monkeypatch.setattr(corpus_by_row, "SORTED", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "dprkit"


PASSAGES = [
    Passage("7", "plain text", "Title"),
    Passage("a b", 'with "quotes", a\ttab\nand a\r\nsecond line', 'a "title"'),
    Passage("0007", "", ""),
    Passage("ü", "naïve\u2028 separator \x85", "été"),
    *(Passage(f"id{n}", "word " * n, "") for n in range(20)),
]
TSV = b"".join(map(passage_line, PASSAGES))
JSON = b"".join(
    json.dumps({"_id": p.id, "text": p.text, "title": p.title}).encode() + b"\n" for p in PASSAGES
)
TURNED = b"title\tid\ttext\n" + b"".join(
    passage_line(Passage(p.title, p.id, p.text)).replace(b"\n", b"\r\n") for p in PASSAGES[4:]
)
DOCUMENTS = {
    "tsv": TSV,
    "tsv with a header behind a mark": b"\xef\xbb\xbf" + PASSAGES_HEADER + TSV,
    "tsv with blank lines and no end": b"\n \n" + TSV.replace(b"\n0007", b"\n\n0007").rstrip(b"\n"),
    "tsv in another order, CRLF": TURNED,
    "tsv without titles": b'text\tid\n"one\ntwo"\ta\nthree\tb\n',
    "json lines": JSON,
    "json lines, blank lines, CRLF": b"\n" + JSON.replace(b"\n", b"\r\n \n"),
}
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def save(folder: Path, data: bytes = TSV, name: str = "corpus.tsv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def tsv(*ids: str) -> bytes:
    return b"".join(passage_line(Passage(id_, "text")) for id_ in ids)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_passages_from_any_row_are_those_of_one_pass(
    tmp_path: Path, document: str, pack: str
) -> None:
    path = save(tmp_path, PACKS[pack](DOCUMENTS[document]))
    expected = list(read_passages(path))
    for file in (PassageFile(path), PassageFile(path)):  # the second one loads the index
        assert len(file) == len(expected) > 1
        assert list(file.passages()) == expected
        for start in range(len(expected) + 2):
            assert list(file.passages(start)) == expected[start:]
            assert list(file.passages(start, start + 3)) == expected[start : start + 3]
        order = random.Random(0).sample(range(len(expected)), len(expected))
        assert file.at(order) == [expected[row] for row in order]
        assert file.rows_of(p.id for p in expected) == {p.id: r for r, p in enumerate(expected)}


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_rows_longer_than_a_chunk_are_whole(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PassageFile(save(tmp_path))
    monkeypatch.setattr(corpus_by_row, "CHUNK", chunk)
    assert list(file.passages(1, 5)) == PASSAGES[1:5]


def test_rows_are_given_in_the_order_asked_and_read_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PassageFile(save(tmp_path))
    read, reads = row_index.IndexedFile.read, []
    monkeypatch.setattr(
        row_index.IndexedFile, "read", lambda *args: reads.append(args[1:]) or read(*args)
    )
    assert file.at([5, 1, 5, 0, 1]) == [PASSAGES[row] for row in (5, 1, 5, 0, 1)]
    assert len(reads) == 3
    assert reads == sorted(reads)
    assert file.at([]) == []


def test_nothing_before_the_first_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PassageFile(save(tmp_path))
    read, starts = row_index.IndexedFile.read, []
    monkeypatch.setattr(
        row_index.IndexedFile, "read", lambda self, *at: starts.append(at) or read(self, *at)
    )
    assert next(file.passages(20)) == PASSAGES[20]
    place = TSV.index(b"id16")
    assert starts == [(place, len(TSV) - 1 - place)]


@pytest.mark.parametrize("row", [-1, 24])
def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path, row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} of 24 passages"):
        PassageFile(save(tmp_path)).at([0, row])


def test_a_header_is_one_in_the_first_row_only(tmp_path: Path) -> None:
    path = save(tmp_path, b"1\tone\ta\nid\ttext\ttitle\n2\ttwo\tb\n")
    assert list(PassageFile(path).passages(1)) == [
        Passage("id", "text", "title"),
        Passage("2", "two", "b"),
    ]


def test_absent_ids_have_no_row(tmp_path: Path) -> None:
    file = PassageFile(save(tmp_path))
    assert file.rows_of(["id3", "nobody", "7"]) == {"id3": 7, "7": 0}
    assert file.rows_of([]) == {}
    assert file.rows_of(["nobody"]) == {}


def test_ids_of_one_key_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_by_row, "text_key", lambda text: len(text) % 3)
    file = PassageFile(save(tmp_path))
    assert file.rows_of(["id7", "id19", "id20"]) == {"id7": 11, "id19": 23}
    with pytest.raises(FormatError, match=r"other\.tsv:4: the id 'a' is that of passage 2 too"):
        PassageFile(save(tmp_path, tsv("b", "a", "c", "a"), "other.tsv"))


# --- duplicates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", PACKS)
def test_a_duplicate_id_is_refused_by_its_place_and_leaves_nothing(
    tmp_path: Path, pack: str
) -> None:
    path = save(tmp_path, PACKS[pack](b"id\ttext\ttitle\n" + tsv("1", "2", "1")))
    with pytest.raises(FormatError) as caught:
        PassageFile(path)
    assert str(caught.value) == (
        f"{path}:4: the id '1' is that of passage 1 too; an id names one passage"
    )
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("seed", range(5))
def test_the_first_duplicate_is_found_wherever_it_is(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    ids = [str(n) for n in rng.sample(range(1000), 60)]
    first, second = sorted(rng.sample(range(60), 2))
    ids[second] = ids[first]
    place = f":{second + 1}: the id '{ids[first]}' is that of passage {first + 1} too"
    with pytest.raises(FormatError, match=place):
        PassageFile(save(tmp_path, tsv(*ids)))


def test_a_file_with_one_id_or_with_itself_behind_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_by_row, "SUSPECTS", 2)
    with pytest.raises(FormatError, match=":2: the id 'x' is that of passage 1 too"):
        PassageFile(save(tmp_path, tsv(*["x"] * 100)))
    with pytest.raises(FormatError, match=r":\d+: the id 'id\d+' is that of"):
        PassageFile(save(tmp_path, TSV * 2))


def test_duplicates_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path)
    PassageFile(path)
    monkeypatch.setattr(corpus_by_row, "_repeated", None)
    assert len(PassageFile(path)) == 24


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"id\ttext\ttitle\n", "1: holds no passage"),
        (b" \n", "1: the file is empty"),
        (b'1\tx\ty\n\n"a\nb"\tx\ty\n', r"3: the id 'a\\nb' holds a line break"),
        (b'{"id": "a", "text": ""}\n{"id": "a\\rb", "text": ""}\n', r"2: the id 'a\\rb' holds a"),
        (b"1\tx\ty\n\tx\ty\n", "2: the id is empty"),
        (b'{"id": "", "text": "x"}\n', "1: lacks the field id"),
        (b"1\tx\ty\n2\tx\n", "2: 2 tab-separated columns where there should be 3"),
        (b'1\tx\ty\n2\t"x\n', "2: broken quotes"),
        (b"1\tx\ty\n2\t\xe9\tx\n", "2: not UTF-8"),
        (gzip.compress(TSV)[:-9], r"byte \d+: the gzip file is cut off"),
    ],
)
def test_a_broken_corpus_is_refused_with_the_place_and_leaves_nothing(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    path = save(tmp_path, data)
    with pytest.raises(FormatError, match=f"corpus.tsv:{problem}"):
        PassageFile(path)
    assert os.listdir(tmp_path) == [path.name]


def test_a_stream_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("-", tmp_path / "pipe"):
        with pytest.raises(InputError, match="save the stream to a file first"):
            PassageFile(path)


def test_a_corpus_that_changes_under_the_index_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path)
    file = PassageFile(path)
    with path.open("ab") as more:
        more.write(b"\n")
    for read in (lambda: file.at([0]), lambda: next(file.passages(3)), lambda: file.rows_of("7")):
        with pytest.raises(InputError, match=r"corpus.tsv: changed while it was read; run again"):
            read()


@pytest.mark.parametrize("spoil", [lambda d: d[::-1], lambda d: d.replace(b"{", b'"', 6)])
@pytest.mark.parametrize("document", ["tsv", "json lines"])
def test_other_bytes_behind_an_unchanged_stamp_are_noticed_where_they_break_rows(
    tmp_path: Path, document: str, spoil: Callable[[bytes], bytes]
) -> None:
    data = DOCUMENTS[document].replace(b"text", b"{ext")
    path = save(tmp_path, DOCUMENTS[document])
    file, before = PassageFile(path), path.stat()
    path.write_bytes(spoil(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="changed while it was read"):
        file.at(range(len(file)))


# --- the index ------------------------------------------------------------------------------------


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    builds: list[object] = []
    build = row_index._build
    monkeypatch.setattr(row_index, "_build", lambda *args: builds.append(args) or build(*args))
    return builds


def test_an_index_is_made_once_and_again_when_the_corpus_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = count_builds(monkeypatch)
    path = save(tmp_path)
    for _ in range(2):
        PassageFile(path)
    assert len(builds) == 1
    save(tmp_path, tsv("a", "b"))
    assert [p.id for p in PassageFile(path).passages()] == ["a", "b"]
    assert len(builds) == 2


def test_a_corpus_that_was_only_touched_keeps_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "SETTLED", 0)  # as if it had been written seconds ago
    builds = count_builds(monkeypatch)
    path = save(tmp_path)
    PassageFile(path)
    os.utime(path, ns=(1, 1))
    assert list(PassageFile(path).passages()) == PASSAGES
    monkeypatch.setattr(row_index, "_renewed", None)  # the index knows the new time by now
    assert list(PassageFile(path).passages()) == PASSAGES
    assert len(builds) == 1


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda d: d[:-5], lambda d: d + b"more"])
def test_a_broken_index_is_made_anew(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = save(tmp_path)
    PassageFile(path)
    index = tmp_path / "corpus.tsv.rows"
    whole = index.read_bytes()
    index.write_bytes(spoil(whole))
    assert list(PassageFile(path).passages()) == PASSAGES
    assert index.read_bytes() == whole


def test_the_index_of_examples_is_none_of_passages(tmp_path: Path) -> None:
    row = {"id": "1", "text": "x", "question": "q", "positive_ctxs": [{"text": "t"}]}
    path = save(tmp_path, json.dumps(row).encode() + b"\n" + json.dumps(row).encode())
    assert len(ExampleFile(path)) == 2
    with pytest.raises(FormatError, match="the id '1' is that of passage 1"):
        PassageFile(path)


def test_a_small_corpus_gets_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_index, "WORTH", 1 << 20)
    path = save(tmp_path)
    assert list(PassageFile(path).passages(2)) == PASSAGES[2:]
    assert os.listdir(tmp_path) == [path.name]


def test_an_index_that_cannot_be_kept_serves_all_the_same(tmp_path: Path) -> None:
    path = save(tmp_path)
    (tmp_path / "corpus.tsv.rows").mkdir()
    notes: list[str] = []
    file = PassageFile(path, notes.append)
    assert file.at([23, 0]) == [PASSAGES[23], PASSAGES[0]]
    assert len(notes) == 1
    assert "is not kept" in notes[0]


def test_where_the_folder_cannot_be_written_the_index_goes_to_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = save(folder, gzip.compress(TSV))
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: p != folder and allowed(p, mode))
    notes: list[str] = []
    for _ in range(2):
        assert PassageFile(path, notes.append).at([7]) == [PASSAGES[7]]
    assert os.listdir(folder) == [path.name]
    assert sorted(p.suffix for p in cache.iterdir()) == [".rows", ".rows-data"]
    assert [("cannot be written" in note, "unpacking it once" in note) for note in notes] == [
        (True, False),
        (False, True),
    ]


def test_many_may_make_the_index_and_read_at_once(tmp_path: Path) -> None:
    path = save(tmp_path, gzip.compress(TSV))
    together = threading.Barrier(4)

    def read(_: int) -> list[Passage]:
        together.wait()
        return list(PassageFile(path).passages())

    with ThreadPoolExecutor(4) as pool:
        assert all(found == PASSAGES for found in pool.map(read, range(4)))
    file = PassageFile(path)
    with ThreadPoolExecutor(4) as pool:
        order = [random.Random(n).sample(range(24), 24) for n in range(20)]
        assert list(pool.map(file.at, order)) == [[PASSAGES[row] for row in o] for o in order]


MEMORY = """
import sys
from pathlib import Path
import numpy
from dprkit.data import corpus_by_row, row_index
from dprkit.data.corpus_by_row import PassageFile

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000

# What takes room in proportion to the corpus is reached soon.
row_index.BLOCK, corpus_by_row.SORTED = 1 << 12, 1 << 13
before = peak()
file = PassageFile(sys.argv[1])
count = sum(1 for _ in file.passages(len(file) // 2))
assert file.rows_of(["0", "n"]) == {"0": 0}
assert file.at(range(0, len(file), len(file) // 100))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_the_same_for_ten_times_the_passages(tmp_path: Path) -> None:
    def added(count: int) -> float:
        path = save(tmp_path, tsv(*map(str, range(count))), f"{count}.tsv")
        command: list[Any] = [sys.executable, "-c", MEMORY, path]
        return float(subprocess.run(command, capture_output=True, check=True).stdout)

    assert added(200_000) - added(20_000) < 3  # MB; a table in memory would be 4.3
