"""What dprkit writes: files that appear whole or not at all, and artifacts.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from dprkit import __version__
from dprkit.errors import InputError, MismatchError, OutputError, reading, writing
from dprkit.files import TEMPORARY, Hashing, appearing, lock, sync_file, umask_mode
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
    aside: list[str] = []
    """Files of a finished artifact that are on their way to .previous."""


# --- reading ------------------------------------------------------------------------------------


def read_manifest(directory: Path | str, kind: str | None = None) -> Manifest:
    """The manifest of the artifact at `directory`, which must be of `kind` if that is given.

    Raises InputError where there is none, it is unfinished, newer than this dprkit, or of
    another kind.
    """
    directory = Path(directory)
    wanted = f"{kind} " if kind else ""
    if (directory / PROGRESS).exists() and not (directory / MANIFEST).exists():
        raise InputError(f"{directory}: unfinished; run the command that makes it again")
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "no such folder"
        raise InputError(f"{directory}: {problem}; name the folder of a {wanted}artifact")
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise InputError(f"{directory}: has no {MANIFEST}; it is no {wanted}artifact") from None
    except msgspec.MsgspecError as error:
        raise InputError(f"{directory / MANIFEST}: damaged ({error}); make it again") from None
    if manifest.schema > SCHEMA:
        raise InputError(
            f"{directory}: made by dprkit {manifest.dprkit}, which is newer; upgrade dprkit"
        )
    if kind and manifest.kind != kind:
        raise InputError(f"{directory}: is a {manifest.kind} artifact; a {kind} is needed here")
    return manifest


def read_progress(directory: Path | str) -> ProgressRecord | None:
    """How far the artifact at `directory` is, or None where it is finished or not begun."""
    path = Path(directory) / PROGRESS
    if is_artifact(directory) or not path.is_file():
        return None
    return msgspec.json.decode(path.read_bytes(), type=ProgressRecord)


def is_artifact(directory: Path | str) -> bool:
    return (Path(directory) / MANIFEST).is_file()


def identify(path: Path | str, known: Input | None = None) -> Input:
    """What `path` holds: an artifact, a file, or a folder such as a Hugging Face model.

    Where `known` has the file's size and time of change, its identity is taken from there
    instead of reading the file again.
    """
    path = Path(path)
    here = str(path.resolve())
    if is_artifact(path):
        return Input(here, read_manifest(path).identity)
    with reading(path):
        status = path.stat()
    if path.is_dir():
        return Input(here, _folder_identity(path))
    if known and (known.bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return Input(here, known.identity, known.bytes, known.mtime_ns)
    with reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Input(here, f"sha256:{digest}", status.st_size, status.st_mtime_ns)


def _folder_identity(directory: Path) -> str:
    files = sorted(p for p in directory.rglob("*") if p.is_file() and ".git" not in p.parts)
    return _identity("folder", {str(p.relative_to(directory)): _record(p) for p in files})


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

    def has(self, name: str) -> bool:
        """Whether an earlier run already made the file `name`, whole."""
        return name in self.record.files

    @contextmanager
    def file(self, name: str, content: bool = True) -> Iterator[BinaryIO]:
        """A file of the artifact, which appears when the block ends without an error.

        `content=False`: it tells about the making and is no part of the identity.
        """
        path = self.directory / name
        self._refuse_foreign(name)
        with appearing(path) as file:
            hashing = Hashing(file)
            yield cast(BinaryIO, hashing)
        self.record.files[name] = FileRecord(hashing.count, hashing.digest.hexdigest(), content)

    @contextmanager
    def folder(self, name: str, content: bool = True) -> Iterator[Path]:
        """A folder of the artifact that a library fills; it appears when the block ends."""
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
            self._forget(name)
            work.rename(target)
            self.record.files.update(records)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def append(self, name: str, line: bytes) -> int:
        """Add a line to a growing file that tells about the making, such as metrics.jsonl."""
        with writing(self.directory / name), (self.directory / name).open("ab") as file:
            return file.write(line)

    def rewind(self, name: str, size: int) -> None:
        """Cut a growing file back to the `size` bytes it had when progress was last saved."""
        with writing(self.directory / name), (self.directory / name).open("ab") as file:
            file.truncate(size)

    def adopt(self, name: str) -> None:
        """Count a file that `append` grew as part of the artifact (not of its identity)."""
        self.record.files[name] = _record(self.directory / name, content=False)

    def remove(self, name: str) -> None:
        """Take the file or folder `name` out of the artifact again."""
        self._forget(name)
        self.save()

    def save(self) -> None:
        """Write progress.json: everything up to here will be found by a later run."""
        _save(self.directory, self.record)

    def finish(self, counts: Mapping[str, Any]) -> Manifest:
        """Write manifest.json: the artifact is whole."""
        record = self.record
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
        (self.directory / PROGRESS).unlink(missing_ok=True)
        shutil.rmtree(self.directory / PREVIOUS, ignore_errors=True)
        return manifest

    def _forget(self, name: str) -> None:
        path = self.directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        own = [
            known for known in self.record.files if known == name or known.startswith(f"{name}/")
        ]
        for known in own:
            del self.record.files[known]

    def _refuse_foreign(self, name: str) -> None:
        if (self.directory / name).exists() and name not in self.record.files:
            raise OutputError(
                f"{self.directory / name}: already there and not made by dprkit; "
                "choose another output or move it away"
            )


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
    before = _earlier(directory, kind)
    now = {
        name: given
        if isinstance(given, Input)
        else identify(given, before.inputs.get(name) if before else None)
        for name, given in inputs.items()
    }
    settled = msgspec.json.decode(msgspec.json.encode(settings))  # as a manifest gives it back
    fresh = ProgressRecord(kind, settled, now)
    if isinstance(before, Manifest) and not run.restart and _same(before, fresh) == "":
        work = Draft(directory, fresh, run)
        work.done = before
        yield work
        return
    with lock(directory):
        yield Draft(directory, _begin(directory, kind, fresh, run), run)


def _earlier(directory: Path, kind: str) -> Manifest | ProgressRecord | None:
    """What is at `directory`: a finished artifact, a half-done one, or nothing of ours."""
    if is_artifact(directory):
        return read_manifest(directory, kind)
    try:
        return msgspec.json.decode((directory / PROGRESS).read_bytes(), type=ProgressRecord)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise OutputError(f"{directory}: is a file; an output folder is needed") from None
    except msgspec.MsgspecError:
        raise OutputError(f"{directory / PROGRESS}: damaged; run again with --restart") from None


def _same(old: Manifest | ProgressRecord, new: ProgressRecord) -> str:
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


def _begin(directory: Path, kind: str, fresh: ProgressRecord, run: Run) -> ProgressRecord:
    """Decide, holding the lock, between resuming and starting anew."""
    _sweep(directory)
    if run.restart and (directory / PROGRESS).exists():
        _discard(directory)
    before = _earlier(directory, kind)
    if isinstance(before, ProgressRecord):
        if difference := _same(before, fresh):
            raise MismatchError(
                f"{directory}: half done with other settings or inputs: {difference}; "
                "go on with those, or throw the half away with --restart"
            )
        run.progress.note(f"{directory}: going on where an earlier run stopped")
        fresh = before
    if isinstance(before, Manifest):
        run.progress.note(
            f"{directory}: made anew: {_same(before, fresh) or '--restart was given'}"
        )
        fresh.aside = [MANIFEST, *before.files]
    _save(directory, fresh)
    if fresh.aside:
        _set_aside(directory, fresh.aside)
        fresh.aside = []
        _save(directory, fresh)
    return fresh


def _save(directory: Path, record: ProgressRecord) -> None:
    with appearing(directory / PROGRESS) as file:
        file.write(msgspec.json.encode(record))


def _discard(directory: Path) -> None:
    """Throw away a half-done artifact, and only what it made."""
    try:
        record = msgspec.json.decode((directory / PROGRESS).read_bytes(), type=ProgressRecord)
    except msgspec.MsgspecError:
        record = ProgressRecord("", {}, {})
    for name in record.files:
        (directory / name).unlink(missing_ok=True)
    (directory / PROGRESS).unlink()


def _set_aside(directory: Path, names: list[str]) -> None:
    """Move a finished artifact into .previous, so that a failed remake loses nothing.

    The manifest goes first. progress.json lists what is on its way: a run that is killed here is
    taken up by the next one.
    """
    previous = directory / PREVIOUS
    if MANIFEST in names and (directory / MANIFEST).exists():
        shutil.rmtree(previous, ignore_errors=True)
    for name in names:
        if (directory / name).exists():
            (previous / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).rename(previous / name)
    for folder in sorted({(directory / name).parent for name in names} - {directory}, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _sweep(directory: Path) -> None:
    """Remove what a killed run was in the middle of writing."""
    for left in directory.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
