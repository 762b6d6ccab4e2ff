"""Random access to rows, against the rows that one pass over the file finds."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dprkit.data import examples_by_row, row_index
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import open_stream
from dprkit.errors import FormatError, InputError, OutputError
from dprkit.store import checksums


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every file is worth an index, and none lands in the user's folders."""
    monkeypatch.setattr(row_index, "WORTH", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "dprkit"


class RowFile(row_index.IndexedFile):
    """A file of examples, with the keys of its rows."""

    def __init__(self, path: Path, *note: Callable[[str], object]) -> None:
        super().__init__(path, examples_by_row.EXAMPLES, *note)
        self.keys, self.questions = self.table[:]["key"], self.table[:]["question"]


def example(number: int, *texts: str) -> dict[str, Any]:
    return {
        "question": f"quéstion {number}",
        "answers": ["{"],
        "positive_ctxs": [{"title": "t", "text": text} for text in texts],
        "hard_negative_ctxs": [{"text": 'a "}" text', "score": "1.5"}],
    }


EXAMPLES = [example(0, "one"), example(1, " ", "two"), example(2), example(3, "one\n", "two")]
LINES = "\n".join(map(json.dumps, EXAMPLES)).encode()
DOCUMENTS = {
    "lines": LINES,
    "blank lines, CRLF": b"\n \r\n" + LINES.replace(b"\n", b"\r\n\n") + b"\n",
    "a mark": b"\xef\xbb\xbf" + LINES,
    "array": json.dumps(EXAMPLES, indent=2, ensure_ascii=False).encode(),
    "an array behind a mark": b"\xef\xbb\xbf" + json.dumps(EXAMPLES).encode(),
}
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def save(folder: Path, data: bytes = LINES, name: str = "train.json") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    builds: list[object] = []
    build = row_index._build
    monkeypatch.setattr(row_index, "_build", lambda *args: builds.append(args) or build(*args))
    return builds


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_rows_read_at_random_are_those_of_one_pass_with_their_places(
    tmp_path: Path, document: str, pack: str
) -> None:
    path = save(tmp_path, PACKS[pack](DOCUMENTS[document]))
    expected = list(read_json_rows(open_stream(path)))
    for file in (RowFile(path), RowFile(path)):  # the second one loads the index
        assert len(file) == 4
        assert [file.row(i) for i in (3, 1, 0, 2)] == [expected[i] for i in (3, 1, 0, 2)]
        assert [json.loads(file.row(i).raw) for i in range(4)] == EXAMPLES


def test_rows_have_a_key_for_their_first_positive_that_has_a_text(tmp_path: Path) -> None:
    keys = RowFile(save(tmp_path)).keys.tolist()
    hashes = [hashlib.blake2b(text, digest_size=8).digest() for text in (b"one", b"two")]
    one, two = (int.from_bytes(digest, "little") & (1 << 40) - 1 for digest in hashes)
    assert [key & (1 << 40) - 1 for key in keys] == [one, two, 0, one]


def test_keys_tell_titles_apart(tmp_path: Path) -> None:
    rows = [("A", "one"), ("A", "two"), ("B", "one"), ("", "one")]
    path = tmp_path / "t.jsonl"
    path.write_text(
        "".join(
            json.dumps({"question": "q", "positive_ctxs": [{"title": title, "text": text}]}) + "\n"
            for title, text in rows
        )
    )
    a, also_a, b, none = (key >> 40 for key in RowFile(path).keys.tolist())
    assert a == also_a and len({a, b, none}) == 3


def test_rows_with_the_same_question_have_the_same_key_for_it(tmp_path: Path) -> None:
    questions = ["who wrote it", "who wrote that", " Who  WROTE it\t", "STRASSE", "straße", "who"]
    path = tmp_path / "q.jsonl"
    path.write_text(
        "".join(
            json.dumps({"question": q, "positive_ctxs": [{"text": q}]}) + "\n" for q in questions
        )
    )
    for file in (RowFile(path), RowFile(path)):  # the second one loads the index
        it, that, again, strasse, straße, who = file.questions.tolist()
        assert it == again and strasse == straße
        assert len({it, that, strasse, who}) == 4


def test_an_index_of_an_earlier_version_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = count_builds(monkeypatch)
    path = save(tmp_path)
    RowFile(path)
    index = tmp_path / "train.json.rows"
    index.write_bytes(index.read_bytes().replace(b'"version":6', b'"version":5', 1))
    assert RowFile(path).questions.all()
    assert len(builds) == 2


def test_an_index_is_made_once_and_again_when_the_file_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = count_builds(monkeypatch)
    path = save(tmp_path)
    RowFile(path)
    assert (tmp_path / "train.json.rows").is_file()
    RowFile(path)
    assert len(builds) == 1
    save(tmp_path, json.dumps(example(7, "x")).encode())
    assert RowFile(path).row(0).raw == path.read_bytes()
    assert len(builds) == 2


def test_a_file_that_was_only_touched_keeps_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "SETTLED", 0)  # as if it had been written seconds ago
    builds = count_builds(monkeypatch)
    path = save(tmp_path)
    RowFile(path)
    os.utime(path, ns=(1, 1))
    RowFile(path)
    monkeypatch.setattr(row_index, "_renewed", None)  # the index knows the new time by now
    RowFile(path)
    assert len(builds) == 1


