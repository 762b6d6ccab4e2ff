"""Artifacts: what the stages make and read.

An artifact is a folder with a manifest.json that says what it is, what made it, from what, and
the size and sha256 of every file. manifest.json is written last: a folder without one is
unfinished, and its progress.json tells a later run where to go on. An artifact's identity comes
from the bytes of its files, never from its path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from dprkit import __version__
from dprkit.errors import InputError, LockedError, MismatchError, OutputError, reading, writing
from dprkit.files import (
    TEMPORARY,
    Hashing,
    appearing,
    delete,
    lock,
    prune,
    sync_file,
    umask_mode,
)
from dprkit.progress import Run

SCHEMA = 1
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
PREVIOUS = ".previous"


class FileRecord(msgspec.Struct, frozen=True):
    """One file of an artifact. `content`: its bytes are part of the artifact's identity."""

    bytes: int
    sha256: str
    content: bool = True


class Input(msgspec.Struct, frozen=True):
    """What a stage read, by what it holds.

    `path` and `mtime_ns` only spare reading a file again to see that it is the same; two inputs
    are the same when their identities are.
    """

    path: str
    identity: str
    bytes: int = 0
    mtime_ns: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What an artifact is and where it came from."""

    kind: str
    schema: int
    dprkit: str
    command: tuple[str, ...]
    settings: dict[str, Any]
    inputs: dict[str, Input]
    counts: dict[str, Any]
    files: dict[str, FileRecord]
    identity: str


class ProgressRecord(msgspec.Struct):
    """How far an unfinished artifact is, and what it is being made from."""

    kind: str
    settings: dict[str, Any]
    inputs: dict[str, Input]
    files: dict[str, FileRecord] = {}
    state: dict[str, Any] = {}
    """What a stage needs to go on. Where it is empty, nothing would be lost by beginning anew."""
    claimed: list[str] = []
    """Files and folders that are the run's own, whole or not: noted before they appear."""


# --- reading ------------------------------------------------------------------------------------


def read_manifest(directory: Path | str, kind: str | None = None) -> Manifest:
    """The manifest of the artifact at `directory`, which must be of `kind` if that is given.

    Raises InputError where there is none, it is unfinished, newer than this dprkit, or of
    another kind.
    """
    directory = Path(directory)
    wanted = f"an artifact of the kind {kind}" if kind else "an artifact"
    if os.path.isfile(directory / PROGRESS) and not is_artifact(directory):
        raise InputError(f"{directory}: unfinished; run the command that makes it again")
    if not os.path.isdir(directory):
        problem = "is a file" if os.path.exists(directory) else "no such folder"
        raise InputError(f"{directory}: {problem}; name the folder of {wanted}")
    if not is_artifact(directory):
        raise InputError(f"{directory}: has no {MANIFEST}; name the folder of {wanted}")
    try:
        with reading(directory / MANIFEST):
            manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{directory / MANIFEST}: damaged ({error}); move the folder away and make it again"
        ) from None
    if manifest.schema > SCHEMA:
        raise InputError(
            f"{directory}: made by dprkit {manifest.dprkit}, which is newer; upgrade dprkit"
        )
    if kind and manifest.kind != kind:
        raise InputError(f"{directory}: holds {manifest.kind}, not {kind}; name another folder")
    return manifest


def read_progress(directory: Path | str) -> ProgressRecord | None:
    """How far the artifact at `directory` is, or None where it is finished or not begun."""
    path = Path(directory) / PROGRESS
    if is_artifact(directory) or not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProgressRecord)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{path}: damaged ({error}); move the folder away and make it again"
        ) from None


def is_artifact(directory: Path | str) -> bool:
    return os.path.isfile(Path(directory) / MANIFEST)


