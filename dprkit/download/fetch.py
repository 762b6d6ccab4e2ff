"""Fetch one file: request after request until it is whole, then verify it and unpack it."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import Literal

import httpx
from rich.filesize import decimal

from dprkit.download import transfer
from dprkit.download.catalog import Target
from dprkit.download.record import KnownFile
from dprkit.download.session import Session
from dprkit.download.sizes import ask_consent
from dprkit.download.transfer import PartialFile, TryAgain
from dprkit.errors import ChecksumError, DownloadError, reading
from dprkit.store.atomic_files import Hashing, atomic_write
from dprkit.store.disk_room import check_room

HEADWAY = 1 << 20
"""Bytes that must have arrived before failures are counted from zero again."""

_CHUNK = 1 << 20

Status = Literal["fetched", "resumed", "up to date", "would fetch"]

wait = time.sleep


def fetch(session: Session, target: Target) -> tuple[KnownFile, Status]:
    """Make the file of `target` whole and known.

    Raises DownloadError, ChecksumError, and LockedError while another run fetches it.
    """
    path = session.folder / target.path
    with transfer.part_of(path) as part:
        known = session.record.get(target.path)
        expected = target.sha256 or (known.sha256 if known else None)
        if known and known.sha256 == expected and known.fits(path) and not session.run.restart:
            return known, "up to date"  # another run fetched it since we looked
        if session.run.restart:
            part.restart()
        else:
            part.take_up(expected is not None)
        if part.count:
            session.note(f"{path}: going on after {decimal(part.count)}")
        _pull(session, target, part)
        _verify(session, target, part, expected)
        part.become(path)
        recorded = KnownFile(target.url, part.count, part.digest.hexdigest())
        recorded = session.record.record(target.path, recorded)
        return recorded, "resumed" if part.inherited else "fetched"


def _pull(session: Session, target: Target, part: PartialFile) -> None:
    """Request what is missing until the part is whole, with growing pauses after failures."""
    failures, best = 0, part.count
    while not part.whole:
        try:
            return _request(session, target, part)
        except TryAgain as trouble:
            if part.count >= best + HEADWAY:
                failures, best = 0, part.count
            failures += 1
            if failures > session.settings.retries:
                tries = "one try" if failures == 1 else f"{failures} tries"
                again = f"run again to go on after {decimal(part.count)}"
                raise DownloadError(
                    f"{session.url_of(target)}: {trouble}, after {tries}; check the network or "
                    f"name a --mirror, and {again if part.count else 'run again'}"
                ) from None
            pause = min(2.0 ** min(failures - 1, 10), transfer.MAX_PAUSE)
            pause = pause if trouble.pause is None else trouble.pause
            session.note(f"{session.url_of(target)}: {trouble}; trying again in {pause:.0f} s")
            wait(pause)


def _request(session: Session, target: Target, part: PartialFile) -> None:
    """Send one request and append what it brings to `part`."""
    url = session.url_of(target)
    with (
        transfer.troubles(url),
        session.client.stream("GET", url, headers=part.range_headers()) as response,
    ):
        if response.status_code == 416:
            part.restart()
        transfer.admit(response, target.path)
        origin = transfer.origin_of(response)
        total = _check_length(session, target, part, origin.total)
        if response.status_code == 200:
            if part.count:
                session.note(f"{url}: sent from its beginning: changed, or no part can be had")
            part.restart(origin)
        elif not transfer.is_the_rest(response, part):
            part.restart()
            raise TryAgain("the server's file is not the one that the part here is of", 0.0)
        _pour(session, response, part, total)
    if total is not None and part.count < total:
        raise TryAgain(f"cut off at {part.count:,} of {total:,} bytes")


def _check_length(
    session: Session, target: Target, part: PartialFile, told: int | None
) -> int | None:
    """The length the file will have; refuse one that is wrong, unasked for, or too large."""
    if told is not None and target.bytes not in (None, told):
        raise DownloadError(
            f"{session.url_of(target)}: the server's file has {told:,} bytes and the catalog says "
            f"{target.bytes:,}; try a --mirror, or correct it in a --catalog of your own"
        )
    if told is None:
        return target.bytes
    session.lengths[target.path] = told
    ask_consent(session, [target])
    check_room(part.path, told - part.count)
    return told


def _pour(session: Session, response: httpx.Response, part: PartialFile, total: int | None) -> None:
    progress = session.run.progress
    progress.start(part.path.name.removesuffix(".part"), total, "bytes")
    progress.advance(part.count)
    try:
        for chunk in response.iter_raw():  # raw: a .gz stays one, whatever the headers say
            part.write(chunk)
            progress.advance(len(chunk))
    finally:
        progress.finish()


def _verify(session: Session, target: Target, part: PartialFile, expected: str | None) -> None:
    """Throw the part away and raise where it is not the file that was wanted."""
    url, sha256 = session.url_of(target), part.digest.hexdigest()
    error: DownloadError | None = None
    if not part.count:
        error = DownloadError(f"{url}: the server sent an empty file; try a --mirror")
    elif part.holds_html():
        error = transfer.html_instead(url)
    elif target.bytes not in (None, part.count):
        error = DownloadError(
            f"{url}: {part.count:,} bytes came and the catalog says {target.bytes:,}; "
            "run again, or try a --mirror"
        )
    elif expected not in (None, sha256):
        error = _checksum_error(session, target, sha256, expected or "")
    if error:
        part.discard()
        raise error


def _checksum_error(session: Session, target: Target, found: str, expected: str) -> ChecksumError:
    where = "the catalog" if target.sha256 else str(session.record.path)
    accept = (
        "run again, or try a --mirror"
        if target.sha256
        else f"run again; if the server's file was renewed, remove {target.path} from there"
    )
    return ChecksumError(
        f"{session.url_of(target)}: sha256 {found[:16]}… came and {where} says {expected[:16]}…; "
        f"{accept}"
    )


def unpack(session: Session, target: Target, name: str, packed_sha256: str) -> KnownFile:
    """Put the unpacked file in the place of the .gz."""
    packed, progress = session.folder / target.path, session.run.progress
    progress.start(f"unpacking {packed.name}", None, "bytes")
    try:
        with (
            reading(packed),
            gzip.open(packed) as source,
            atomic_write(session.folder / name) as out,
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
    recorded = KnownFile(target.url, hashing.count, sha256, packed_sha256=packed_sha256)
    recorded = session.record.record(name, recorded)
    packed.unlink(missing_ok=True)
    return recorded
