"""The parts of an artifact that several processes and hosts make at once.

    .parts/00012.held    somebody is making part 12 (dprkit.store.leases)
    .parts/00012.json    part 12 is whole: the records of its files

Both lie in the artifact's folder until all parts are whole. A part may be made twice, where its
first holder was taken for dead; on processors that differ the last bits of the two may too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from dprkit.errors import DamagedError, LockedError, MismatchError, OutputError, writing
from dprkit.progress import Run
from dprkit.store import leases, manifests
from dprkit.store.atomic_files import atomic_write, delete
from dprkit.store.begin_or_resume import begin, difference_of, preview, tidy_up_to_date, wanted
from dprkit.store.drafts import Draft
from dprkit.store.integrity import is_whole, record_file
from dprkit.store.locks import lock
from dprkit.store.manifests import FileRecord, Input, Manifest, ProgressRecord
from dprkit.store.previous_artifact import undo

SHARED_PATIENCE = 60.0
"""Seconds to wait for another process of a shared artifact to decide what to do next."""
POLL = 0.5
"""Seconds between two looks at what the others are doing."""


@contextlib.contextmanager
def shared_draft(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    unused: Collection[str] = (),
) -> Iterator[Draft]:
    """As `draft`, for what several processes make. It begins with the first Parts."""
    work = preview(wanted(directory, kind, settings, inputs, run, unused=unused))
    if work.done:
        tidy_up_to_date(work)
        yield work
        return
    try:
        yield work
    except Exception:  # whatever it is, what nobody can resume is undone; a signal leaves it
        with (
            contextlib.suppress(LockedError, OutputError, DamagedError),
            lock(directory, SHARED_PATIENCE),
        ):
            left = manifests.read_progress(directory)
            if left and not left.state and not leases.any_alive(directory / manifests.PARTS):
                undo(directory, left)
        raise


class Parts(contextlib.AbstractContextManager["Parts"]):
    """Parts 0 to `total` - 1 of a shared draft, of which this process makes its part.

    A context manager: while it is open, nobody else restarts what it works on.
    """

    def __init__(self, work: Draft, total: int, claims: Iterable[str]) -> None:
        """`claims`: every file that the parts will be made of."""
        self.work, self.total = work, total
        self.folder = work.directory / manifests.PARTS
        self.presence: leases.Lease | None = None
        with self._locked():
            begin(work)
            if not work.done:
                work.claim(manifests.PARTS, *claims)
                self.folder.mkdir(exist_ok=True)
                self.presence = leases.take(self.folder, f"process-{uuid4().hex}")

    def __exit__(self, *_: object) -> None:
        if self.presence:
            with self._locked():
                self.presence.give_back()

    @property
    def finished(self) -> bool:
        """Whether the artifact is whole, by this process or another."""
        return manifests.is_artifact(self.work.directory)

    def whole(self) -> set[int]:
        """The parts that are whole."""
        return {int(path.stem) for path in self.folder.glob("*.json")}

    def shared_out(self, wanted: Iterable[int]) -> Iterator[tuple[int, bool]]:
        """Each of the `wanted` parts once it is whole or to be made here: (number, make it).

        A part that is to be made is held until the next one is asked for, and must have been
        `done` by then. Waits for parts that others hold: should they die, they are made here.
        """
        left = sorted(set(wanted))
        while left:
            number, lease = self._next(left)
            if number is None:
                time.sleep(POLL)
                continue
            left.remove(number)
            try:
                yield number, lease is not None
            finally:
                if lease:
                    with self._locked():
                        lease.give_back()

    def _next(self, left: list[int]) -> tuple[int | None, leases.Lease | None]:
        """A part of `left` that is whole, or that was taken just now; None: all are held."""
        with self._locked():
            if self.finished:
                return left[0], None
            self._refuse_another_run()  # before a lease is taken in a folder that is another's
            whole = self.whole()
            for number in left:
                if number in whole:
                    return number, None
            for number in left:
                if lease := leases.take(self.folder, _name(number)):
                    return number, lease
        return None, None

    def done(self, number: int, names: Iterable[str]) -> None:
        """Part `number` is whole: `names` are the files that the draft wrote for it."""
        records = {name: self.work.record.files[name] for name in names}
        with self._locked():
            if self.finished:
                return
            self._refuse_another_run()
            if number in self.whole():  # made twice; here lie the files that came last
                here = self.work.directory
                records = {n: record_file(here / n, r.content) for n, r in records.items()}
            # Not before a part is whole: where there is no state, a failure undoes everything.
            if not self.work.state:
                self.work.state["parts"] = self.total
                self.work.save()
            _record_part(self.work.directory, number, records)

    def finish(self, counts: Callable[[], Mapping[str, Any]]) -> Manifest | None:
        """The manifest of the artifact, if all parts are whole; None: others are left to do.

        `counts` is asked for what the manifest counts when all are.
        """
        with self._locked():
            if self.finished:
                return manifests.read_manifest(self.work.directory)
            whole = self.whole()
            if len(whole) < self.total:
                return None
            for number in whole:
                raw = (self.folder / f"{_name(number)}.json").read_bytes()
                records = msgspec.json.decode(raw, type=dict[str, FileRecord])
                self.work.record.files.update(records)
            return self.work.finish(counts())

    def _refuse_another_run(self) -> None:
        """A process that was suspended for long may wake when all was begun anew."""
        now = manifests.read_progress(self.work.directory)
        if now is None or now.run != self.work.record.run:
            raise LockedError(
                f"{self.work.directory}: was begun again by another process; run again to join it"
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with lock(self.work.directory, SHARED_PATIENCE), writing(self.work.directory):
            yield


def _record_part(directory: Path, number: int, records: Mapping[str, FileRecord]) -> None:
    with atomic_write(directory / manifests.PARTS / f"{_name(number)}.json") as file:
        file.write(msgspec.json.encode(records))


def _name(number: int) -> str:
    return f"{number:05d}"


def reopen_damaged(work: Draft, parts: Callable[[Manifest], Sequence[Sequence[str]]]) -> None:
    """Make a finished artifact an unfinished one that lacks its damaged parts and no others.

    `parts`: the files of each part of an artifact. Raises MismatchError, and leaves the artifact
    alone, where it was made otherwise than `work` would be.
    """
    directory, kind, note = work.directory, work.record.kind, work.run.progress.note
    if not manifests.is_artifact(directory):
        return
    if difference := difference_of(manifests.read_manifest(directory, kind), work):
        raise MismatchError(
            f"{directory}: cannot be repaired with other settings or inputs: {difference}; "
            "give those it was made with"
        )
    with lock(directory):
        manifest = manifests.read_manifest(directory, kind)
        files = manifest.files
        damaged = {name for name in files if not is_whole(directory, manifest, name, again=True)}
        if not damaged:
            return note(f"{directory}: all {len(files)} files are whole")
        for name in sorted(damaged):
            note(f"{directory / name}: damaged; making its part again")
        delete(directory / manifests.PARTS)  # left by the run that made the artifact
        state, claimed = {"parts": len(parts(manifest))}, [manifests.PARTS, *files]
        record = ProgressRecord(kind, manifest.settings, manifest.inputs, {}, state, claimed)
        manifests.write_progress(directory, record)
        for number, names in enumerate(parts(manifest)):
            if not damaged.intersection(names):
                _record_part(directory, number, {name: files[name] for name in names})
        # The last: killed before, the artifact is the damaged one that it was.
        (directory / manifests.MANIFEST).unlink()