def identify(path: Path | str, known: Input | None = None) -> Input:
    """What `path` holds: an artifact, a file, or a folder such as a Hugging Face model.

    Where `known` has the file's path, size and time of change, its identity is taken from there
    instead of reading the file again.
    """
    path = Path(path)
    here = os.path.realpath(path)
    with reading(path):
        if str(path) == "-" or path.is_fifo():
            raise InputError(f"{path}: is read more than once; it must be a file, not a pipe")
        if is_artifact(path):
            return Input(here, read_manifest(path).identity)
        status = path.stat()
    if path.is_dir():
        return Input(here, _folder_identity(path))
    now = Input(here, known.identity if known else "", status.st_size, status.st_mtime_ns)
    if known == now:
        return now
    with reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Input(here, f"sha256:{digest}", status.st_size, status.st_mtime_ns)


def _folder_identity(directory: Path) -> str:
    names = {p: p.relative_to(directory) for p in sorted(directory.rglob("*")) if p.is_file()}
    with reading(directory):
        files = {str(name): _record(p) for p, name in names.items() if ".git" not in name.parts}
    return _identity("folder", files)


def _identity(kind: str, files: Mapping[str, FileRecord]) -> str:
    """The identity of an artifact: a hash over its files' names and hashes."""
    lines = [
        f"{name} {record.sha256}\n" for name, record in sorted(files.items()) if record.content
    ]
    return f"{kind}:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _record(path: Path, content: bool = True) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path.stat().st_size, digest, content)


# --- artifacts ------------------------------------------------------------------------------------


class Draft:
    """An artifact in the making. `done` is its manifest where nothing is left to do."""

    def __init__(self, directory: Path, record: ProgressRecord, run: Run) -> None:
        self.directory = directory
        self.record = record
        self.run = run
        self.done: Manifest | None = None

    @property
    def state(self) -> dict[str, Any]:
        """What a stage wants to find again after a crash; kept by `save`."""
        return self.record.state

    def claim(self, *names: str) -> None:
        """Say which files or folders this run will make; `file` and `folder` do it themselves.

        Noted in progress.json, so that a later run can tell what a killed one left from what is
        somebody else's. Raises OutputError for what is there and not this artifact's.
        """
        new = [name for name in names if name not in self.record.claimed]
        for name in new:
            if os.path.lexists(self.directory / name):
                raise OutputError(
                    f"{self.directory / name}: already there and not made by dprkit; "
                    "choose another output or move it away"
                )
        if new:
            self.record.claimed.extend(new)
            self.save()

    @contextmanager
    def file(self, name: str, content: bool = True) -> Iterator[BinaryIO]:
        """A file of the artifact, which appears when the block ends without an error.

        `content=False`: it tells about the making and is no part of the identity.
        """
        self.claim(name)
        with appearing(self.directory / name) as file:
            hashing = Hashing(file)
            yield cast(BinaryIO, hashing)
        self.record.files[name] = FileRecord(hashing.count, hashing.digest.hexdigest(), content)

    @contextmanager
    def folder(self, name: str, content: bool = True) -> Iterator[Path]:
        """A folder of the artifact that a library fills; it appears when the block ends."""
        self.claim(name)
        with writing(self.directory):
            work = Path(
                tempfile.mkdtemp(prefix=f"{TEMPORARY}{name.replace('/', '-')}-", dir=self.directory)
            )
        try:
            yield work
            records = {
                f"{name}/{path.relative_to(work)}": _record(path, content)
                for path in sorted(work.rglob("*"))
                if path.is_file()
            }
            for path in work.rglob("*"):
                if path.is_file():
                    sync_file(path)
            target = self.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.chmod(work, umask_mode(0o777))
            delete(target)
            work.rename(target)
            self._forget(name)
            self.record.files.update(records)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def append(self, name: str, line: bytes) -> int:
        """Add a line to a growing file that tells about the making, such as metrics.jsonl."""
        with writing(self.directory / name), (self.directory / name).open("ab") as file:
            return file.write(line)

    def rewind(self, name: str, size: int) -> None:
        """Cut a growing file back to the `size` bytes it had when progress was last saved."""
        self.claim(name)
        with writing(self.directory / name), (self.directory / name).open("ab") as file:
            file.truncate(size)

    def adopt(self, name: str) -> None:
        """Count a file that `append` grew as part of the artifact (not of its identity)."""
        self.record.files[name] = _record(self.directory / name, content=False)

    def remove(self, name: str) -> None:
        """Take the file or folder `name` out of the artifact again."""
        delete(self.directory / name)
        self._forget(name)
        self.save()

    def save(self) -> None:
        """Write progress.json: everything up to here will be found by a later run."""
        with appearing(self.directory / PROGRESS) as file:
            file.write(msgspec.json.encode(self.record))

    def finish(self, counts: Mapping[str, Any], drop: tuple[str, ...] = ()) -> Manifest:
        """Write manifest.json: the artifact is whole.

        What has a name that begins with one of `drop` was only needed to go on.
        """
        record = self.record
        if drop:
            record.files = {n: f for n, f in record.files.items() if not n.startswith(drop)}
        manifest = Manifest(
            kind=record.kind,
            schema=SCHEMA,
            dprkit=__version__,
            command=self.run.command,
            settings=record.settings,
            inputs=record.inputs,
            counts=dict(counts),
            files=dict(sorted(record.files.items())),
            identity=_identity(record.kind, record.files),
        )
        with appearing(self.directory / MANIFEST) as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        _tidy(self.directory, manifest.files)
        return manifest

    def _forget(self, name: str) -> None:
        """Strike a file, or all files of a folder, from the record."""
        own = [
            known for known in self.record.files if known == name or known.startswith(f"{name}/")
        ]
        for known in own:
            del self.record.files[known]


