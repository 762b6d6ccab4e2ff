import os
import subprocess
import sys
import time

import msgspec
import pytest

from dprkit.store import leases
from dprkit.store.leases import HELD, Holder


def held(folder, name, holder, age=0.0):
    path = folder / f"{name}{HELD}"
    path.write_bytes(msgspec.json.encode(holder))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_lease_is_given_to_one_at_a_time(tmp_path):
    first = leases.take(tmp_path, "a")
    assert first and leases.any_alive(tmp_path)
    assert leases.take(tmp_path, "a") is None
    other = leases.take(tmp_path, "b")
    assert other
    first.give_back()
    other.give_back()
    assert not leases.any_alive(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from dprkit.store import leases;"
        "leases.take(Path(sys.argv[1]), 'a'); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        assert leases.take(tmp_path, "a") is None
        other.kill()
        other.wait()
        assert leases.take(tmp_path, "a")


@pytest.mark.parametrize(("age", "free"), [(0, False), (leases.LIFETIME + 1, True)])
def test_a_lease_of_another_host_is_dead_without_a_sign_of_life(tmp_path, age, free):
    held(tmp_path, "a", Holder("another-host", "t", 1, "1"), age)
    assert bool(leases.take(tmp_path, "a")) is free


def test_a_reused_process_number_is_another_process(tmp_path):
    me = leases.take(tmp_path, "a")
    assert me
    mine = leases.holder(tmp_path / f"a{HELD}")
    assert mine
    held(tmp_path, "b", msgspec.structs.replace(mine, started="1"))
    assert leases.take(tmp_path, "b")


def test_a_lease_lives_as_long_as_it_gives_signs(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.05)
    lease = leases.take(tmp_path, "a")
    assert lease
    os.utime(lease.path, (1, 1))
    deadline = time.monotonic() + 10
    while lease.path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.time() - lease.path.stat().st_mtime < leases.LIFETIME
    lease.give_back()


def test_a_lease_that_was_taken_over_is_not_given_back(tmp_path):
    lease = leases.take(tmp_path, "a")
    assert lease
    path = held(tmp_path, "a", Holder("another-host", "t", 1, "1"))
    lease.give_back()
    assert path.exists()


def test_a_lease_file_that_was_cut_short_holds_nothing(tmp_path):
    (tmp_path / f"a{HELD}").write_bytes(b'{"host":')
    assert not leases.any_alive(tmp_path)
    assert leases.take(tmp_path, "a")


def test_a_namesake_with_another_process_table_is_judged_by_its_signs(tmp_path):
    me = leases.take(tmp_path, "a")
    assert me
    mine = leases.holder(tmp_path / f"a{HELD}")
    assert mine
    held(tmp_path, "b", msgspec.structs.replace(mine, table="another container", pid=1))
    assert leases.take(tmp_path, "b") is None
