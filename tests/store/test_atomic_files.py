from __future__ import annotations

import gzip
import hashlib
import os
import threading

import numpy as np
import pytest
import zstandard

from dprkit.errors import OutputError
from dprkit.store.atomic_files import Hashing, write_file


def write(path, data=b"new"):
    with write_file(path) as file:
        file.write(data)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_the_bytes_that_were_written(tmp_path):
    with write_file(tmp_path / "below" / "a.bin") as file:
        file.write(b"one ")
        file.write(b"two")
    assert (tmp_path / "below" / "a.bin").read_bytes() == b"one two"


def test_a_file_is_not_there_before_it_is_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with write_file(path) as file:
        file.write(b"x" * (3 << 20))
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"x" * (3 << 20)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_a_file_that_was_given_up(tmp_path, stop):
    (tmp_path / "old").write_bytes(b"old")
    for name in ("old", "new", "new.gz", "new.zst"):
        with pytest.raises(stop), write_file(tmp_path / name) as file:
            file.write(b"half")
            raise stop
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_name_in_gz_is_compressed_with_the_same_bytes_every_time(tmp_path):
    for folder in ("one", "two"):
        write(tmp_path / folder / "a.jsonl.gz", b"words " * 1000)
    one, two = ((tmp_path / folder / "a.jsonl.gz").read_bytes() for folder in ("one", "two"))
    assert gzip.decompress(one) == b"words " * 1000
    assert one == two
    assert len(one) < 200


def test_a_name_in_zst_is_compressed(tmp_path):
    write(tmp_path / "a.zst", b"words " * 1000)
    packed = (tmp_path / "a.zst").read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == b"words " * 1000


def test_a_dash_is_stdout(capfdbinary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("-", b"to the pipe")
    assert capfdbinary.readouterr().out == b"to the pipe"
    assert names(tmp_path) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write(tmp_path / "a")
    finally:
        assert os.umask(before) == mask
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/real")
    for data in (b"first", b"second"):
        write(tmp_path / "link", data)
        assert (tmp_path / "there" / "real").read_bytes() == data
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "there"]


def test_a_pipe_is_written_and_not_replaced(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"through")
    reader.join(10)
    assert found == [b"through"]
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("length", [1, 100, 255])
@pytest.mark.parametrize("sign", ["a", "東"])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path, length, sign):
    path = tmp_path / (sign * (length // len(sign.encode()) or 1))
    write(path)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("folder", "is a directory; name a file in it"),
        ("file/below", "a part of this path is a file; choose another"),
        ("file/far/below", "a part of this path is a file; choose another"),
        ("a" * 256, "file name too long; choose another output"),
        ("loop/below", r"loop is a link that leads nowhere \(loop\); choose another"),
        ("gone/below", r"gone is a link that leads nowhere \(nowhere\); choose another"),
    ],
)
def test_a_place_that_cannot_hold_a_file_is_refused_by_name(tmp_path, name, problem):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(OutputError, match=problem) as caught:
        write(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert names(tmp_path) == ["file", "folder", "gone", "loop"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(mount):
    folder = mount("size=64k")
    write(folder / "a", b"old")
    with pytest.raises(OutputError, match=r"/a: no space left on the device; free some"):
        write(folder / "a", b"x" * (1 << 20))
    assert names(folder) == ["a"]
    assert (folder / "a").read_bytes() == b"old"


def test_a_read_only_disk_is_told(mount):
    folder = mount("ro")
    with pytest.raises(OutputError, match="not writable; choose another output"):
        write(folder / "below" / "a")


def test_what_passes_through_is_counted_in_bytes_and_hashed(tmp_path):
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    with (tmp_path / "a").open("wb") as file:
        hashing = Hashing(file)
        hashing.write(b"head")
        hashing.write(vectors.data)
    whole = b"head" + vectors.tobytes()
    assert (tmp_path / "a").read_bytes() == whole
    assert (hashing.count, hashing.digest.hexdigest()) == (28, hashlib.sha256(whole).hexdigest())


def test_what_a_killed_run_left_is_gone_a_day_later(tmp_path):
    old, young, other = (
        tmp_path / f".tmp-{n}"
        for n in ("out.jsonl-abcd_123", "out.jsonl-bbcd_123", "out.jsonl-notes.txt")
    )
    for left in (old, young, other):
        left.write_text("half")
    for left in (old, other):
        os.utime(left, (0, 0))
    with write_file(tmp_path / "out.jsonl") as file:
        file.write(b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [young.name, other.name, "out.jsonl"]
