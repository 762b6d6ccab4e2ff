"""Artifacts, made by a small stage of this file's own.

Identities are compared with a hash worked out here, and a kill is a real one: a process that ends
in the middle, at each of its file operations in turn.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dprkit import __version__
from dprkit.errors import DamagedError, InputError, LockedError, MismatchError, OutputError
from dprkit.progress import Progress, Run
from dprkit.settings import IndexSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.integrity import input_of
from dprkit.store.locks import LOCK, lock
from dprkit.store.manifests import (
    MANIFEST,
    PREVIOUS,
    PROGRESS,
    Input,
    is_artifact,
    read_manifest,
    read_progress,
)


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)


def make(out, source, *, parts=3, stop=None, run=None, **settings):
    """A stage: `parts` copies of a source, and a folder, one part after the other."""
    run = run or Run()
    with draft(out, "copies", {"parts": parts, **settings}, {"source": str(source)}, run) as work:
        if work.done:
            return work.done
        for number in range(parts):
            if number == stop:
                raise KeyboardInterrupt
            if number not in work.state.get("done", []):
                with work.file(f"part-{number}") as file:
                    file.write(Path(source).read_bytes() + f"{number} {settings}".encode())
                if number + 0.5 == stop:
                    raise KeyboardInterrupt
                work.state["done"] = [*work.state.get("done", []), number]
                work.save()
        with work.folder("sub/folder") as folder:
            (folder / "in").mkdir()
            (folder / "in" / "deep.txt").write_text("deep")
        with work.file("log", content=False) as file:
            file.write(str(out).encode())
        return work.finish({"parts": parts})


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"some data")
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def tree(folder):
    """Every file below a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def content(folder):
    """What must be equal however often a making was stopped: all but manifest and lock."""
    return {name: data for name, data in tree(folder).items() if name not in (MANIFEST, LOCK)}


def stopped(out, source, at, **how):
    with pytest.raises(KeyboardInterrupt):
        make(out, source, stop=at, **how)


# --- manifests and identities ---------------------------------------------------------------------


def test_a_manifest_tells_what_was_made_of_what(out, source):
    made = make(out, source, run=Run(command=("dprkit", "copy")), width=3)
    found = json.loads((out / MANIFEST).read_bytes())
    assert found["kind"] == "copies"
    assert found["command"] == ["dprkit", "copy"]
    assert found["settings"] == {"parts": 3, "width": 3}
    assert found["counts"] == {"parts": 3}
    assert found["inputs"]["source"]["path"] == str(source)
    data = hashlib.sha256(b"some data").hexdigest()
    assert found["inputs"]["source"]["identity"] == f"sha256:{data}"
    files = {name: data for name, data in tree(out).items() if name != MANIFEST}
    assert {n: (f["bytes"], f["sha256"]) for n, f in found["files"].items()} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
    }
    assert read_manifest(out, "copies") == made
    assert set(tree(out)) == {
        MANIFEST,
        "part-0",
        "part-1",
        "part-2",
        "sub/folder/in/deep.txt",
        "log",
    }


def test_an_identity_is_a_hash_of_names_and_contents(out, source):
    lines = "".join(
        f"{name} {hashlib.sha256(data).hexdigest()}\n"
        for name, data in sorted(content(make(out, source) and out).items())
        if name != "log"
    )
    whole = hashlib.sha256(lines.encode()).hexdigest()
    assert read_manifest(out).identity == f"copies:{whole}"


def test_an_identity_does_not_depend_on_the_place(out, source, tmp_path):
    other = tmp_path / "far" / "away"
    assert make(out, source).identity == make(other, source).identity
    assert (out / "log").read_bytes() != (other / "log").read_bytes()  # no part of the content


def test_an_identity_depends_on_the_content(out, source, tmp_path):
    one = make(out, source).identity
    source.write_bytes(b"same data")
    assert make(tmp_path / "other", source).identity != one


def test_a_copy_elsewhere_is_as_good(out, source, tmp_path):
    made = make(out, source)
    shutil.copytree(out, tmp_path / "copy")
    shutil.move(out, tmp_path / "moved ü")
    for name in ("copy", "moved ü"):
        assert read_manifest(tmp_path / name, "copies") == made
        assert input_of(tmp_path / name).identity == made.identity
        assert make(tmp_path / name, source) == made


