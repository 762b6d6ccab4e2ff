import os
import threading

import pytest

from dprkit.errors import LockedError, MismatchError
from dprkit.progress import Run
from dprkit.store import shared_work
from dprkit.store.begin_or_resume import wanted
from dprkit.store.integrity import is_whole
from dprkit.store.manifests import PARTS, read_manifest
from dprkit.store.shared_work import Parts, reopen_damaged, shared_draft

NAMES = [f"{n}.txt" for n in range(6)]


def making(directory, settings=None, run=Run()):
    return shared_draft(directory, "numbers", settings or {"of": 6}, {}, run)


def make(work, number):
    with work.file(NAMES[number]) as file:
        file.write(f"{number}\n".encode())


def work_through(directory, made, wanted=range(6), stop_after=99):
    with making(directory) as work:
        if work.done:
            return work.done
        with Parts(work, 6, NAMES) as parts:
            for number, mine in parts.shared_out(wanted):
                if mine:
                    if len(made) >= stop_after:
                        raise KeyboardInterrupt
                    make(work, number)
                    parts.done(number, [NAMES[number]])
                    made.append(number)
            return parts.finish(lambda: {"of": 6})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(shared_work, "POLL", 0.01)


def test_a_part_is_made_once_however_often_the_work_is_stopped(tmp_path):
    made = []
    for stop in (0, 2, 5):
        with pytest.raises(KeyboardInterrupt):
            work_through(tmp_path / "a", made, stop_after=stop)
    manifest = work_through(tmp_path / "a", made)
    assert made == list(range(6))
    assert manifest and set(manifest.files) == set(NAMES)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [*NAMES, "manifest.json"]


def test_two_at_once_share_the_parts_and_end_with_one_artifact(tmp_path):
    parts, found = ([], []), []
    both = threading.Barrier(2)

    def part(number):
        both.wait()
        found.append(work_through(tmp_path / "a", parts[number]))

    threads = [threading.Thread(target=part, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(parts[0] + parts[1]) == list(range(6))
    assert found[0].identity == found[1].identity == work_through(tmp_path / "b", []).identity


@pytest.mark.parametrize("last", ["first", "second"])
def test_a_part_made_twice_is_recorded_as_it_lies_there(tmp_path, last):
    """A holder that was taken for dead, on a processor that rounds otherwise."""

    def write(work, who):
        with work.file("0.txt") as file:
            file.write(who.encode())

    with (
        making(tmp_path / "a") as first,
        making(tmp_path / "a") as second,
        Parts(first, 1, NAMES) as ours,
        Parts(second, 1, NAMES) as theirs,
    ):
        if last == "second":
            write(first, "first")
        write(second, "second")
        theirs.done(0, ["0.txt"])
        if last == "first":
            write(first, "first")
        ours.done(0, ["0.txt"])
        manifest = ours.finish(lambda: {"of": 1})
    assert manifest and (tmp_path / "a/0.txt").read_text() == last
    assert is_whole(tmp_path / "a", manifest, "0.txt")


def test_processes_make_their_parts_and_the_last_one_the_artifact(tmp_path):
    assert work_through(tmp_path / "a", [], range(0, 6, 2)) is None
    made = []
    manifest = work_through(tmp_path / "a", made, range(1, 6, 2))
    assert made == [1, 3, 5]
    assert manifest == read_manifest(tmp_path / "a")


def test_nobody_restarts_what_others_are_making(tmp_path):
    with making(tmp_path / "a") as work, Parts(work, 6, NAMES):
        with (
            pytest.raises(LockedError),
            making(tmp_path / "a", run=Run(restart=True)) as other,
            Parts(other, 6, NAMES),
        ):
            pass
        with (
            pytest.raises(MismatchError, match="of was 6 and is 7"),
            making(tmp_path / "a", {"of": 7}) as other,
            Parts(other, 6, NAMES),
        ):
            pass


def test_a_failure_before_the_first_part_leaves_what_was_there(tmp_path):
    before = work_through(tmp_path / "a", [])
    with (
        pytest.raises(ZeroDivisionError),
        making(tmp_path / "a", {"of": 7}) as work,
        Parts(work, 7, [*NAMES, "6.txt"]),
    ):
        raise ZeroDivisionError
    assert read_manifest(tmp_path / "a") == before


def test_other_settings_are_refused_once_a_part_is_whole(tmp_path):
    assert work_through(tmp_path / "a", [], [0]) is None
    with (
        pytest.raises(MismatchError, match="of was 6 and is 7"),
        making(tmp_path / "a", {"of": 7}) as work,
        Parts(work, 6, NAMES),
    ):
        pass
    assert (tmp_path / "a" / PARTS / "00000.json").exists()


def test_who_wakes_after_all_was_begun_anew_goes_no_further(tmp_path):
    with making(tmp_path / "a") as work, Parts(work, 6, NAMES) as parts:
        shared_out = parts.shared_out(range(6))
        number, _ = next(shared_out)
        for held in (tmp_path / "a" / PARTS).glob("*.held"):
            os.utime(held, (1, 1))  # the sleeper gave no sign for long
        with making(tmp_path / "a", run=Run(restart=True)) as other, Parts(other, 6, NAMES):
            make(work, number)
            with pytest.raises(LockedError, match="begun again by another process"):
                parts.done(number, [NAMES[number]])
        shared_out.close()


def test_only_the_damaged_parts_are_made_again(tmp_path):
    def parts(manifest):
        return [[name] for name in NAMES]

    before = work_through(tmp_path / "a", [])
    reopen_damaged(wanted(tmp_path / "a", "numbers", {"of": 6}, {}, Run()), parts)
    assert read_manifest(tmp_path / "a") == before  # nothing is damaged
    (tmp_path / "a" / NAMES[2]).write_text("x")
    (tmp_path / "a" / NAMES[4]).unlink()
    with pytest.raises(MismatchError, match=r"cannot be repaired with other settings.*of was 6"):
        reopen_damaged(wanted(tmp_path / "a", "numbers", {"of": 7}, {}, Run()), parts)
    reopen_damaged(wanted(tmp_path / "a", "numbers", {"of": 6}, {}, Run()), parts)
    made = []
    assert work_through(tmp_path / "a", made) == before
    assert made == [2, 4]
