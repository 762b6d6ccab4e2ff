"""Fetch files of the catalog: whole, verified, and only once.

    NAME             whole; its length, sha256 and time of change are in the lock file
    NAME.part        what has arrived of it (see transfer.py)
    dprkit-download.lock.json   in the output folder: what each file was when first seen

A run that is killed leaves NAME.part, and the next one asks the server for the rest of it.
"""

from __future__ import annotations

import gzip
import re
import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import msgspec
from rich.filesize import decimal

from dprkit import __version__
from dprkit.download.catalog import Target, load_catalog, match_resources, targets_of
from dprkit.download.record import LockFile, Recorded, sha256_of
from dprkit.download.transfer import (
    MAX_PAUSE,
    Part,
    TryAgain,
    admit,
    content_length,
    html_instead,
    is_html,
    is_the_rest,
    origin_of,
    part_of,
    troubles,
)
from dprkit.errors import (
    ChecksumError,
    DownloadError,
    OutputError,
    SettingsError,
    reading,
)
from dprkit.progress import Run
from dprkit.settings import DownloadSettings
from dprkit.store.atomic_files import Hashing, atomic_write
from dprkit.store.stage_files import StageFiles

ASK_ABOVE = 5_000_000_000
"""Bytes above which a set is fetched only with `yes`."""
HEADWAY = 1 << 20
"""Bytes that must have arrived before failures are counted from zero again."""

_CHUNK = 1 << 20
_QUIET = Run()

Status = Literal["fetched", "resumed", "up to date", "would fetch"]

wait = time.sleep


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
    settings: DownloadSettings, run: Run = _QUIET, *, yes: bool = False, dry_run: bool = False
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
    with _client(settings) as client:
        return _Downloads(client, settings, run, yes, dry_run).run_all(targets)


def files_of(settings: DownloadSettings) -> StageFiles:
    """What is written. Raises SettingsError for an unknown name."""
    targets = _targets(settings)
    files = (str(Path(settings.output_dir) / target.result) for target in targets)
    catalog = {"catalog": [settings.catalog]} if settings.catalog else {}
    return StageFiles(catalog, files=tuple(files))


def _targets(settings: DownloadSettings) -> list[Target]:
    if not settings.names:
        raise SettingsError("nothing to fetch; name some resources, or see them with --list")
    _check_mirror(settings.mirror)
    resources = match_resources(settings.names, load_catalog(settings.catalog))
    return targets_of(resources, settings.decompress)


def _check_mirror(mirror: str | None) -> None:
    if mirror is not None and not re.match(r"https?://[^/]", mirror):
        raise SettingsError(f"--mirror: {mirror!r} will not do: write https://HOST/FOLDER")


def _client(settings: DownloadSettings) -> httpx.Client:
    # identity: lengths and offsets are then those of the file itself.
    headers = {"Accept-Encoding": "identity", "User-Agent": f"dprkit/{__version__}"}
    try:
        return httpx.Client(headers=headers, timeout=settings.timeout, follow_redirects=True)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"the proxy that the environment names cannot be used: {reason}"
        ) from None


# --- a whole download -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """A target, and what of it is there already."""

    target: Target
    result: Recorded | None
    packed: Recorded | None = None

    @property
    def to_fetch(self) -> bool:
        return not (self.result or self.packed)