def test_the_identity_of_a_folder_is_over_its_files_and_not_its_history(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "sub" / "weights").write_bytes(b"\0" * 10)
    (tmp_path / "two" / ".git").mkdir()
    (tmp_path / "two" / ".git" / "HEAD").write_text("ref")
    one = input_of(tmp_path / "one").identity
    assert input_of(tmp_path / "two").identity == one
    (tmp_path / "two" / "sub" / "weights").write_bytes(b"\1" * 10)
    assert input_of(tmp_path / "two").identity != one


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nothing", "nothing: no such file"),
        ("file/below", "below: a part of this path is a file"),
        ("pipe", "pipe: is read more than once; it must be a file, not a pipe"),
        ("loop", "loop: too many levels of symbolic links"),
        ("a" * 256, "file name too long"),
    ],
)
def test_an_input_that_cannot_be_read_is_told(tmp_path, name, problem):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=problem):
        input_of(tmp_path / name)


def test_stdin_is_no_input_of_an_artifact(out):
    with pytest.raises(InputError, match="must be a file, not a pipe"):
        make(out, "-")
    assert not out.exists()


# --- up to date -----------------------------------------------------------------------------------


def test_what_is_up_to_date_is_left_alone(out, source):
    made = make(out, source)
    before = {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}
    notes = Notes()
    assert make(out, source, run=Run(notes)) == made
    assert notes.lines == [f"{out}: up to date"]
    assert {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]} == before


def test_what_is_up_to_date_needs_no_lock(out, source):
    made = make(out, source)
    with lock(out):
        assert make(out, source) == made


def test_a_touched_input_is_the_same_input(out, source, tmp_path):
    made = make(out, source)
    os.utime(source, (1, 1))
    assert make(out, source) == made
    source.rename(tmp_path / "renamed")
    assert make(out, tmp_path / "renamed") == made


def test_a_changed_input_of_equal_size_is_seen(out, source):
    make(out, source)
    source.write_bytes(b"same size")
    os.utime(source, (1, 1))
    make(out, source)
    assert (out / "part-0").read_bytes().startswith(b"same size")


def test_another_file_of_equal_size_and_time_is_another_input(out, source, tmp_path):
    make(out, source)
    other = tmp_path / "other"
    other.write_bytes(b"same size")
    times = source.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    make(out, other)
    assert (out / "part-0").read_bytes().startswith(b"same size")


def test_an_input_that_is_an_artifact_counts_by_its_identity(out, source, tmp_path):
    def of(artifact):
        with draft(out, "derived", {}, {"copies": str(artifact)}, Run()) as work:
            return work.done or work.finish({})

    made = make(tmp_path / "a", source)
    first = of(tmp_path / "a")
    assert first.inputs["copies"].identity == made.identity
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert of(tmp_path / "b") == first
    make(tmp_path / "c", source, parts=2)
    assert of(tmp_path / "c").inputs["copies"].identity != made.identity


def test_an_input_can_be_one_that_another_manifest_names(out, source):
    named = {"source": Input("/elsewhere", "sha256:0")}
    for _ in range(2):
        with draft(out, "copies", {}, named, Run()) as work:
            made = work.done or work.finish({})
    assert work.done is not None
    assert made.inputs["source"].identity == "sha256:0"


def test_other_settings_make_it_anew_and_say_why(out, source):
    make(out, source, width=3)
    notes = Notes()
    make(out, source, width=4, run=Run(notes))
    assert notes.lines == [f"{out}: made again: width was 3 and is 4"]
    assert read_manifest(out).settings["width"] == 4
    assert not (out / PREVIOUS).exists()


def test_settings_that_count_for_nothing_are_neither_kept_nor_compared(tmp_path):
    def built(unused=(), **settings):
        settings = IndexSettings(**settings)
        with draft(tmp_path / "i", "index", settings, {}, Run(), unused=unused) as work:
            return work.done or work.finish({})

    flat = built({"k1"}, type="flat", k1=0.5)
    assert "k1" not in flat.settings and "b" in flat.settings
    assert built({"k1"}, type="flat", k1=0.7) == flat  # up to date
    assert built(type="flat", k1=0.7).settings["k1"] == 0.7  # made anew: it counts now