def test_another_content_of_the_same_size_is_found_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = count_builds(monkeypatch)
    path = save(tmp_path)
    before = RowFile(path)
    save(tmp_path, LINES.replace(b"one", b"six"))
    os.utime(path, ns=(1, 1))
    assert RowFile(path).keys.tolist() != before.keys.tolist()
    assert len(builds) == 2


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda d: d[:-5], lambda d: b"{}\n" + d[1:]])
def test_a_broken_index_is_made_anew(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = save(tmp_path)
    RowFile(path)
    index = tmp_path / "train.json.rows"
    whole = index.read_bytes()
    index.write_bytes(spoil(whole))
    assert len(RowFile(path)) == 4
    assert index.read_bytes() == whole


def test_a_small_file_gets_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_index, "WORTH", 1 << 20)
    path = save(tmp_path)
    assert len(RowFile(path)) == 4
    assert os.listdir(tmp_path) == [path.name]


def test_where_the_folder_cannot_be_written_the_index_goes_to_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = save(folder, gzip.compress(LINES))
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: p != folder and allowed(p, mode))
    builds, notes = count_builds(monkeypatch), []
    for _ in range(2):
        assert len(RowFile(path, notes.append)) == 4
    assert len(builds) == 1
    assert os.listdir(folder) == [path.name]
    assert sorted(p.suffix for p in cache.iterdir()) == [".rows", ".rows-data"]
    assert "cannot be written" in notes[0]


