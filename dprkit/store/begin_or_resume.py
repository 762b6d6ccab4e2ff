"""Whether an artifact is up to date, or may be begun, resumed or made again.

An artifact is a folder with a manifest.json that says what it is, what made it, from what, and
the size and sha256 of every file. What a folder may hold, and what leads from one to the other:

    nothing of ours
       │ begin
       ▼            killed; run again
    BEGUN           progress.json without state: nothing is lost by throwing it away, so an
       │            error does that at once and a next run begins anew
       │ the stage saves its state
       ▼
    HALF DONE       progress.json with state: a next run goes on, if settings and inputs are the
       │            same; `--restart` throws it away (previous.undo)
       │ finish
       ▼
    WHOLE           manifest.json; progress.json is gone a moment later
       │ other settings or inputs, a missing file, --restart
       ▼
    BEGUN, HALF DONE with .previous/: the finished one before it, until the new one is WHOLE;
                    what throws the new one away puts the old one back

    CANNOT BE READ  manifest.json or progress.json is lost or damaged, so nobody knows which files
                    are dprkit's. Only --restart begins here: it moves what is in its way into
                    `aside-1/` and deletes nothing; what undoes it puts that back
    SHARED          BEGUN or HALF DONE with .parts/, where several processes say which part each
                    of them makes (dprkit.store.shared_work)

A folder counts as finished by its manifest.json alone. So that file is the last to appear and the
first to go, whatever is done.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from dprkit.errors import DamagedError, InputError, LockedError, MismatchError, OutputError, writing
from dprkit.progress import Run
from dprkit.settings import MADE_AGAIN
from dprkit.settings.fields import Setting, fields_of, record_of
from dprkit.store import leases, manifests
from dprkit.store.atomic_files import TEMPORARY, atomic_write
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier, input_of, unlisted_files
from dprkit.store.locks import lock
from dprkit.store.manifests import MANIFEST, PROGRESS, Input, Manifest, ProgressRecord, is_artifact
from dprkit.store.previous_artifact import aside_name, keep_as_previous, remove, tidy, undo

UP_TO_DATE = "up to date"
OUT_OF_DATE = "out of date"
HALF_DONE = "half done"
NOT_BEGUN = "not begun"


class Previewed(Exception):
    """How far an artifact is, raised in place of making it where a run only asks."""

    def __init__(self, state: str, why: str) -> None:
        """`why`: how it differs from what would be made."""
        super().__init__(state, why)
        self.state, self.why = state, why


@contextmanager
def draft(
    directory: Path | str,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None = None,
    unused: Collection[str] = (),
) -> Iterator[Draft]:
    """Make the artifact `kind` at `directory`: up to date, resumed, or begun.

    Yields a Draft whose `done` is the manifest when the artifact already is what the same
    settings and inputs would make. A half-done one is resumed; if its settings or inputs were
    others, MismatchError names both sides, and `run.restart` throws the half away. A finished
    artifact of other settings or inputs is kept in .previous until the new one is whole.

    `settings`: a stage's settings, or what is to be recorded of them; `more` is recorded too, and
    settings that are `unused` for what is made are neither recorded nor compared. An input is a
    path, or an Input that an artifact it leads to already names.

    Raises LockedError (exit 75) while another process makes the same artifact.
    """
    work = preview(wanted(directory, kind, settings, inputs, run, more, unused))
    if work.done:
        tidy_up_to_date(work)
        yield work
        return
    with lock(work.directory):
        begin(work)
        try:
            yield work
        except Exception:  # a signal leaves everything to the next run
            if not work.done and not work.state:
                undo(work.directory, work.record)
                if is_artifact(work.directory):
                    run.progress.note(f"{directory}: is as it was before")
            raise


def wanted(
    directory: Path | str,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None = None,
    unused: Collection[str] = (),
) -> Draft:
    """The Draft of what `draft` would make, whatever is in the folder by now."""
    verifier, here = Verifier(run.progress.note), os.path.realpath(directory)
    now: dict[str, Input] = {}
    for name, given in inputs.items():
        read = given if isinstance(given, Input) else input_of(given, verifier)
        near = os.path.relpath(read.path, here)
        now[name] = msgspec.structs.replace(read, relative_path=near)
    fields: Mapping[str, Setting] = {}
    if isinstance(settings, msgspec.Struct):
        settings, fields = record_of(settings, unused), fields_of(type(settings))
    # As a manifest gives it back:
    settled = msgspec.json.decode(msgspec.json.encode({**settings, **(more or {})}))
    return Draft(Path(directory), ProgressRecord(kind, settled, now), run, fields, unused)


def preview(work: Draft) -> Draft:
    """`work`, whose `done` tells now whether it is there already. Nothing is touched."""
    before = _before(work)
    if isinstance(before, Manifest):
        why = _why_anew(work, before)
        state = OUT_OF_DATE if why else UP_TO_DATE
    elif before and before.state:
        state, why = HALF_DONE, difference_of(before, work)
    else:
        state, why = NOT_BEGUN, ""
    if work.run.only_preview:
        raise Previewed(state, why)
    if isinstance(before, Manifest) and not why:
        work.done = before
        work.run.progress.note(f"{work.directory}: up to date")
    return work


def tidy_up_to_date(work: Draft) -> None:
    """Remove what a run left that was killed just after it had written the manifest."""
    if work.done and (work.directory / PROGRESS).exists():
        with suppress(LockedError, OutputError), lock(work.directory):
            tidy(work.directory, work.done.files)


def begin(work: Draft) -> None:
    """Decide, holding the lock, between resuming and starting anew. What comes of it:

    1. Refused (LockedError): others make parts of it; a restart would pull them out of their hands.
    2. Resumed, or joined where others make it: half done, with the same settings and inputs.
    3. Refused (MismatchError): half done with others; what is done would be lost without a word.
    4. Done: the half was undone, and the finished one before it is just what is wanted.
    5. Made anew, with the finished one in .previous: a failure must not cost what there was.
    6. Refused (MismatchError): what would be made anew is an input, which is gone when it is read.
    7. Begun: nothing was there, nothing but what was undone, or what is to be moved aside.
    """
    directory, run = work.directory, work.run
    alone = not leases.any_alive(directory / manifests.PARTS)
    if alone:  # the temporary files are of a killed run
        remove(directory, [path.name for path in directory.glob(f"{TEMPORARY}*")])
    elif run.restart:
        raise LockedError(f"{directory}: other processes are making it; stop them to restart")
    before = _before(work)
    if isinstance(before, ProgressRecord):
        if (before.state or not alone) and not run.restart:
            return _resume(work, before)
        before = _undone(work, before)
    if isinstance(before, Manifest):
        if not (why := _why_anew(work, before)):
            work.done = before
            return
        _refuse_itself(work, before)
        run.progress.note(f"{directory}: made again: {why}")
        tidy(directory, before.files)
        if unlisted_files(directory, before):
            work.record.aside = aside_name(directory)
    _start(work, before)


def _resume(work: Draft, before: ProgressRecord) -> None:
    if difference := difference_of(before, work):
        gain = (
            ", which brings back the finished artifact from before" if _previous_fits(work) else ""
        )
        raise MismatchError(
            f"{work.directory}: half done with other settings or inputs: {difference}; "
            f"go on with those, or throw the half away with --restart{gain}"
        )
    work.run.progress.note(f"{work.directory}: going on where an earlier run stopped")
    work.changed = {name: was for name, (was, _) in _changes(before.settings, work).items()}
    before.settings = work.record.settings
    work.record = before


def _undone(work: Draft, before: ProgressRecord) -> Manifest | ProgressRecord | None:
    """What is in the folder when its half-done artifact is thrown away."""
    back = work.run.restart and bool(difference_of(before, work)) and _previous_fits(work)
    undo(work.directory, before)
    manifest = _before(work)
    if back and isinstance(manifest, Manifest):  # --restart was meant for the half
        work.run = replace(work.run, restart=False)
        work.run.progress.note(f"{work.directory}: the finished artifact from before is back")
    return manifest


def _start(work: Draft, before: Manifest | ProgressRecord | None) -> None:
    directory, aside = work.directory, work.record.aside
    if aside:
        work.tell_aside()
        for name in (MANIFEST, PROGRESS):  # copies: until progress.json is new they stay in force
            if (directory / name).is_file():
                with atomic_write(directory / aside / name) as file:
                    file.write((directory / name).read_bytes())
    work.record.run = uuid4().hex
    # Saved before anything is moved: the next run undoes a killed one by this record.
    work.save()
    if isinstance(before, Manifest):
        keep_as_previous(directory, before.files)
    elif aside:
        (directory / MANIFEST).unlink(missing_ok=True)


# --- what is there, and how it differs ------------------------------------------------------------


def _before(work: Draft) -> Manifest | ProgressRecord | None:
    """What is in the folder of `work`: a finished artifact, a half-done one, or nothing of ours.

    --restart passes over one that cannot be read. Nobody knows its files then, so those that are
    in the way are to be moved aside.
    """
    directory, kind = work.directory, work.record.kind
    with writing(directory):
        if directory.exists() and not directory.is_dir():
            raise OutputError(f"{directory}: is a file; an output folder is needed")
        read = manifests.read_manifest if is_artifact(directory) else manifests.read_progress
        try:
            before = read(directory)
        except DamagedError:
            if not work.run.restart:
                raise
            work.record.aside = aside_name(directory)
            return None
    if before and before.kind != kind:
        raise OutputError(f"{directory}: holds {before.kind}; choose another output for {kind}")
    return before


def _why_anew(work: Draft, before: Manifest) -> str:
    """`""` when `before` is what `work` would make and is whole, else what it lacks.

    Raises MismatchError for a file that was changed or added: making it anew would throw that away.
    """
    if work.run.restart:
        return "--restart was given"
    if difference := difference_of(before, work):
        return difference
    for name in before.files:
        if not (work.directory / name).is_file():
            return f"{name} is gone"
    for path, _ in Verifier(work.run.progress.note).damaged_files(work.directory, before):
        raise MismatchError(
            f"{path}: was changed since it was made; move it away to keep it, "
            f"or make it again with {MADE_AGAIN.get(before.kind, '--restart')}"
        )
    for path in unlisted_files(work.directory, before):
        raise MismatchError(
            f"{path}: is not a file of this {before.kind}; move it away, or make the "
            f"{before.kind} again with --restart, which moves it aside"
        )
    return ""


def difference_of(old: Manifest | ProgressRecord, work: Draft) -> str:
    """`""` when both would make the same artifact, else the first differences, in words."""
    resuming = isinstance(old, ProgressRecord)
    differences = [
        f"{name} was {_as_recipe(was)} and is {_as_recipe(now)}"
        for name, (was, now) in _changes(old.settings, work).items()
        if not (resuming and name in work.fields and work.fields[name].resumable)
    ]
    for name in {**old.inputs, **work.record.inputs}:
        was, now = old.inputs.get(name), work.record.inputs.get(name)
        if not (was and now and was.identity == now.identity):
            differences.append(f"{name} was {_side(was)} and is {_side(now)}")
    more = f" (and {len(differences) - 3} more)" if differences[3:] else ""
    return "; ".join(differences[:3]) + more


def _as_recipe(value: Any) -> str:
    """A value as a recipe may have it: null and true, not None and True."""
    return msgspec.json.encode(value).decode()


def _side(given: Input | None) -> str:
    return f"{given.path} ({given.identity[:23]})" if given else "absent"


def _changes(old: Mapping[str, Any], work: Draft) -> dict[str, tuple[Any, Any]]:
    """setting -> (earlier, present value) of those that differ and count.

    A setting that the earlier dprkit did not know stood at its default.
    """
    new, changes = work.record.settings, {}
    for name in {**old, **new}:
        field = work.fields.get(name)
        if name in work.unused or (field and field.harmless):
            continue
        default = msgspec.to_builtins(field.default) if field else None
        was, now = old.get(name, default), new.get(name, default)
        if was != now and not (isinstance(was, tuple) and list(was) == now):
            changes[name] = (was, now)
    return changes


def _previous_fits(work: Draft) -> bool:
    """Whether the finished artifact that lies in .previous is what `work` would make."""
    with suppress(InputError):
        previous = manifests.read_manifest(work.directory / manifests.PREVIOUS, work.record.kind)
        return not difference_of(previous, work)
    return False


def _refuse_itself(work: Draft, before: Manifest) -> None:
    """An artifact that is made anew moves out of the way, so it cannot be an input as well."""
    here = os.path.realpath(work.directory)
    files = {here, *(os.path.join(here, name) for name in before.files)}
    for given in work.record.inputs.values():
        if given.path in files:
            raise MismatchError(f"{given.path}: is an input too; choose another output")