def test_restart_makes_it_anew(out, source):
    make(out, source)
    notes = Notes()
    make(out, source, run=Run(notes, restart=True))
    assert notes.lines == [f"{out}: made again: --restart was given"]


def test_a_file_that_is_gone_is_made_again(out, source):
    make(out, source)
    before = content(out)
    (out / "part-1").unlink()
    notes = Notes()
    make(out, source, run=Run(notes))
    assert notes.lines == [f"{out}: made again: part-1 is gone"]
    assert content(out) == before


def test_a_file_that_was_changed_by_hand_is_not_thrown_away(out, source):
    make(out, source)
    (out / "part-1").write_bytes(b"my own")
    with pytest.raises(MismatchError, match=r"part-1: was changed since it was made; move it away"):
        make(out, source)
    assert (out / "part-1").read_bytes() == b"my own"
    make(out, source, run=Run(restart=True))
    assert (out / "part-1").read_bytes().startswith(b"some data")


def test_a_file_that_only_tells_about_the_making_may_be_edited(out, source):
    make(out, source)
    (out / "log").write_text("I improved this model card by hand.")
    make(out, source)
    assert (out / "log").read_text().startswith("I improved")


# --- half done ------------------------------------------------------------------------------------


def test_a_half_done_artifact_is_unfinished_for_who_needs_it(out, source):
    stopped(out, source, at=2)
    with pytest.raises(InputError, match=r"out: unfinished; run the command that makes it again"):
        read_manifest(out)
    assert read_progress(out).state == {"done": [0, 1]}
    assert not is_artifact(out)


def test_a_remake_that_was_stopped_can_be_taken_back(out, source):
    """By the settings of the finished one before it, and --restart, which then makes nothing."""
    make(out, source, width=3)
    before = tree(out)
    stopped(out, source, at=2, width=4)
    with pytest.raises(InputError, match=r"or use the one before it, .+out/.previous"):
        read_manifest(out)
    with pytest.raises(MismatchError, match=r"--restart, which brings back the finished artifact"):
        make(out, source, width=3)
    with pytest.raises(MismatchError, match=r"--restart$"):
        make(out, source, width=5)
    make(out, source, width=3, run=Run(restart=True))
    assert tree(out) == before


def test_a_restart_that_was_stopped_restarts_when_it_is_asked_again(out, source):
    """The half has the settings of the finished one, so --restart is not meant to take it back."""
    make(out, source, width=3)
    (out / "part-0").write_text("changed by hand, and longer than before")
    with pytest.raises(MismatchError, match="make it again with --restart"):
        make(out, source, width=3)
    with pytest.raises(KeyboardInterrupt):
        make(out, source, width=3, stop=2, run=Run(restart=True))
    notes = Notes()
    make(out, source, width=3, run=Run(notes, restart=True))
    assert notes.lines == [f"{out}: made again: --restart was given"]
    assert (out / "part-0").read_text() != "changed by hand, and longer than before"


def test_a_stopped_making_goes_on_and_ends_with_the_same_bytes(out, source, tmp_path):
    whole = make(tmp_path / "whole", source)
    for at in (0, 1, 2):
        stopped(out, source, at)
    notes = Notes()
    assert make(out, source, run=Run(notes)).identity == whole.identity
    assert notes.lines == [f"{out}: going on where an earlier run stopped"]
    assert {**content(out), "log": b""} == {**content(tmp_path / "whole"), "log": b""}
    assert read_progress(out) is None


def test_a_half_with_other_settings_is_refused_and_both_sides_are_named(out, source, tmp_path):
    stopped(out, source, at=2, width=3)
    before = tree(out)
    with pytest.raises(MismatchError, match=r"width was 3 and is 4; go on with .+ --restart"):
        make(out, source, width=4)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(MismatchError, match=rf"source was {source} \(sha.+ and is {other} \(sha"):
        make(out, other, width=3)
    assert tree(out) == before
    made = make(out, source, width=4, run=Run(restart=True))
    assert content(out).keys() == made.files.keys()
    assert not any(b"'width': 3" in data for data in tree(out).values())


