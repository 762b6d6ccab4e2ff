"""Remembered hashes against hashlib's, with files that change in every way that is hard to see."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from dprkit.store import checksums
from dprkit.store.checksums import SMALL, Stamp, sha256

LARGE = os.urandom(SMALL + 1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own, for files that were written long ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checksums, "SETTLED", 0)
    forget()
    return tmp_path / "cache/dprkit/checksums"


def forget():
    """As a new process begins."""
    checksums._kept.clear()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file ü"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def reads(monkeypatch):
    """Every reading of a whole file."""
    found, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: found.append(a) or digest(*a))
    return found


def true(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_large_file_is_read_once_and_a_small_one_each_time(tmp_path, path, reads):
    small = tmp_path / "small"
    small.write_bytes(LARGE[:SMALL])
    for _ in range(3):
        forget()
        assert (sha256(path), sha256(small)) == (true(path), true(small))
    assert len(reads) == 1 + 3


def test_it_is_read_again_after_any_change(path, reads):
    before, times = sha256(path), path.stat()
    content = bytearray(LARGE)
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as tar and rsync -t do
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
    forget()
    assert sha256(path) == true(path) != before
    other = path.with_name("other")
    other.write_bytes(LARGE[::-1])
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    forget()
    assert sha256(path) == true(path)
    assert len(reads) == 3


def test_a_copy_is_read_once_more_and_then_remembered(tmp_path, path, reads):
    sha256(path)
    shutil.copy2(path, tmp_path / "copy")
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder/moved")
    for _ in range(2):
        assert (
            sha256(tmp_path / "copy")
            == sha256(tmp_path / "folder/moved")
            == true(tmp_path / "copy")
        )
        forget()
    assert len(reads) == 3


def test_a_file_that_was_changed_just_now_is_not_remembered(path, reads, monkeypatch, cache):
    """A second change within a tick of the clock would leave the same times."""
    monkeypatch.setattr(checksums, "SETTLED", 2 * 10**9)
    times = path.stat()
    sha256(path)
    sha256(path)
    assert len(reads) == 2 and not cache.exists()
    now = times.st_ctime_ns + 2 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert not Stamp(1, 1, 1, times.st_ctime_ns).settled()
    monkeypatch.setattr(time, "time_ns", lambda: now + 1)
    assert Stamp(1, 1, 1, times.st_ctime_ns).settled()


@pytest.mark.parametrize(
    "spoil", [lambda raw: b"", lambda raw: raw[:50], lambda raw: raw.replace(b'"', b"'"),
              lambda raw: raw[:80] + bytes([raw[80] ^ 1]) + raw[81:], lambda raw: b"\xff" * 200]
)  # fmt: skip
def test_a_damaged_cache_costs_a_reading_and_no_more(path, cache, reads, spoil):
    wanted = sha256(path)
    (record,) = cache.iterdir()
    record.write_bytes(spoil(record.read_bytes()))
    forget()
    assert sha256(path) == wanted
    forget()
    assert sha256(path) == wanted
    assert len(reads) == 2


def test_a_record_of_another_path_does_not_count(tmp_path, path, cache, reads):
    """Even if somebody copies it to the place where the other's would be."""
    sha256(path)
    (record,) = cache.iterdir()
    other = tmp_path / "other"
    os.link(path, other)
    record.rename(checksums._place(os.path.realpath(other)))
    forget()
    assert sha256(other) == true(path)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_costs_a_reading_and_no_more(tmp_path, path, reads):
    (tmp_path / "cache").write_text("in the way")
    for _ in range(2):
        forget()
        assert sha256(path) == true(path)
    assert len(reads) == 2
    sha256(path)
    assert len(reads) == 2  # within a process it is remembered


def test_a_user_without_a_home_folder_has_no_cache(path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert sha256(path) == true(path)


def test_the_cache_can_be_put_elsewhere(tmp_path, path, monkeypatch):
    monkeypatch.setenv("DPRKIT_CACHE", str(tmp_path / "mine"))
    sha256(path)
    assert len(list((tmp_path / "mine/checksums").iterdir())) == 1


@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_a_record_of_the_cache_has_the_mode_that_the_umask_leaves(path, cache, mask):
    before = os.umask(mask)
    try:
        sha256(path)
    finally:
        os.umask(before)
    assert [one.stat().st_mode & 0o777 for one in cache.iterdir()] == [0o666 & ~mask]