@contextmanager
def draft(
    directory: Path | str,
    kind: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
) -> Iterator[Draft]:
    """Make the artifact `kind` at `directory`: up to date, resumed, or begun.

    Yields a Draft whose `done` is the manifest when the artifact already is what the same
    settings and inputs would make. A half-done one is resumed; if its settings or inputs were
    others, MismatchError names both sides, and `run.restart` throws the half away. A finished
    artifact of other settings or inputs is kept in .previous until the new one is whole.

    An input is a path, or an Input that an artifact it leads to already names.

    Raises LockedError (exit 75) while another process makes the same artifact.
    """
    directory = Path(directory)
    with reading(directory):
        before = _earlier(directory, kind)
    now = {
        name: given
        if isinstance(given, Input)
        else identify(given, before.inputs.get(name) if before else None)
        for name, given in inputs.items()
    }
    settled = msgspec.json.decode(msgspec.json.encode(settings))  # as a manifest gives it back
    fresh = ProgressRecord(kind, settled, now)
    work = Draft(directory, fresh, run)
    if isinstance(before, Manifest) and not _why_anew(work, before):
        work.done = before
        run.progress.note(f"{directory}: up to date")
        if (directory / PROGRESS).exists():
            with contextlib.suppress(LockedError, OutputError), lock(directory):
                _tidy(directory, before.files)
        yield work
        return
    with lock(directory):
        _begin(work)
        try:
            yield work
        except Exception:  # a signal leaves everything to the next run
            if not work.done and not work.state:
                _undo(directory, work.record)
            raise


def _earlier(directory: Path, kind: str) -> Manifest | ProgressRecord | None:
    """What is at `directory`: a finished artifact, a half-done one, or nothing of ours."""
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory}: is a file; an output folder is needed")
    found = read_manifest(directory) if is_artifact(directory) else read_progress(directory)
    if found and found.kind != kind:
        raise OutputError(f"{directory}: holds {found.kind}; choose another output for {kind}")
    return found


def _why_anew(work: Draft, before: Manifest) -> str:
    """`""` when `before` is what `work` would make and is whole, else what it lacks.

    Raises MismatchError for a file that was changed: making it anew would throw that away.
    """
    if work.run.restart:
        return "--restart was given"
    if difference := _difference(before, work.record):
        return difference
    for name, record in before.files.items():
        path = work.directory / name
        if not path.is_file():
            return f"{name} is gone"
        if record.content and path.stat().st_size != record.bytes:
            raise MismatchError(
                f"{path}: was changed since it was made; move it away to keep it, "
                "or make it again with --restart"
            )
    return ""