def test_of_many_differences_three_are_named(out, source):
    stopped(out, source, at=2, a=1, b=1, c=1, d=1, e=1)
    with pytest.raises(MismatchError, match=r"a was 1.+b was 1.+c was 1 and is 2 \(and 2 more\)"):
        make(out, source, a=2, b=2, c=2, d=2, e=2)


def test_where_nothing_was_made_other_settings_are_no_trouble(out, source):
    """A run that a signal stopped before there was anything to go on with."""
    stopped(out, source, at=0, width=3)
    assert make(out, source, width=4).settings["width"] == 4


def test_a_failure_before_anything_was_made_leaves_nothing(out, source):
    def fail(settings):
        with draft(out, "copies", settings, {"source": str(source)}, Run()) as work:
            with work.file("part-0") as file:
                file.write(b"half")
            with work.folder("sub/deep"):
                pass
            raise InputError("bad row")

    with pytest.raises(InputError, match="bad row"):
        fail({"width": 3})
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(InputError, match="bad row"):
        fail({"width": 4})
    assert tree(out) == {"mine": b"mine"}
    assert [p.name for p in out.iterdir()] == ["mine"]


def test_a_failed_remake_gives_the_old_artifact_back(out, source):
    made = make(out, source, width=3)
    before = tree(out)
    with (
        pytest.raises(FileNotFoundError),
        draft(out, "copies", {"width": 4}, {"source": str(source)}, Run()) as work,
    ):
        assert {*before} == {
            str(p.relative_to(out / PREVIOUS)) for p in (out / PREVIOUS).rglob("*") if p.is_file()
        }
        with work.file("part-0") as file:
            file.write(Path(out / "nothing").read_bytes())
    assert tree(out) == before
    assert make(out, source, width=3) == made


def test_a_stopped_remake_keeps_the_old_artifact_until_the_new_one_is_whole(out, source):
    make(out, source, width=3)
    before = tree(out)
    stopped(out, source, at=2, width=4)
    assert tree(out / PREVIOUS) == before
    make(out, source, width=4)
    assert not (out / PREVIOUS).exists()


def test_a_stopped_remake_can_be_taken_back(out, source):
    made = make(out, source, width=3)
    before = tree(out)
    stopped(out, source, at=0, width=4)
    assert make(out, source, width=3) == made
    assert tree(out) == before


def test_restart_over_a_stopped_remake_leaves_only_what_it_made(out, source):
    make(out, source, parts=3)
    stopped(out, source, at=3, parts=4)
    made = make(out, source, parts=2, run=Run(restart=True))
    assert content(out).keys() == made.files.keys()


def test_an_artifact_is_not_made_of_itself(out, source):
    make(out, source)
    before = tree(out)
    for own in (out, out / "part-0", out / "sub" / ".." / "part-1"):
        with pytest.raises(MismatchError, match="is an input too; choose another output"):
            make(out, own)
    assert tree(out) == before
    make(out, out.parent / "source")


# --- what is not ours -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["part-1", "sub/folder", "log"])
def test_a_foreign_file_in_the_way_is_refused_and_never_touched(out, source, name):
    (out / name).mkdir(parents=True)
    (out / name / "mine").write_text("mine")
    with pytest.raises(OutputError, match=f"{name}: already there and not made by dprkit"):
        make(out, source)
    assert (out / name / "mine").read_text() == "mine"
    shutil.rmtree(out / name)
    make(out, source)


@pytest.mark.parametrize("name", ["part-1", "sub/folder", "log"])
def test_restart_moves_a_foreign_file_in_the_way_aside_and_a_failure_puts_it_back(
    out, source, name
):
    (out / name).mkdir(parents=True)
    (out / name / "mine").write_text("mine")
    before = tree(out)
    with (
        pytest.raises(ZeroDivisionError),
        draft(out, "copies", {}, {}, Run(restart=True)) as work,
    ):
        work.claim(name)
        raise ZeroDivisionError
    assert tree(out) == before
    make(out, source, run=Run(restart=True))
    assert (out / "aside-1" / name / "mine").read_text() == "mine"


@pytest.mark.parametrize("part", ["settings", "inputs", "counts", "files"])
def test_what_a_manifest_lacks_and_a_reader_needs_is_damage(out, source, part):
    make(out, source)
    with pytest.raises(DamagedError, match=f"manifest.json: damaged .*'nix' among its {part}"):
        getattr(read_manifest(out), part)["nix"]


