"""Artifacts: what the stages make and read.

An artifact is a folder with a manifest.json that says what it is, what made it, from what, and
the size and sha256 of every file. manifest.json is written last: a folder without one is
unfinished, and its progress.json tells a later run where to go on. An artifact's identity comes
from the bytes of its files, never from its path.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

import msgspec

from dprkit import __version__, leases
from dprkit.errors import LockedError, MismatchError, OutputError, writing
from dprkit.files import (
    TEMPORARY,
    Hashing,
    appearing,
    delete,
    lock,
    open_up,
    prune,
    sync_file,
    sync_folder,
)
from dprkit.manifests import (
    MANIFEST,
    PROGRESS,
    SCHEMA,
    FileRecord,
    Input,
    Manifest,
    ProgressRecord,
    identify,
    identity_of,
    is_artifact,
    read_manifest,
    read_progress,
    record_file,
)
from dprkit.progress import Run
from dprkit.settings.fields import Setting, fields_of, record_of

PREVIOUS, PIECES = ".previous", ".pieces"
SHARED_PATIENCE = 60.0
"""Seconds to wait for another process of a shared artifact to decide what to do next."""


class Draft:
    """An artifact in the making. `done` is its manifest where nothing is left to do."""

    def __init__(
        self,
        directory: Path,
        record: ProgressRecord,
        run: Run,
        fields: Mapping[str, Setting] | None = None,
    ) -> None:
        """`fields`: the stage's settings, where it has any: which ones count, and when."""
        self.directory = directory
        self.record = record
        self.run = run
        self.fields = fields or {}
        self.done: Manifest | None = None
        self.changed: dict[str, Any] = {}
        """Earlier values of the settings that a half-done artifact goes on with otherwise."""

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
            prefix = f"{TEMPORARY}{name.replace('/', '-')}-"
            work = Path(tempfile.mkdtemp(prefix=prefix, dir=self.directory))
            try:
                yield work
                files = [path for path in sorted(work.rglob("*")) if path.is_file()]
                records = {
                    f"{name}/{path.relative_to(work)}": record_file(path, content) for path in files
                }
                open_up(work)
                for path in files:
                    sync_file(path)
                target = self.directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                delete(target)
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        self._forget(name)
        self.record.files.update(records)

    def take(self, name: str, made: Path) -> None:
        """Make `made`, a whole file that was written in the folder, the file `name`.

        For what is not written from its beginning to its end; it is read once for its hash.
        """
        self.claim(name)
        with writing(made):
            sync_file(made)
            open_up(made)
            record = record_file(made)
            made.replace(self.directory / name)
            sync_folder(self.directory)
        self.record.files[name] = record

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
        self.record.files[name] = record_file(self.directory / name, content=False)

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
            identity=identity_of(record.kind, record.files),
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
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> Iterator[Draft]:
    """Make the artifact `kind` at `directory`: up to date, resumed, or begun.

    Yields a Draft whose `done` is the manifest when the artifact already is what the same
    settings and inputs would make. A half-done one is resumed; if its settings or inputs were
    others, MismatchError names both sides, and `run.restart` throws the half away. A finished
    artifact of other settings or inputs is kept in .previous until the new one is whole.

    `settings`: a stage's settings, or what is to be recorded of them; `more` is recorded too. An
    input is a path, or an Input that an artifact it leads to already names.

    Raises LockedError (exit 75) while another process makes the same artifact. A `shared` one is
    made by several processes, which share its pieces out among them; it begins with the first
    Pieces (dprkit.pieces).
    """
    directory = Path(directory)
    work = look(directory, kind, settings, inputs, run, more)
    if work.done:
        if (directory / PROGRESS).exists():
            with suppress(LockedError, OutputError), lock(directory):
                _tidy(directory, work.done.files)
        yield work
        return
    if shared:
        try:
            yield work
        except Exception:
            with suppress(LockedError, OutputError), lock(directory, SHARED_PATIENCE):
                left = read_progress(directory)
                if left and not left.state and not leases.any_alive(directory / PIECES):
                    _undo(directory, left)
            raise
        return
    with lock(directory):
        begin(work)
        try:
            yield work
        except Exception:  # a signal leaves everything to the next run
            if not work.done and not work.state:
                _undo(directory, work.record)
                if is_artifact(directory):
                    run.progress.note(f"{directory}: is as it was before")
            raise


def look(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None = None,
) -> Draft:
    """What `draft` would make, without touching anything; its `done` tells whether it is there."""
    with writing(directory):
        before = _earlier(directory, kind)
    work = _wish(directory, kind, settings, inputs, run, more, before)
    if isinstance(before, Manifest) and not _why_anew(work, before):
        work.done = before
        run.progress.note(f"{directory}: up to date")
    return work


def differs(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
) -> str:
    """How the finished artifact at `directory` is not what `draft` would make; `""`: it is."""
    before = read_manifest(directory, kind)
    return _difference(before, _wish(directory, kind, settings, inputs, Run(), None, before))