def test_in_a_folder_of_somebody_else_the_index_goes_to_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that many share may be writable, and is no place for everybody's files."""
    path = save(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    notes: list[str] = []
    builds = count_builds(monkeypatch)
    for _ in range(2):
        assert len(RowFile(path, notes.append)) == 4
    assert not list(tmp_path.glob("*.rows"))
    assert [p.suffix for p in cache.iterdir() if p.is_file()] == [".rows"]
    assert len(builds) == len(notes) == 1 and "is not yours" in notes[0]


def test_an_index_that_lies_beside_is_used_by_everybody(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path)
    RowFile(path)
    builds = count_builds(monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert len(RowFile(path)) == 4
    assert builds == []


def test_the_user_says_where_indexes_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPRKIT_CACHE", str(tmp_path / "mine"))
    path = save(tmp_path, gzip.compress(LINES))
    assert len(RowFile(path)) == 4
    suffixes = sorted(p.suffix for p in (tmp_path / "mine").iterdir() if p.is_file())
    assert suffixes == [".rows", ".rows-data"]
    assert not list(tmp_path.glob("train*rows*"))


def test_where_nothing_can_be_written_both_places_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, gzip.compress(LINES))
    (tmp_path / "train.json.rows-data").mkdir()
    (tmp_path / "cache").write_text("in the way")
    places = rf"train.json.rows-data: .+, {tmp_path}/cache.+"
    with pytest.raises(OutputError, match=rf"{places}; set XDG_CACHE_HOME to a folder"):
        RowFile(path)


@pytest.mark.parametrize("pack", PACKS)
def test_other_bytes_of_the_same_size_and_time_are_noticed(tmp_path: Path, pack: str) -> None:
    """As tar, rsync -t and docker layers leave them: another ctime tells, or another inode."""
    path = save(tmp_path, PACKS[pack](LINES))
    before = RowFile(path)
    times = path.stat()
    words = (bytes([a, b, c]) for a in b"aest" for b in b"aio" for c in b"nx")
    packed = (PACKS[pack](LINES.replace(b"one", word)) for word in words)
    path.write_bytes(next(data for data in packed if len(data) == times.st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = RowFile(path)
    assert after.row(0).raw == next(read_json_rows(open_stream(path))).raw
    assert before.sha256 != after.sha256


def test_unpacked_data_that_was_changed_is_unpacked_again(tmp_path: Path) -> None:
    path = save(tmp_path, gzip.compress(LINES))
    RowFile(path)
    data = tmp_path / "train.json.rows-data"
    times = data.stat()
    data.write_bytes(LINES.replace(b"one", b"six"))
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert b"one" in RowFile(path).row(0).raw
    assert data.read_bytes() == LINES


def test_a_copy_of_data_and_index_is_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    RowFile(save(tmp_path / "here", gzip.compress(LINES)))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    builds = count_builds(monkeypatch)
    assert len(RowFile(tmp_path / "there/train.json")) == 4
    assert builds == []


def test_an_index_that_cannot_be_kept_is_no_reason_to_stop(tmp_path: Path) -> None:
    path = save(tmp_path)
    (tmp_path / "train.json.rows").mkdir()
    notes: list[str] = []
    assert len(RowFile(path, notes.append)) == 4
    assert len(notes) == 1
    assert "is not kept" in notes[0]


def test_a_compressed_file_is_unpacked_once_beside(tmp_path: Path) -> None:
    path = save(tmp_path, gzip.compress(LINES), "train.jsonl.gz")
    notes: list[str] = []
    RowFile(path, notes.append)
    assert len(notes) == 1
    assert "unpacking" in notes[0]
    data = tmp_path / "train.jsonl.gz.rows-data"
    assert data.read_bytes() == LINES
    RowFile(path, notes.append)
    assert len(notes) == 1
    data.unlink()
    assert RowFile(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data.read_bytes() == LINES


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (LINES + b'\n{"question": 3}', "5: .*question"),
        (LINES + b'\n{"question": "q"', "5: not JSON"),
        (LINES.replace(b'"1.5"', b'"high"', 1), "1: the score 'high' is not a finite number"),
        (LINES.replace(b'"1.5"', b'"inf"', 1), "1: the score 'inf' is not a finite number"),
        (b"[" + LINES.replace(b"\n", b","), r"byte \d+: the JSON array is cut off"),
        (b"[{}]", "byte 1: lacks the field"),
        (b"question\tanswer\n", "1: not JSON"),
        (b" \n", "1: the file is empty"),
        (gzip.compress(LINES)[:-9], r"byte \d+: the gzip file is cut off"),
    ],
)
def test_a_broken_file_is_refused_with_the_place_and_leaves_nothing(
    tmp_path: Path, data: bytes, place: str
) -> None:
    path = save(tmp_path, data)
    with pytest.raises(FormatError, match=f"train.json:{place}"):
        RowFile(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("how", ["-", "a pipe", "a folder", "nothing"])
def test_what_cannot_be_read_at_random_is_refused_in_a_line(tmp_path: Path, how: str) -> None:
    path = Path("-") if how == "-" else tmp_path / "here"
    if how == "a pipe":
        os.mkfifo(path)
    if how == "a folder":
        path.mkdir()
    with pytest.raises(InputError, match=r"save the stream|is a directory|no such file") as caught:
        RowFile(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_changes_under_the_index_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path)
    file = RowFile(path)
    with path.open("ab") as more:
        more.write(b"\n")
    with pytest.raises(InputError, match=r"train.json: changed while it was read; run again"):
        file.row(0)


def test_a_file_that_is_replaced_whole_is_read_on_as_it_was(tmp_path: Path) -> None:
    path = save(tmp_path)
    file = RowFile(path)
    save(tmp_path, b"[]", "other").replace(path)
    assert json.loads(file.row(3).raw) == EXAMPLES[3]


def test_a_file_that_grows_while_it_is_indexed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path)
    key = examples_by_row.example_keys

    def meddle(*args: Any) -> tuple[int, int]:
        with path.open("ab") as more:
            more.write(b" ")
        return key(*args)

    monkeypatch.setattr(examples_by_row, "example_keys", meddle)
    with pytest.raises(InputError, match="changed while it was read"):
        RowFile(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("pack", PACKS)
def test_many_may_make_the_index_at_once(tmp_path: Path, pack: str) -> None:
    path = save(tmp_path, PACKS[pack]((LINES + b"\n") * 20))
    together = threading.Barrier(4)

    def build(_: int) -> list[bytes]:
        together.wait()
        file = RowFile(path)
        return [file.row(i).raw for i in range(len(file))]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(build, range(4)))
    file = RowFile(path)
    assert all(rows == [file.row(i).raw for i in range(len(file))] for rows in found)


MEMORY = """
import sys
from pathlib import Path
import numpy
from dprkit.data.examples_by_row import EXAMPLES
from dprkit.data.row_index import IndexedFile

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1000

before = peak()
file = IndexedFile(sys.argv[1], EXAMPLES)
assert sum(len(file.row(i).raw) for i in range(len(file))) > 60_000_000
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_far_below_the_size_of_the_file(tmp_path: Path) -> None:
    row = json.dumps(example(0, "word " * 20_000)).encode() + b"\n"
    path = save(tmp_path, row * 640)
    assert path.stat().st_size > 60_000_000
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 20