def test_a_dangling_link_in_the_way_is_foreign_too(out, source, tmp_path):
    out.mkdir()
    (out / "part-0").symlink_to(tmp_path / "target")
    with pytest.raises(OutputError, match="not made by dprkit"):
        make(out, source)
    assert not (tmp_path / "target").exists()


def test_a_foreign_file_is_refused_before_a_growing_file_is_cut(out):
    out.mkdir()
    (out / "metrics.jsonl").write_text("mine\n")
    with (
        pytest.raises(OutputError, match="not made by dprkit"),
        draft(out, "copies", {}, {}, Run()) as work,
    ):
        work.rewind("metrics.jsonl", 0)
    assert tree(out) == {"metrics.jsonl": b"mine\n"}


def test_foreign_files_beside_are_never_touched(out, source):
    (out / "notes").mkdir(parents=True)
    (out / "notes" / "mine.txt").write_text("mine")
    (out / "sub").mkdir()
    (out / "sub" / "mine.txt").write_text("mine")
    make(out, source)
    make(out, source, width=4)
    stopped(out, source, at=2, width=5)
    make(out, source, width=6, run=Run(restart=True))
    for name in ("notes", "sub"):
        assert (out / name / "mine.txt").read_text() == "mine"
    assert make(out, source, width=6).files.keys() == {
        *("part-0", "part-1", "part-2", "log", "sub/folder/in/deep.txt")
    }


def test_the_claims_of_a_stage_are_checked_before_it_works(out):
    out.mkdir()
    (out / "README.md").write_text("mine")
    with (
        pytest.raises(OutputError, match=r"README.md: already there"),
        draft(out, "copies", {}, {}, Run()) as work,
    ):
        work.claim("weights", "README.md")
    assert tree(out) == {"README.md": b"mine"}


def test_an_output_that_holds_another_kind_is_refused(out, source):
    make(out, source)
    before = tree(out)
    for run in (Run(), Run(restart=True)):
        with (
            pytest.raises(OutputError, match="out: holds copies; choose another output for index"),
            draft(out, "index", {}, {}, run),
        ):
            pass
    stopped(out, source, at=2, width=4)
    with (
        pytest.raises(OutputError, match="holds copies"),
        draft(out, "index", {}, {}, Run(restart=True)),
    ):
        pass
    make(out, source, run=Run(restart=True))
    assert tree(out).keys() == before.keys()


def test_an_output_that_is_a_file_is_refused(out, source):
    out.write_text("mine")
    with pytest.raises(OutputError, match="out: is a file; an output folder is needed"):
        make(out, source)
    with pytest.raises(OutputError, match="a part of this path is a file"):
        make(out / "below", source)
    assert out.read_text() == "mine"


def test_an_output_can_be_a_link_to_a_folder(out, source, tmp_path):
    (tmp_path / "real").mkdir()
    out.symlink_to("real")
    made = make(out, source)
    assert out.is_symlink()
    assert read_manifest(tmp_path / "real") == made
    make(out, source, width=5)


def test_leftovers_of_a_killed_run_are_swept(out, source):
    stopped(out, source, at=1)
    (out / ".tmp-part-1-abc").write_bytes(b"half")
    (out / ".tmp-sub-folder-abc").mkdir()
    (out / ".tmp-sub-folder-abc" / "x").write_bytes(b"half")
    made = make(out, source)
    assert content(out).keys() == made.files.keys()


def test_another_process_that_makes_it_is_named(out, source):
    with lock(out), pytest.raises(LockedError, match=rf"in use by pid {os.getpid()} on"):
        make(out, source)


# --- reading --------------------------------------------------------------------------------------


def test_what_is_no_artifact_is_told(out, source, tmp_path):
    with pytest.raises(InputError, match=r"source: is a file; name the folder of an artifact"):
        read_manifest(source)
    with pytest.raises(InputError, match=r"out: no such folder; .+ of a x"):
        read_manifest(out, "x")
    with pytest.raises(InputError, match=r"has no manifest.json; name the folder"):
        read_manifest(tmp_path)
    assert read_progress(tmp_path) is None


