"""Download files of the catalog: whole, verified, and only once.

    NAME                    whole; its length, sha256 and time of change are in the record
    NAME.part, .part.json   what has arrived of it, and of which version (transfer.py)
    dprkit-downloads.json   in the output folder: what each file was when it first came (record.py)

A run that is killed leaves NAME.part, and the next one asks the server for the rest of it.
A file is checked by its length, and by its sha256 where it is known: from a catalog that has one
(the built-in catalog has none), or from the record of an earlier download into the same folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dprkit.download.catalog import Target, load_catalog, match_resources, targets_of
from dprkit.download.fetch import Status, fetch, unpack
from dprkit.download.record import KnownFile, sha256_of
from dprkit.download.session import Session, client_for
from dprkit.download.sizes import ask_length, check_sizes
from dprkit.errors import DownloadError, SettingsError
from dprkit.progress import Run
from dprkit.settings import DownloadSettings
from dprkit.store.stage_files import StageFiles


class FileRow(msgspec.Struct, frozen=True):
    """What became of one file. "resumed": bytes that an earlier run left were used."""

    key: str
    url: str
    path: str
    bytes: int | None
    sha256: str | None
    status: Status


class DownloadReport(msgspec.Struct):
    """What was fetched. `outputs` are the files that are there now."""

    rows: list[FileRow] = []
    outputs: list[str] = []
    notes: list[str] = []
    up_to_date: bool = False
    """Whether all files were there already."""


def download(
    settings: DownloadSettings, run: Run = Run(), *, yes: bool = False, dry_run: bool = False
) -> DownloadReport:
    """Fetch the resources that `settings.names` stand for into `settings.output_dir`.

    Files that are there and whole are not fetched again, and a part that an earlier run left is
    continued if the server still has the same file. More than ASK_ABOVE bytes need `yes`.
    `dry_run` tells what would be done; it asks the servers for lengths and writes nothing.

    Raises SettingsError for an unknown name or a set that needs `yes`, DownloadError where a
    server did not give the file, ChecksumError where it is not the file the catalog or an
    earlier download knows, OutputError where the disk is too small, LockedError while another
    run fetches the same file.
    """
    targets = _targets(settings)
    with client_for(settings) as client:
        session = Session(client, settings, run, yes, dry_run)
        steps = [_survey(session, target) for target in targets]
        check_sizes(session, [step.target for step in steps if step.to_fetch])
        rows = [row for step in steps if (row := _take(session, step))]
    outputs = [row.path for row in rows if row.status != "would fetch"]
    there = bool(rows) and all(row.status == "up to date" for row in rows)
    return DownloadReport(rows, outputs, session.notes, there)


def files_of(settings: DownloadSettings) -> StageFiles:
    """What is written. Raises SettingsError for an unknown name."""
    targets = _targets(settings)
    files = (str(Path(settings.output_dir) / target.result) for target in targets)
    catalog = {"catalog": [settings.catalog]} if settings.catalog else {}
    return StageFiles(catalog, files=tuple(files))


def _targets(settings: DownloadSettings) -> list[Target]:
    if not settings.names:
        raise SettingsError("nothing to fetch; name some resources, or see them with --list")
    if settings.mirror is not None and not re.match(r"https?://[^/]", settings.mirror):
        raise SettingsError(
            f"--mirror: {settings.mirror!r} is not valid: write https://HOST/FOLDER"
        )
    resources = match_resources(settings.names, load_catalog(settings.catalog))
    return targets_of(resources, settings.decompress)


# --- file by file ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A target, and what of it is there already."""

    target: Target
    result: KnownFile | None
    packed: KnownFile | None = None

    @property
    def to_fetch(self) -> bool:
        return not (self.result or self.packed)


def _survey(session: Session, target: Target) -> Step:
    if session.run.restart:
        return Step(target, None)
    if target.unpacked is None:
        return Step(target, _standing(session, target))
    result = session.record.intact(target.unpacked)
    if result and target.sha256 in (None, result.packed_sha256):
        return Step(target, result)
    if (session.folder / target.unpacked).is_file():
        session.note(f"{session.folder / target.unpacked}: not as it was fetched; making it again")
    return Step(target, None, _standing(session, target))


def _standing(session: Session, target: Target) -> KnownFile | None:
    """What is recorded of the file at `target.path`, if that is the file and whole."""
    path = session.folder / target.path
    if not path.is_file():
        return None
    if session.record.get(target.path) is None:
        return _adopted(session, target)
    recorded = session.record.intact(target.path, target.sha256)
    if recorded is None:
        session.note(f"{path}: not as it was fetched; fetching it again")
    return recorded


def _adopted(session: Session, target: Target) -> KnownFile | None:
    """Record a file that was put there by other means, if it has the right length."""
    path = session.folder / target.path
    length = target.bytes or ask_length(session, target)
    if path.stat().st_size == length:
        sha256 = sha256_of(path)
        if target.sha256 in (None, sha256):
            session.note(f"{path}: was there and has the right length; recorded")
            return session.record.record(target.path, KnownFile(target.url, length, sha256))
    session.note(f"{path}: there without a record, and not known to be whole; fetching it")
    return None


def _take(session: Session, step: Step) -> FileRow | None:
    """Do what is left to do for one file. A notice that cannot be had becomes a note."""
    if step.result:
        return _row(session, step.target, step.result, "up to date")
    if session.dry_run:
        return _row(session, step.target, None, "would fetch")
    try:
        return _obtain(session, step)
    except DownloadError as error:
        if not step.target.notice:
            raise
        session.note(f"fetched without {step.target.path}: {error}")
        return None


def _obtain(session: Session, step: Step) -> FileRow:
    target = step.target
    status: Status = "fetched"
    if step.packed:
        recorded = step.packed
    else:
        recorded, status = fetch(session, target)
    if target.unpacked:
        recorded = unpack(session, target, target.unpacked, recorded.sha256)
    return _row(session, target, recorded, status)


def _row(session: Session, target: Target, recorded: KnownFile | None, status: Status) -> FileRow:
    path = str(session.folder / target.result)
    size, sha256 = session.lengths.get(target.path), target.sha256
    if recorded:
        size, sha256 = recorded.bytes, recorded.sha256
    return FileRow(target.key, session.url_of(target), path, size, sha256, status)
