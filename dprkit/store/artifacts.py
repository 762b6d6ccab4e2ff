"""May an artifact be begun, resumed, remade, or is it up to date?

An artifact is a folder with a manifest.json that says what it is, what made it, from what, and
the size and sha256 of every file. A folder without one is unfinished, and its progress.json tells
a later run where to go on:

    nothing of ours ──begin──► progress.json ──finish──► manifest.json
                                 │      ▲                      │
                               killed  again          other settings or inputs
                                 ▼      │                      ▼
                               a half ──┘        .previous/ and progress.json, until the new one is
                                                 whole; a failure or --restart brings it back

Where a manifest.json or progress.json is lost or cannot be read, nobody knows which files are
dprkit's. Then --restart moves what is in its way into a folder `aside-1`, and deletes nothing.
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
from dprkit.settings.fields import Setting, fields_of, record_of
from dprkit.settings.stages import MADE_AGAIN
from dprkit.store import leases
from dprkit.store.atomic_files import TEMPORARY, atomic_write, prune
from dprkit.store.drafts import Draft, free_name, move, remove, tidy
from dprkit.store.integrity import Verifier, input_of, unlisted_files
from dprkit.store.locks import lock
from dprkit.store.manifests import (
    MANIFEST,
    PARTS,
    PREVIOUS,
    PROGRESS,
    Input,
    Manifest,
    ProgressRecord,
    is_artifact,
    read_manifest,
    read_progress,
)


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
    directory = Path(directory)
    work = preview(directory, kind, settings, inputs, run, more, unused)
    if work.done:
        tidy_up_to_date(work)
        yield work
        return
    with lock(directory):
        begin(work)
        try:
            yield work
        except Exception:  # a signal leaves everything to the next run
            if not work.done and not work.state:
                undo(directory, work.record)
                if is_artifact(directory):
                    run.progress.note(f"{directory}: is as it was before")
            raise


def preview(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None = None,
    unused: Collection[str] = (),
) -> Draft:
    """What `draft` would make, without touching anything; its `done` tells whether it is there."""
    work = _wish(directory, kind, settings, inputs, run, more, unused)
    before = _before(work)
    if isinstance(before, Manifest) and not _why_anew(work, before):
        work.done = before
        run.progress.note(f"{directory}: up to date")
    return work


def tidy_up_to_date(work: Draft) -> None:
    """Remove what a run left that was killed just after it had written the manifest."""
    if work.done and (work.directory / PROGRESS).exists():
        with suppress(LockedError, OutputError), lock(work.directory):
            tidy(work.directory, work.done.files)


def differs(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
) -> str:
    """How the finished artifact at `directory` is not what `draft` would make; `""`: it is."""
    before = read_manifest(directory, kind)
    return _difference(before, _wish(directory, kind, settings, inputs, Run(), None, ()))


def _wish(
    directory: Path,
    kind: str,
    settings: msgspec.Struct | Mapping[str, Any],
    inputs: Mapping[str, str | Input],
    run: Run,
    more: Mapping[str, Any] | None,
    unused: Collection[str],
) -> Draft:
    check, here = Verifier(run.progress.note), os.path.realpath(directory)
    now = {
        name: given if isinstance(given, Input) else input_of(given, check)
        for name, given in inputs.items()
    }
    now = {
        name: msgspec.structs.replace(known, relative_path=os.path.relpath(known.path, here))
        for name, known in now.items()
    }
    fields: Mapping[str, Setting] = {}
    if isinstance(settings, msgspec.Struct):
        settings, fields = record_of(settings, unused), fields_of(type(settings))
    # As a manifest gives it back:
    settled = msgspec.json.decode(msgspec.json.encode({**settings, **(more or {})}))
    return Draft(directory, ProgressRecord(kind, settled, now), run, fields, unused)


def _before(work: Draft) -> Manifest | ProgressRecord | None:
    """What is in the folder of `work`: a finished artifact, a half-done one, or nothing of ours.

    --restart passes over one that cannot be read. Nobody knows its files then, so those that are
    in the way are to be moved aside.
    """
    directory, kind = work.directory, work.record.kind
    with writing(directory):
        if directory.exists() and not directory.is_dir():
            raise OutputError(f"{directory}: is a file; an output folder is needed")
        try:
            found = read_manifest(directory) if is_artifact(directory) else read_progress(directory)
        except DamagedError:
            if not work.run.restart:
                raise
            work.record.aside = free_name(directory)
            return None
    if found and found.kind != kind:
        raise OutputError(f"{directory}: holds {found.kind}; choose another output for {kind}")
    return found


def _why_anew(work: Draft, before: Manifest) -> str:
    """`""` when `before` is what `work` would make and is whole, else what it lacks.

    Raises MismatchError for a file that was changed or added: making it anew would throw that away.
    """
    if work.run.restart:
        return "--restart was given"
    if difference := _difference(before, work):
        return difference
    for name in before.files:
        if not (work.directory / name).is_file():
            return f"{name} is gone"
    for path, _ in Verifier(work.run.progress.note).damaged_files(work.directory, before):
        raise MismatchError(
            f"{path}: was changed since it was made; move it away to keep it, "
            f"or make it again with {MADE_AGAIN.get(before.kind, '--restart')}"
        )
    if strange := unlisted_files(work.directory, before):
        raise MismatchError(
            f"{strange[0]}: is not a file of this {before.kind}; move it away, or make the "
            f"{before.kind} again with --restart, which moves it aside"
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
        if name in work.unused:
            continue
        field = work.fields.get(name)
        default = msgspec.to_builtins(field.default) if field else None
        was, now = old.get(name, default), new.get(name, default)
        same = was == now or (isinstance(was, tuple) and list(was) == now)
        if not same and not (field and field.harmless):
            changes[name] = (was, now)
    return changes


def _side(known: Input | None) -> str:
    return f"{known.path} ({known.identity[:23]})" if known else "absent"


def begin(work: Draft) -> None:
    """Decide, holding the lock, between resuming and starting anew.

    Where others are making parts of this artifact, they can only be joined.
    """
    directory, run = work.directory, work.run
    alone = not leases.any_alive(directory / PARTS)
    if alone:  # these are of a killed run
        remove(directory, [left.name for left in directory.glob(f"{TEMPORARY}*")])
    elif run.restart:
        raise LockedError(f"{directory}: other processes are making it; stop them to restart")
    before = _before(work)
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
        undo(directory, before)
        before = _before(work)
        if back and isinstance(before, Manifest):  # --restart was meant for the half
            work.run = replace(run, restart=False)
            run.progress.note(f"{directory}: the finished one before is back")
    if isinstance(before, Manifest):
        if not (why := _why_anew(work, before)):
            work.done = before  # undone above, and just what is asked for now
            return
        _refuse_itself(work, before)
        run.progress.note(f"{directory}: made anew: {why}")
        tidy(directory, before.files)
        if unlisted_files(directory, before):
            work.record.aside = free_name(directory)
    if work.record.aside:
        _copy_aside(work)
    work.record.run = uuid4().hex
    work.save()
    if isinstance(before, Manifest):
        _set_aside(directory, [MANIFEST, *before.files])
    elif work.record.aside:  # progress.json counts from now on
        (directory / MANIFEST).unlink(missing_ok=True)


def _copy_aside(work: Draft) -> None:
    """Begin the folder of what is in the way with a copy of what could not be read."""
    directory, aside = work.directory, work.directory / work.record.aside
    work.tell_aside()
    for name in (MANIFEST, PROGRESS):
        if (directory / name).is_file():
            with atomic_write(aside / name) as file:
                file.write((directory / name).read_bytes())


def _previous_fits(work: Draft) -> bool:
    """Whether the finished artifact that lies in .previous is what `work` would make."""
    with suppress(InputError):
        return not _difference(read_manifest(work.directory / PREVIOUS, work.record.kind), work)
    return False


def _refuse_itself(work: Draft, before: Manifest) -> None:
    """An artifact that is made anew moves out of the way, so it cannot be an input as well."""
    here = os.path.realpath(work.directory)
    own = {here, *(os.path.join(here, name) for name in before.files)}
    for known in work.record.inputs.values():
        if known.path in own:
            raise MismatchError(f"{known.path}: is an input too; choose another output")


def undo(directory: Path, record: ProgressRecord) -> None:
    """Throw away a half-done artifact, and only what it made; put the one before it back."""
    remove(directory, record.claimed)
    bare = ProgressRecord(record.kind, {}, {}, aside=record.aside)  # with nothing claimed
    Draft(directory, bare, Run()).save()
    for former in (PREVIOUS, record.aside):
        if former:
            _put_back(directory, directory / former)
    tidy(directory, ())
    if record.aside and (directory / record.aside / PROGRESS).exists():
        (directory / record.aside / PROGRESS).replace(directory / PROGRESS)
    if record.aside:
        prune(directory, [f"{record.aside}/{PROGRESS}"])


def _put_back(directory: Path, former: Path) -> None:
    """Move the files below `former` back to where they were, the manifest last."""
    names = [
        str(p.relative_to(former)) for p in former.rglob("*") if p.is_symlink() or not p.is_dir()
    ]
    for name in sorted(set(names) - {PROGRESS}, key=lambda name: name == MANIFEST):
        move(former, directory, name)
    prune(former, names)


def _set_aside(directory: Path, names: list[str]) -> None:
    """Move a finished artifact into .previous, so that a failed remake loses nothing.

    The manifest goes first. A run that is killed here is undone by the next one.
    """
    for name in names:
        if os.path.lexists(directory / name):
            move(directory, directory / PREVIOUS, name)
    prune(directory, names)