def test_an_artifact_of_another_kind_is_told(out, source):
    make(out, source)
    with pytest.raises(InputError, match="out: holds copies, not index"):
        read_manifest(out, "index")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"kind": 3}', b"\xff\xfe"])
def test_a_damaged_manifest_is_told_and_nothing_is_lost(out, source, damage):
    make(out, source)
    (out / MANIFEST).write_bytes(damage)
    before = tree(out)
    with pytest.raises(InputError, match=r"manifest.json: damaged \(.+\); move the folder away"):
        read_manifest(out)
    with pytest.raises(DamagedError, match="move the folder away, or make it again with --restart"):
        make(out, source)
    assert tree(out) == before


@pytest.mark.parametrize("damage", [b"", b"{", b"[]"])
def test_damaged_progress_is_told_and_nothing_is_lost(out, source, damage):
    stopped(out, source, at=2)
    (out / PROGRESS).write_bytes(damage)
    before = tree(out)
    with pytest.raises(InputError, match=r"progress.json: damaged \(.+\); move the folder away"):
        read_progress(out)
    with pytest.raises(DamagedError, match="move the folder away, or make it again with --restart"):
        make(out, source)
    assert tree(out) == before


@pytest.mark.parametrize(
    ("schema", "version", "words"),
    [
        (2, "9.1", r"schema 2 \(made by dprkit 9.1\), and this dprkit reads schema 1; upgrade"),
        (2, __version__, r"schema 2, and this dprkit reads schema 1; upgrade dprkit, or make"),
        (0, "0.0.1", r"schema 0 \(made by dprkit 0.0.1\), .+ reads schema 1; make it again"),
    ],
)
def test_an_artifact_of_another_schema_is_left_alone(out, source, schema, version, words):
    make(out, source)
    manifest = json.loads((out / MANIFEST).read_bytes()) | {"schema": schema, "dprkit": version}
    (out / MANIFEST).write_text(json.dumps(manifest))
    before = tree(out)
    for ask in (read_manifest, lambda path: make(path, source, width=4)):
        with pytest.raises(DamagedError, match=words):
            ask(out)
    assert tree(out) == before


def test_a_manifest_with_more_in_it_is_read(out, source):
    """A later version may add a field without a new schema."""
    made = make(out, source)
    manifest = json.loads((out / MANIFEST).read_bytes()) | {"more": 1}
    (out / MANIFEST).write_text(json.dumps(manifest))
    assert read_manifest(out) == made


# --- the files of a draft -------------------------------------------------------------------------


def test_a_growing_file_is_cut_back_to_where_progress_was_saved(out):
    with (
        pytest.raises(KeyboardInterrupt),
        draft(out, "copies", {}, {}, Run()) as work,
    ):
        work.rewind("metrics", 0)
        work.state["bytes"] = work.append("metrics", b"first\n")
        work.save()
        work.append("metrics", b"lost\n")
        raise KeyboardInterrupt
    with draft(out, "copies", {}, {}, Run()) as work:
        work.rewind("metrics", work.state["bytes"])
        work.append("metrics", b"second\n")
        work.include("metrics")
        made = work.finish({})
    assert (out / "metrics").read_bytes() == b"first\nsecond\n"
    assert not made.files["metrics"].content


def test_a_foreign_file_is_refused_before_what_shall_have_its_name_grows(out):
    out.mkdir()
    (out / "rows").write_text("mine\n")
    with (
        pytest.raises(OutputError, match="rows: already there and not made by dprkit"),
        draft(out, "copies", {}, {}, Run()) as work,
    ):
        work.rewind("growing", 0, "rows")
    assert tree(out) == {"rows": b"mine\n"}


@pytest.mark.parametrize("left", [b"fir", None])
def test_a_growing_file_that_lost_bytes_is_refused_and_not_filled_with_zeros(out, left):
    with pytest.raises(KeyboardInterrupt), draft(out, "copies", {}, {}, Run()) as work:
        work.rewind("growing", 0, "rows")
        work.state["bytes"] = work.append("growing", b"first\n")
        work.save()
        raise KeyboardInterrupt
    (out / "growing").unlink()
    if left is not None:
        (out / "growing").write_bytes(left)
    with (
        pytest.raises(DamagedError, match=r"growing: damaged .* of 6 that were .* --restart"),
        draft(out, "copies", {}, {}, Run()) as work,
    ):
        work.rewind("growing", work.state["bytes"], "rows")
    assert (out / "growing").read_bytes() == (left or b"")


