"""Drafts: artifacts that are being made. Files appear one by one, and the manifest last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from dprkit import __version__
from dprkit.errors import DamagedError, OutputError, writing
from dprkit.progress import Run
from dprkit.settings.fields import Setting
from dprkit.store import manifests
from dprkit.store.atomic_files import TEMPORARY, Hashing, apply_umask, atomic_write, delete, sync
from dprkit.store.checksums import Stamp, remember, stamp
from dprkit.store.integrity import record_file
from dprkit.store.manifests import FileRecord, Manifest, ProgressRecord
from dprkit.store.previous_artifact import aside_name, move, tidy


@dataclass(eq=False)
class Draft:
    """An artifact in the making. `done` is its manifest where nothing is left to do."""

    directory: Path
    record: ProgressRecord
    run: Run
    fields: Mapping[str, Setting]
    """The stage's settings, where it has any."""
    unused: Collection[str]
    """Settings that do not count."""
    done: Manifest | None = None
    changed: dict[str, Any] = field(default_factory=dict)
    """Earlier values of the settings that a half-done artifact goes on with otherwise."""
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    """Of the files that this process wrote, when it had just written them."""

    @property
    def state(self) -> dict[str, Any]:
        """What a stage wants to find again after a crash; kept by `save`."""
        return self.record.state

    def claim(self, *names: str) -> None:
        """Say which files or folders this run will make; `file` and `folder` do it themselves.

        Noted in progress.json, so that a later run can tell what a killed one left from what is
        somebody else's. What is there and not this artifact's is moved aside with --restart, and
        else raises OutputError.
        """
        new = [name for name in names if name not in self.record.claimed]
        for name in new:
            if os.path.lexists(self.directory / name):
                if not self.record.aside:
                    if not self.run.restart:
                        raise OutputError(
                            f"{self.directory / name}: already there and not made by dprkit; "
                            "choose another output, or move it away, or aside with --restart"
                        )
                    self.record.aside = aside_name(self.directory)
                    self.tell_aside()
                    self.save()  # before the move: who undoes it must know where to look
                move(self.directory, self.directory / self.record.aside, name)
        if new:  # saved before they appear: what nobody claims is never deleted
            self.record.claimed.extend(new)
            self.save()

    def tell_aside(self) -> None:
        """Say where what is in the way goes."""
        self.run.progress.warn(
            f"{self.directory}: what is in the way is moved to "
            f"{self.directory / self.record.aside}; delete that when you do not need it"
        )

    @contextmanager
    def file(self, name: str, content: bool = True) -> Iterator[BinaryIO]:
        """A file of the artifact, which appears when the block ends without an error.

        `content=False`: it tells about the making and is no part of the identity.
        """
        self.claim(name)
        with atomic_write(self.directory / name) as file:
            hashing = Hashing(file)
            yield cast(BinaryIO, hashing)
        self.record.files[name] = FileRecord(hashing.count, hashing.digest.hexdigest(), content)
        self._stamps[name] = stamp(self.directory / name)

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
                apply_umask(work)
                for path in files:  # on the disk before its name: a power cut leaves no empty file
                    sync(path)
                target = self.directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                delete(target)  # it is claimed, so it is what a killed run left
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        self._forget(name)
        self.record.files.update(records)
        self._stamps |= {path: stamp(self.directory / path) for path in records}

    def move_in(self, name: str, made: Path) -> None:
        """Make `made`, a whole file that was written in the folder, the file `name`.

        For what is not written from its beginning to its end; it is read once for its hash.
        """
        self.claim(name)
        with writing(made):
            sync(made)
            apply_umask(made)
            record = record_file(made)
            made.replace(self.directory / name)
            sync(self.directory)
            self._stamps[name] = stamp(self.directory / name)
        self.record.files[name] = record

    def append(self, name: str, line: bytes) -> int:
        """Add a line to a growing file that tells about the making, such as metrics.jsonl."""
        with writing(self.directory / name), (self.directory / name).open("ab") as file:
            return file.write(line)

    def rewind(self, name: str, size: int, whole: str | None = None) -> None:
        """Cut a growing file back to the `size` bytes it had when progress was last saved.

        `whole`: the name that `move_in` gives it. A run that was killed behind that, without a
        manifest, finds it there and takes it back. Raises DamagedError where bytes are lost, and
        OutputError, before anything is made, where either name is somebody else's file.
        """
        self.claim(*(each for each in (name, whole) if each))
        path = self.directory / name
        moved = self.directory / whole if whole else None
        with writing(path):
            if moved and moved.is_file() and not path.exists():
                moved.replace(path)
            with path.open("ab") as file:
                if file.tell() < size:
                    raise DamagedError(
                        f"{path}: damaged (it has {file.tell():,} bytes of {size:,} that were "
                        "written); make it again with --restart"
                    )
                file.truncate(size)

    def include(self, name: str) -> None:
        """Count a file that `append` grew as part of the artifact, though not of its content."""
        self.record.files[name] = record_file(self.directory / name, content=False)

    def remove(self, name: str) -> None:
        """Take the file or folder `name` out of the artifact again."""
        delete(self.directory / name)
        self._forget(name)
        self.save()

    def save(self) -> None:
        """Write progress.json: everything up to here will be found by a later run."""
        manifests.write_progress(self.directory, self.record)

    def give_up(self) -> None:
        """Say that nothing can come of it: the error that follows throws it away."""
        self.state.clear()

    def finish(self, counts: Mapping[str, Any], drop: tuple[str, ...] = ()) -> Manifest:
        """Write manifest.json: the artifact is whole.

        What has a name that begins with one of `drop` was only needed to go on.
        """
        record = self.record
        if drop:
            record.files = {n: f for n, f in record.files.items() if not n.startswith(drop)}
        manifest = Manifest(
            kind=record.kind,
            schema=manifests.SCHEMA,
            dprkit=__version__,
            command=self.run.command,
            settings=record.settings,
            inputs=record.inputs,
            counts=dict(counts),
            files=dict(sorted(record.files.items())),
            identity=manifests.identity_of(record.kind, record.files),
        )
        manifest = manifests.write_manifest(self.directory, manifest)
        self._remember(manifest)
        # Only now: until the manifest is there, a kill leaves what the next run goes on with.
        tidy(self.directory, manifest.files)
        return manifest

    def _remember(self, manifest: Manifest) -> None:
        """Spare the first reader of large files the hashing.

        The manifest was written after them. Where its time is a later one, the clock of the file
        system has gone on, and whoever changes one of them now gives it a still later time.
        """
        with suppress(OSError):
            now = stamp(self.directory / manifests.MANIFEST).ctime
            for name, at in self._stamps.items():
                path = self.directory / name
                if name in manifest.files and at.settled(now) and at == stamp(path):
                    remember(path, at, manifest.files[name].sha256)

    def _forget(self, name: str) -> None:
        """Strike a file, or all files of a folder, from the record."""
        for path in list(self.record.files):
            if path == name or path.startswith(f"{name}/"):
                del self.record.files[path]
