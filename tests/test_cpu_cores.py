"""How many threads are taken, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dprkit import cpu_cores
from dprkit.cpu_cores import shared_among, thread_count


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control groups' folder; this process may use 64 cores and was given no number."""
    monkeypatch.setattr(cpu_cores, "_GROUPS", str(tmp_path))
    monkeypatch.setattr(cpu_cores, "_MEMBERSHIP", str(tmp_path / "membership"))
    monkeypatch.setattr(cpu_cores, "_allowed", lambda: 64)
    monkeypatch.setattr(cpu_cores, "GIVEN", False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("quota", "count"), [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2)]
)
def test_a_containers_quota_counts(groups: Path, quota: str, count: int) -> None:
    write(groups, membership="0::/\n", cpu__max=f"{quota}\n")
    assert thread_count() == count


def test_the_smallest_quota_of_the_groups_above_counts(groups: Path) -> None:
    write(groups, membership="0::/user/mine\n")
    write(groups / "user", cpu__max="300000 100000\n")
    write(groups / "user" / "mine", cpu__max="max 100000\n")
    write(groups / "other", cpu__max="100000 100000\n")
    assert thread_count() == 3


@pytest.mark.parametrize(("quota", "count"), [("-1", 64), ("400000", 4), ("50000", 1)])
def test_a_quota_of_the_first_version_counts_where_the_path_is_the_hosts(
    groups: Path, quota: str, count: int
) -> None:
    write(groups, membership="5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n0::/\n")
    period = {"cpu__cfs_period_us": "100000\n", "cpu__cfs_quota_us": f"{quota}\n"}
    write(groups / "cpu,cpuacct", **period)
    assert thread_count() == count


@pytest.mark.parametrize(("given", "taken"), [("3", 3), ("2,1", 2), ("", 64), ("0", 64), ("x", 64)])
def test_the_users_number_counts_above_all(
    groups: Path, monkeypatch: pytest.MonkeyPatch, given: str, taken: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert thread_count() == taken


def test_processes_share_the_cores_unless_the_user_chose(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, share in ((1, 64), (3, 21), (100, 1)):
        with shared_among(size) as threads:
            assert (threads, os.environ["OMP_NUM_THREADS"]) == (share, str(share))
        assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setattr(cpu_cores, "GIVEN", True)
    with shared_among(3) as threads:
        assert (threads, os.environ["OMP_NUM_THREADS"]) == (5, "5")
    assert os.environ["OMP_NUM_THREADS"] == "5"


PRINTS = """
import os
from dprkit import __main__
names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
__main__._run = lambda: print(*map(os.environ.get, names))
__main__.main()
"""


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ({}, "None 1000 None"),
        ({"GOMP_SPINCOUNT": "5"}, "None 5 None"),
        ({"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "7"}, "active None 7"),
    ],
)
def test_waiting_threads_soon_sleep_unless_the_user_says_otherwise(
    more: dict[str, str], seen: str
) -> None:
    chosen = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
    env = {name: value for name, value in os.environ.items() if name not in chosen} | more
    ran = subprocess.run([sys.executable, "-c", PRINTS], env=env, capture_output=True, text=True)
    assert ran.stdout.strip() == seen, ran.stderr


def test_a_process_that_may_use_one_core_takes_one_thread() -> None:
    script = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); "
        "from dprkit.cpu_cores import thread_count; print(thread_count())"
    )
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ran = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert ran.stdout == "1\n", ran.stderr