def test_what_was_only_needed_to_go_on_is_dropped_at_the_end(out):
    with draft(out, "copies", {}, {}, Run()) as work:
        for name in ("checkpoint-1", "checkpoint-2"):
            with work.folder(name, content=False) as folder:
                (folder / "weights").write_bytes(b"w")
        work.remove("checkpoint-1")
        for name in ("checkpoint-3", "checkpoint-4"):  # a kill may leave two
            with work.folder(name, content=False) as folder:
                (folder / "weights").write_bytes(b"w")
        made = work.finish({}, drop="checkpoint-")
    assert made.files == {}
    assert set(tree(out)) == {MANIFEST}


def test_a_folder_that_is_made_again_replaces_the_one_before(out):
    with draft(out, "copies", {}, {}, Run()) as work:
        for number in (1, 2):
            with work.folder("best") as folder:
                (folder / f"file-{number}").write_bytes(b"x")
        made = work.finish({})
    assert set(made.files) == {"best/file-2"}
    assert set(tree(out)) == {MANIFEST, "best/file-2"}


def test_folders_follow_the_umask(out, source):
    before = os.umask(0o027)
    try:
        make(out, source)
    finally:
        os.umask(before)
    assert (out / "sub/folder").stat().st_mode & 0o777 == 0o750
    assert (out / "part-0").stat().st_mode & 0o777 == 0o640


# --- killed anywhere ------------------------------------------------------------------------------

KILLED = """
import os, shutil, sys
from dprkit.progress import Run
from tests.store.test_begin_or_resume import make

BEFORE = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"}
source, folder, stop, damaged = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]


def kill_at(number, out):
    left = number

    def hook(event, arguments):
        nonlocal left
        if event in BEFORE and str(arguments[0]).startswith(out):
            left -= 1
            if left == 0:
                os._exit(9)

    sys.addaudithook(hook)


base = f"{folder}-base"
make(base, source, width=3)
try:
    make(base, source, width=5 if stop >= 0 else 3, stop=stop)
except KeyboardInterrupt:
    pass
if damaged:
    with open(f"{base}/manifest.json", "w") as file:
        file.write("{")
number, ended = 0, False
while not ended:
    number += 1
    out = f"{folder}/{number}"
    shutil.copytree(base, out)
    child = os.fork()
    if not child:
        kill_at(number, out)
        make(out, source, width=4, run=Run(restart=bool(damaged)))
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(number)
"""


@pytest.mark.parametrize("stop", [-1, 0.5], ids=["finished", "half done"])
def test_a_remake_that_is_killed_at_any_operation_loses_nothing(source, tmp_path, stop):
    """Each operation on a file in turn: the old artifact or the new one can always be had."""
    identities = {w: make(tmp_path / f"of {w}", source, width=w).identity for w in (3, 4)}
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(source), str(folder), str(stop)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 40
    for out in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        half = read_progress(out)
        if is_artifact(out):
            assert read_manifest(out).identity in identities.values(), out
        for width in (4, 3) if half is None or not half.state else (4,):
            again = tmp_path / f"again {width}" / out.name
            shutil.copytree(out, again)
            made = make(again, source, width=width)
            assert made.identity == identities[width], again
            found = {n: data for n, data in content(again).items() if ".tmp-progress" not in n}
            assert found.keys() == made.files.keys(), again
            assert found | {"log": b""} == content(tmp_path / f"of {width}") | {"log": b""}, again


@pytest.mark.slow
def test_a_restart_over_a_damaged_manifest_that_is_killed_at_any_operation_loses_nothing(
    source, tmp_path
):
    """Each file that was there can be had, and --restart gets out of wherever it was killed."""
    wanted = make(tmp_path / "of 4", source, width=4).identity
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(source), str(folder), "-1", "damaged"]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 40
    before = {name: data for name, data in tree(Path(f"{folder}-base")).items() if name != "log"}
    for out in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        made = make(out, source, width=4, run=Run(restart=True))
        assert made.identity == wanted, out
        now = tree(out).values()
        assert [name for name, data in before.items() if data not in now] == [], out