def _difference(old: Manifest | ProgressRecord, new: ProgressRecord) -> str:
    """`""` when both would make the same artifact, else the first differences, in words."""
    differences = [
        f"{name} was {old.settings.get(name)!r} and is {new.settings.get(name)!r}"
        for name in {**old.settings, **new.settings}
        if old.settings.get(name) != new.settings.get(name)
    ] + [
        f"{name} was {_side(old.inputs.get(name))} and is {_side(new.inputs.get(name))}"
        for name in {**old.inputs, **new.inputs}
        if getattr(old.inputs.get(name), "identity", "")
        != getattr(new.inputs.get(name), "identity", "")
    ]
    return "; ".join(differences[:3]) + (
        f" (and {len(differences) - 3} more)" if differences[3:] else ""
    )


def _side(known: Input | None) -> str:
    return f"{known.path} ({known.identity[:23]})" if known else "absent"


def _begin(work: Draft) -> None:
    """Decide, holding the lock, between resuming and starting anew."""
    directory, run = work.directory, work.run
    _remove(directory, [left.name for left in directory.glob(f"{TEMPORARY}*")])  # of a killed run
    before = _earlier(directory, work.record.kind)
    if isinstance(before, ProgressRecord) and before.state and not run.restart:
        if difference := _difference(before, work.record):
            raise MismatchError(
                f"{directory}: half done with other settings or inputs: {difference}; "
                "go on with those, or throw the half away with --restart"
            )
        run.progress.note(f"{directory}: going on where an earlier run stopped")
        work.record = before
        return
    if isinstance(before, ProgressRecord):
        _undo(directory, before)
        before = _earlier(directory, work.record.kind)
    if isinstance(before, Manifest):
        if not (why := _why_anew(work, before)):
            work.done = before  # undone above, and just what is asked for now
            return
        _refuse_itself(work, before)
        run.progress.note(f"{directory}: made anew: {why}")
        _tidy(directory, before.files)
    work.save()
    if isinstance(before, Manifest):
        _set_aside(directory, [MANIFEST, *before.files])


def _refuse_itself(work: Draft, before: Manifest) -> None:
    """An artifact that is made anew moves out of the way, so it cannot be an input as well."""
    here = os.path.realpath(work.directory)
    own = {here, *(os.path.join(here, name) for name in before.files)}
    for known in work.record.inputs.values():
        if known.path in own:
            raise MismatchError(f"{known.path}: is an input too; choose another output")


def _undo(directory: Path, record: ProgressRecord) -> None:
    """Throw away a half-done artifact, and only what it made; put the one before it back."""
    _remove(directory, record.claimed)
    Draft(directory, ProgressRecord(record.kind, {}, {}), Run()).save()  # with nothing claimed
    previous = directory / PREVIOUS
    names = [str(p.relative_to(previous)) for p in previous.rglob("*") if p.is_file()]
    for name in sorted(names, key=lambda name: name == MANIFEST):  # the manifest last
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (previous / name).replace(directory / name)
    _tidy(directory, ())


def _set_aside(directory: Path, names: list[str]) -> None:
    """Move a finished artifact into .previous, so that a failed remake loses nothing.

    The manifest goes first. A run that is killed here is undone by the next one.
    """
    for name in names:
        if (directory / name).exists():
            (directory / PREVIOUS / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).rename(directory / PREVIOUS / name)
    prune(directory, names)


def _remove(directory: Path, names: Iterable[str]) -> None:
    for name in names:
        delete(directory / name)
        prune(directory, [name])


def _tidy(directory: Path, files: Iterable[str]) -> None:
    """Remove what served the making of a finished artifact and is none of its `files`."""
    parts = {str(part) for name in files for part in (Path(name), *Path(name).parents)}
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        left = msgspec.json.decode((directory / PROGRESS).read_bytes(), type=ProgressRecord)
        _remove(directory, [name for name in left.claimed if name not in parts])
    shutil.rmtree(directory / PREVIOUS, ignore_errors=True)
    (directory / PROGRESS).unlink(missing_ok=True)
