"""Locks: held by one process, named, and gone with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dprkit.errors import LockedError, OutputError
from dprkit.store.locks import LOCK, lock, lock_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_lock_is_held_once_and_names_its_holder(tmp_path):
    folder = tmp_path / "out"
    with lock(folder):
        with pytest.raises(LockedError, match=rf"out: in use by pid {os.getpid()} on .+ since 2"):
            lock(folder).__enter__()
        (folder / "made").touch()
    with lock(folder):
        pass
    assert names(folder) == ["made"]


def test_a_lock_leaves_no_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="bad input"), lock(tmp_path / "out"):
        raise ValueError("bad input")
    assert names(tmp_path) == []
    (tmp_path / "kept").mkdir()
    with pytest.raises(ValueError), lock(tmp_path / "kept/results/retriever"):
        raise ValueError("bad input")
    assert names(tmp_path) == ["kept"] and names(tmp_path / "kept") == []


def test_a_killed_holder_lets_go(tmp_path):
    program = "import os, sys; from pathlib import Path; from dprkit.store.locks import lock\n"
    program += "with lock(Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == 9
    assert names(tmp_path) == [LOCK]
    with lock(tmp_path):
        assert f"pid {os.getpid()} " in (tmp_path / LOCK).read_text()


def test_two_processes_never_hold_a_lock_together(tmp_path):
    """Each adds 1 to a number in a file, 100 times, which goes wrong if two do it at once."""
    program = """
import sys
from pathlib import Path
from dprkit.errors import LockedError, OutputError
from dprkit.store.locks import lock
number, folder, done = Path(sys.argv[1]), Path(sys.argv[2]), 0
while done < 100:
    try:
        with lock(folder):
            number.write_text(str(int(number.read_text()) + 1))
            done += 1
    except LockedError:
        pass
"""
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", program, str(tmp_path / "number"), str(tmp_path / "locked")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Path(tmp_path / "number").read_text() == "300"


def test_where_no_lock_can_lie_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"out: a part of this path is a file"):
        lock(tmp_path / "file" / "out").__enter__()
    (tmp_path / LOCK).symlink_to("file")  # a link could lead anywhere
    with pytest.raises(OutputError, match="choose another output"):
        lock(tmp_path).__enter__()
    assert (tmp_path / "file").read_bytes() == b""


def test_a_lock_is_waited_for(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from dprkit.store.locks import lock\n"
        "with lock(Path(sys.argv[1])):\n    print(flush=True); time.sleep(0.5)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        with lock(tmp_path, patience=60):
            assert f"pid {os.getpid()} " in (tmp_path / LOCK).read_text()


def test_a_removed_lock_file_that_was_waited_for_holds_nothing(tmp_path):
    """Its holder removes it before it lets go, so the next one must make another."""
    path = tmp_path / "held"
    with lock_file(path, tmp_path):
        path.unlink()
        with lock_file(path, tmp_path):
            assert path.exists()
