"""The transfer of one file from a server: its half-done part, and the answers of the server.

    NAME.part        what has arrived; the run that writes to it holds NAME.part.lock
    NAME.part.json   which version of the server's file it is a part of

Every answer is either the file, or its rest, or it raises: TryAgain where the same request may
do later, DownloadError where it will not.
"""

from __future__ import annotations

import email.utils
import hashlib
import io
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from dprkit.errors import DownloadError, writing
from dprkit.store.atomic_files import sync, write_file
from dprkit.store.locks import lock_file

MAX_PAUSE = 120.0
"""Seconds; a server that asks for a longer pause is asked again after this."""

_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_PASSING = {408, 425, 429}  # and every 5xx: the same request may do later


class TryAgain(Exception):
    """A request failed in a way that may pass. `pause`: seconds the server asked for."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Origin(msgspec.Struct, frozen=True):
    """The version of a server's file: its strong ETag or else its date, and its length."""

    validator: str | None
    total: int | None


# --- the part -------------------------------------------------------------------------------------


class PartialFile:
    """The first `count` bytes of a file, and their sha256 so far."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path, self.file = path, file
        self.count, self.digest = 0, hashlib.sha256()
        self.origin: Origin | None = None
        self.inherited = False

    @property
    def whole(self) -> bool:
        return self.origin is not None and 0 < self.count == self.origin.total

    @property
    def state(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def take_up(self, checked: bool) -> None:
        """Go on with what an earlier run left, if it can be told what it is a part of.

        `checked`: the whole file's sha256 is known, so that parts of two files cannot pass.
        """
        origin, size = self._read_state(), os.fstat(self.file.fileno()).st_size
        if (
            origin is None
            or not (checked or origin.validator)
            or size > (size if origin.total is None else origin.total)
        ):
            return self.restart()
        self.file.seek(0)
        self.digest = hashlib.file_digest(self.file, "sha256")
        self.count, self.origin, self.inherited = size, origin, size > 0

    def _read_state(self) -> Origin | None:
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=Origin)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def restart(self, origin: Origin | None = None) -> None:
        """Begin at byte 0, with the file `origin` if one is known."""
        # Emptied before the new origin is written: killed in between, no old byte passes for new.
        with writing(self.path):
            self.file.truncate(0)
        self.count, self.digest, self.inherited, self.origin = 0, hashlib.sha256(), False, origin
        if origin:
            with write_file(self.state) as file:
                file.write(msgspec.json.encode(origin))

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        with writing(self.path):
            while rest:  # an unbuffered write may take less than it is given
                rest = rest[self.file.write(rest) :]
        self.digest.update(chunk)
        self.count += len(chunk)

    def range_headers(self) -> dict[str, str]:
        """Ask for the rest, and for the whole file if it is another one by now."""
        if not self.count:
            return {}
        headers = {"Range": f"bytes={self.count}-"}
        if self.origin and self.origin.validator:
            headers["If-Range"] = self.origin.validator
        return headers

    def holds_html(self) -> bool:
        self.file.seek(0)
        return _HTML.match(self.file.read(512)) is not None

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def become(self, path: Path) -> None:
        """Appear under the final name."""
        with writing(path):
            sync(self.path)
            os.replace(self.path, path)
            self.state.unlink(missing_ok=True)


@contextmanager
def part_of(path: Path) -> Iterator[PartialFile]:
    """The part of the file at `path`, held for this process until the block ends.

    Raises LockedError while another process holds it. An empty part is not left behind.
    """
    part_path = path.with_name(f"{path.name}.part")
    with lock_file(path.with_name(f"{path.name}.part.lock"), path):
        with writing(part_path):
            file = part_path.open("a+b", buffering=0)  # unbuffered: what arrived survives a kill
        with file:
            part = PartialFile(part_path, file)
            try:
                yield part
            finally:
                if not os.fstat(file.fileno()).st_size:
                    part.discard()


# --- one server's answers ---------------------------------------------------------------------


@contextmanager
def troubles(url: str) -> Iterator[None]:
    """Turn what can go wrong on the way into TryAgain, or DownloadError where that is no use."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TryAgain(f"no answer in time ({type(error).__name__})") from None
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as error:
        raise TryAgain(f"the connection broke ({error or type(error).__name__})") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadError(f"{url}: {error}; check the address, or name a --mirror") from None


def admit(response: httpx.Response, path: str) -> None:
    """Refuse an answer that is not the file `path`, or the rest of it.

    Raises TryAgain for an answer that may pass and DownloadError for one that will not.
    """
    code, url = response.status_code, response.url
    says = f"the server says {code} {response.reason_phrase}".rstrip()
    if code == 416:
        raise TryAgain("the server's file is shorter than the part that is here", 0.0)
    if code in _PASSING or code >= 500:
        raise TryAgain(says, _retry_after(response.headers.get("Retry-After", "")))
    if code not in (200, 206):
        raise DownloadError(
            f"{url}: {says}; it may have moved: try a --mirror, "
            "or give its new address in a --catalog of your own"
        )
    if is_html(response):
        raise html_instead(str(url))
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity" and not path.endswith(".gz"):
        raise DownloadError(f"{url}: sent as {coding}, which was not asked for; try a --mirror")


def is_html(response: httpx.Response) -> bool:
    kind: str = response.headers.get("Content-Type", "")
    return kind.lower().startswith(("text/html", "application/xhtml"))


def html_instead(url: str) -> DownloadError:
    return DownloadError(
        f"{url}: a web page came instead of the file, such as a login or an error page; "
        "open the address in a browser, check the proxy, or name a --mirror"
    )


def _retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(value) if value.strip().isdigit() else _seconds_until(value)
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_PAUSE)


def _seconds_until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


def origin_of(response: httpx.Response) -> Origin:
    """Which file an answer belongs to. A weak ETag does not promise equal bytes."""
    tag = response.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    if response.status_code == 206:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        return Origin(validator, int(found[2]) if found else None)
    return Origin(validator, content_length(response))


def content_length(response: httpx.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdigit() else None


def is_the_rest(response: httpx.Response, part: PartialFile) -> bool:
    """Whether a 206 goes on where `part` ends, in the same file.

    Some servers know Range and not If-Range, so what they say of the file is compared here too.
    """
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    new, old = origin_of(response), part.origin
    return (
        found is not None
        and old is not None
        and int(found[1]) == part.count
        and old.total in (None, new.total)
        and new.validator in (None, old.validator)
    )