def _wish(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None,
    before: Manifest | ProgressRecord | None,
) -> Draft:
    now = {
        name: given
        if isinstance(given, Input)
        else identify(given, before.inputs.get(name) if before else None)
        for name, given in inputs.items()
    }
    fields: Mapping[str, Setting] = {}
    if isinstance(settings, msgspec.Struct):
        settings, fields = record_of(settings), fields_of(type(settings))
    # As a manifest gives it back:
    settled = msgspec.json.decode(msgspec.json.encode({**settings, **(more or {})}))
    return Draft(directory, ProgressRecord(kind, settled, now), run, fields)


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
    if difference := _difference(before, work):
        return difference
    for name, record in before.files.items():
        path = work.directory / name
        if not path.is_file():
            return f"{name} is gone"
        if record.content and path.stat().st_size != record.bytes:
            again = "--restart"
            if before.kind == "embeddings":
                again += "; encode-corpus --repair makes damaged shards again"
            raise MismatchError(
                f"{path}: was changed since it was made; move it away to keep it, "
                f"or make it again with {again}"
            )
    return ""


def _difference(old: Manifest | ProgressRecord, work: Draft) -> str:
    """`""` when both would make the same artifact, else the first differences, in words."""
    new = work.record
    resuming = isinstance(old, ProgressRecord)
    differences = [
        f"{name} was {was!r} and is {now!r}"
        for name, (was, now) in _changes(old.settings, work).items()
        if not (resuming and name in work.fields and work.fields[name].resumable)
    ] + [
        f"{name} was {_side(old.inputs.get(name))} and is {_side(new.inputs.get(name))}"
        for name in {**old.inputs, **new.inputs}
        if getattr(old.inputs.get(name), "identity", "")
        != getattr(new.inputs.get(name), "identity", "")
    ]
    return "; ".join(differences[:3]) + (
        f" (and {len(differences) - 3} more)" if differences[3:] else ""
    )


def _changes(old: Mapping[str, Any], work: Draft) -> dict[str, tuple[Any, Any]]:
    """setting -> (earlier, present value) of those that differ and count.

    A setting that the earlier dprkit did not know stood at its default.
    """
    new, changes = work.record.settings, {}
    for name in {**old, **new}:
        field = work.fields.get(name)
        default = msgspec.to_builtins(field.default) if field else None
        was, now = old.get(name, default), new.get(name, default)
        if field and not field.counts_for(new.get("type", "")):
            continue
        same = was == now or (isinstance(was, tuple) and list(was) == now)
        if not same and not (field and field.harmless):
            changes[name] = (was, now)
    return changes


def _side(known: Input | None) -> str:
    return f"{known.path} ({known.identity[:23]})" if known else "absent"


def begin(work: Draft) -> None:
    """Decide, holding the lock, between resuming and starting anew.

    Where others are making pieces of this artifact, they can only be joined.
    """
    directory, run = work.directory, work.run
    alone = not leases.any_alive(directory / PIECES)
    if alone:  # these are of a killed run
        _remove(directory, [left.name for left in directory.glob(f"{TEMPORARY}*")])
    elif run.restart:
        raise LockedError(f"{directory}: other processes are making it; stop them to restart")
    before = _earlier(directory, work.record.kind)
    going = isinstance(before, ProgressRecord) and (before.state or not alone)
    if isinstance(before, ProgressRecord) and going and not run.restart:
        if difference := _difference(before, work):
            gain = ", which brings back the finished one before it" if _previous_fits(work) else ""
            raise MismatchError(
                f"{directory}: half done with other settings or inputs: {difference}; "
                f"go on with those, or throw the half away with --restart{gain}"
            )
        run.progress.note(f"{directory}: going on where an earlier run stopped")
        work.changed = {n: was for n, (was, _) in _changes(before.settings, work).items()}
        before.settings = work.record.settings
        work.record = before
        return
    if isinstance(before, ProgressRecord):
        back = run.restart and bool(_difference(before, work)) and _previous_fits(work)
        _undo(directory, before)
        before = _earlier(directory, work.record.kind)
        if back and isinstance(before, Manifest):  # --restart was meant for the half
            work.run = replace(run, restart=False)
            run.progress.note(f"{directory}: the finished one before is back")
    if isinstance(before, Manifest):
        if not (why := _why_anew(work, before)):
            work.done = before  # undone above, and just what is asked for now
            return
        _refuse_itself(work, before)
        run.progress.note(f"{directory}: made anew: {why}")
        _tidy(directory, before.files)
    work.record.run = uuid4().hex
    work.save()
    if isinstance(before, Manifest):
        _set_aside(directory, [MANIFEST, *before.files])


def _previous_fits(work: Draft) -> bool:
    """Whether the finished artifact that lies in .previous is what `work` would make."""
    previous = work.directory / PREVIOUS
    return is_artifact(previous) and not _difference(
        read_manifest(previous, work.record.kind), work
    )


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
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        left = msgspec.json.decode((directory / PROGRESS).read_bytes(), type=ProgressRecord)
        _remove(directory, [name for name in left.claimed if name not in parts])
    shutil.rmtree(directory / PREVIOUS, ignore_errors=True)
    (directory / PROGRESS).unlink(missing_ok=True)