@dataclass
class _Downloads:
    """One call of `download`: its surroundings, and what it has learnt so far."""

    client: httpx.Client
    settings: DownloadSettings
    run: Run
    yes: bool
    dry_run: bool
    lengths: dict[str, int] = field(default_factory=dict)
    """Path -> bytes of the files to fetch, where known."""
    notes: list[str] = field(default_factory=list)
    reachable: bool = True

    @property
    def folder(self) -> Path:
        return Path(self.settings.output_dir)

    @property
    def lock_file(self) -> LockFile:
        return LockFile(self.folder, read_only=self.dry_run)

    def run_all(self, targets: Sequence[Target]) -> DownloadReport:
        steps = [self._survey(target) for target in targets]
        self._check_sizes([step.target for step in steps if step.to_fetch])
        rows = [row for step in steps if (row := self._take(step))]
        outputs = [row.path for row in rows if row.status != "would fetch"]
        there = bool(rows) and all(row.status == "up to date" for row in rows)
        return DownloadReport(rows, outputs, self.notes, there)

    def _note(self, message: str) -> None:
        if message not in self.notes:
            self.notes.append(message)
            self.run.progress.note(message)

    def _url(self, target: Target) -> str:
        if self.settings.mirror is None:
            return target.url
        address = urlsplit(target.url)
        query = f"?{address.query}" if address.query else ""
        return f"{self.settings.mirror.rstrip('/')}{address.path}{query}"

    def _row(self, target: Target, recorded: Recorded | None, status: Status) -> FileRow:
        path = str(self.folder / target.result)
        if recorded is None:
            length = self.lengths.get(target.path)
            return FileRow(target.key, self._url(target), path, length, target.sha256, status)
        known = recorded.bytes, recorded.sha256
        return FileRow(target.key, self._url(target), path, *known, status)

    # what is there

    def _survey(self, target: Target) -> _Step:
        if self.run.restart:
            return _Step(target, None)
        if target.unpacked is None:
            return _Step(target, self._standing(target))
        result = self.lock_file.intact(target.unpacked)
        if result and target.sha256 in (None, result.packed_sha256):
            return _Step(target, result)
        if (self.folder / target.unpacked).is_file():
            self._note(f"{self.folder / target.unpacked}: not as it was fetched; making it again")
        return _Step(target, None, self._standing(target))

    def _standing(self, target: Target) -> Recorded | None:
        """What is recorded of the file at `target.path`, if that is the file and whole."""
        path = self.folder / target.path
        if not path.is_file():
            return None
        if self.lock_file.get(target.path) is None:
            return self._adopted(target)
        recorded = self.lock_file.intact(target.path, target.sha256)
        if recorded is None:
            self._note(f"{path}: not as it was fetched; fetching it again")
        return recorded

    def _adopted(self, target: Target) -> Recorded | None:
        """Record a file that was put there by other means, if it has the right length."""
        path = self.folder / target.path
        length = target.bytes or self._ask_length(target)
        if path.stat().st_size == length:
            sha256 = sha256_of(path)
            if target.sha256 in (None, sha256):
                self._note(f"{path}: was there and has the right length; recorded")
                return self.lock_file.record(target.path, Recorded(target.url, length, sha256))
        self._note(f"{path}: there without a record, and not known to be whole; fetching it")
        return None

    # sizes

    def _check_sizes(self, targets: Sequence[Target]) -> None:
        """Ask for --yes and for room on the disk before anything is fetched."""
        for target in targets:
            if about := target.bytes or target.about_bytes:
                self.lengths[target.path] = about
        self._ask_consent(targets)
        for target in targets:
            if target.bytes is None and (length := self._ask_length(target)):
                self.lengths[target.path] = length
        self._ask_consent(targets)
        if not self.dry_run:
            self._check_room(self.folder, sum(map(self._missing_bytes, targets)))

    def _ask_length(self, target: Target) -> int | None:
        """Bytes of the server's file as HEAD tells; None where it does not.

        One server that cannot be reached ends all asking: each would cost a whole timeout.
        """
        if not self.reachable:
            return None
        try:
            response = self.client.head(self._url(target))
        except (httpx.HTTPError, httpx.InvalidURL):
            self.reachable = False
            return None
        fine = response.status_code == 200 and not is_html(response)
        return content_length(response) if fine else None

    def _ask_consent(self, targets: Sequence[Target]) -> None:
        total = sum(self.lengths.values())
        if self.yes or total <= ASK_ABOVE:
            return
        sizes: dict[str, int] = {}
        for target in targets:
            sizes[target.key] = sizes.get(target.key, 0) + self.lengths.get(target.path, 0)
        large = sorted(filter(sizes.get, sizes), key=lambda key: -sizes[key])[:5]
        shown = ", ".join(f"{key} {decimal(sizes[key])}" for key in large)
        more = f" and {len(sizes) - len(large)} more" if len(sizes) > len(large) else ""
        message = f"{decimal(total)} to fetch: {shown}{more}; add --yes to fetch them"
        if not self.dry_run:
            raise SettingsError(message)
        self._note(message)

    def _missing_bytes(self, target: Target) -> int:
        part = self.folder / f"{target.path}.part"
        there = part.stat().st_size if part.is_file() else 0
        return max(self.lengths.get(target.path, 0) - there, 0)

    def _check_room(self, path: Path, needed: int) -> None:
        there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise OutputError(
                f"{path}: needs {decimal(needed)} and {decimal(free)} are free there; "
                "free some, or choose another --output-dir"
            )

    # fetching

    def _take(self, step: _Step) -> FileRow | None:
        """Do what is left to do for one file. A notice that cannot be had becomes a note."""
        if step.result:
            return self._row(step.target, step.result, "up to date")
        if self.dry_run:
            return self._row(step.target, None, "would fetch")
        try:
            return self._obtain(step)
        except DownloadError as error:
            if not step.target.notice:
                raise
            self._note(f"fetched without {step.target.path}: {error}")
            return None

    def _obtain(self, step: _Step) -> FileRow:
        target = step.target
        status: Status = "fetched"
        if step.packed:
            recorded = step.packed
        else:
            recorded, status = self._fetch(target)
        if target.unpacked:
            recorded = self._unpack(target, target.unpacked, recorded.sha256)
        return self._row(target, recorded, status)

    def _fetch(self, target: Target) -> tuple[Recorded, Status]:
        path = self.folder / target.path
        with part_of(path) as part:
            known = self.lock_file.get(target.path)
            expected = target.sha256 or (known.sha256 if known else None)
            if known and known.sha256 == expected and known.fits(path) and not self.run.restart:
                return known, "up to date"  # another run fetched it since we looked
            if self.run.restart:
                part.restart()
            else:
                part.take_up(expected is not None)
            if part.count:
                self._note(f"{path}: going on after {decimal(part.count)}")
            self._pull(target, part)
            self._verify(target, part, expected)
            part.become(path)
            recorded = Recorded(target.url, part.count, part.digest.hexdigest())
            recorded = self.lock_file.record(target.path, recorded)
            return recorded, "resumed" if part.inherited else "fetched"

    def _pull(self, target: Target, part: Part) -> None:
        """Request what is missing until the part is whole, with growing pauses after failures."""
        failures, best = 0, part.count
        while not part.whole:
            try:
                return self._request(target, part)
            except TryAgain as trouble:
                if part.count >= best + HEADWAY:
                    failures, best = 0, part.count
                failures += 1
                if failures > self.settings.retries:
                    raise self._gave_up(target, part, trouble, failures) from None
                pause = min(2.0 ** min(failures - 1, 10), MAX_PAUSE)
                pause = pause if trouble.pause is None else trouble.pause
                self._note(f"{self._url(target)}: {trouble}; trying again in {pause:.0f} s")
                wait(pause)

    def _gave_up(
        self, target: Target, part: Part, trouble: TryAgain, failures: int
    ) -> DownloadError:
        tries = "one try" if failures == 1 else f"{failures} tries"
        kept = f"run again to go on after {decimal(part.count)}" if part.count else "run again"
        return DownloadError(
            f"{self._url(target)}: {trouble}, after {tries}; "
            f"check the network or name a --mirror, and {kept}"
        )

    def _request(self, target: Target, part: Part) -> None:
        """Send one request and append what it brings to `part`."""
        url = self._url(target)
        with (
            troubles(url),
            self.client.stream("GET", url, headers=part.range_headers()) as response,
        ):
            if response.status_code == 416:
                part.restart()
            admit(response, target.path)
            origin = origin_of(response)
            total = self._check_length(target, part, origin.total)
            if response.status_code == 200:
                if part.count:
                    self._note(f"{url}: sent from its beginning: changed, or no part can be had")
                part.restart(origin)
            elif not is_the_rest(response, part):
                part.restart()
                raise TryAgain("the server's file is not the one that the part here is of", 0.0)
            self._pour(response, part, total)
        if total is not None and part.count < total:
            raise TryAgain(f"cut off at {part.count:,} of {total:,} bytes")

    def _check_length(self, target: Target, part: Part, told: int | None) -> int | None:
        """The length the file will have; refuse one that is wrong, unasked for, or too large."""
        if told is not None and target.bytes not in (None, told):
            raise DownloadError(
                f"{self._url(target)}: the server's file has {told:,} bytes and the catalog says "
                f"{target.bytes:,}; try a --mirror, or correct it in a --catalog of your own"
            )
        if told is None:
            return target.bytes
        self.lengths[target.path] = told
        self._ask_consent([target])
        self._check_room(part.path, told - part.count)
        return told

    def _pour(self, response: httpx.Response, part: Part, total: int | None) -> None:
        progress = self.run.progress
        progress.start(part.path.name.removesuffix(".part"), total, "bytes")
        progress.advance(part.count)
        try:
            for chunk in response.iter_raw():  # raw: a .gz stays one, whatever the headers say
                part.write(chunk)
                progress.advance(len(chunk))
        finally:
            progress.finish()

    def _verify(self, target: Target, part: Part, expected: str | None) -> None:
        """Throw the part away and raise where it is not the file that was wanted."""
        url, sha256 = self._url(target), part.digest.hexdigest()
        error: DownloadError | None = None
        if not part.count:
            error = DownloadError(f"{url}: the server sent an empty file; try a --mirror")
        elif part.holds_html():
            error = html_instead(url)
        elif target.bytes not in (None, part.count):
            error = DownloadError(
                f"{url}: {part.count:,} bytes came and the catalog says {target.bytes:,}; "
                "run again, or try a --mirror"
            )
        elif expected not in (None, sha256):
            error = self._checksum_error(target, sha256, expected or "")
        if error:
            part.discard()
            raise error

    def _checksum_error(self, target: Target, found: str, expected: str) -> ChecksumError:
        where = "the catalog" if target.sha256 else str(self.lock_file.path)
        accept = (
            "run again, or try a --mirror"
            if target.sha256
            else f"run again; if the server's file was renewed, remove {target.path} from there"
        )
        return ChecksumError(
            f"{self._url(target)}: sha256 {found[:16]}… came and {where} says {expected[:16]}…; "
            f"{accept}"
        )

    def _unpack(self, target: Target, name: str, packed_sha256: str) -> Recorded:
        """Put the unpacked file in the place of the .gz."""
        packed, progress = self.folder / target.path, self.run.progress
        progress.start(f"unpacking {packed.name}", None, "bytes")
        try:
            with (
                reading(packed),
                gzip.open(packed) as source,
                atomic_write(self.folder / name) as out,
            ):
                hashing = Hashing(out)
                while chunk := source.read(_CHUNK):
                    hashing.write(chunk)
                    progress.advance(len(chunk))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DownloadError(
                f"{packed}: as the server has it, and not whole gzip data ({error}); "
                "delete it and try a --mirror"
            ) from None
        finally:
            progress.finish()
        sha256 = hashing.digest.hexdigest()
        recorded = Recorded(target.url, hashing.count, sha256, packed_sha256=packed_sha256)
        recorded = self.lock_file.record(name, recorded)
        packed.unlink(missing_ok=True)
        return recorded
