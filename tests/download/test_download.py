"""Downloads from a real server on this machine that misbehaves as servers do.

What must be on the disk afterwards is always compared with the bytes the server holds.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dprkit.download import fetch, sizes
from dprkit.download.catalog import load_catalog, match_resources, targets_of
from dprkit.download.download import download
from dprkit.errors import (
    ChecksumError,
    DownloadError,
    FormatError,
    InputError,
    LockedError,
    OutputError,
    SettingsError,
)
from dprkit.progress import Progress, Run
from dprkit.settings import DownloadSettings
from dprkit.store.locks import lock_file

BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)


# --- the server -----------------------------------------------------------------------------------


@dataclass
class Fault:
    """What one answer to a GET does instead of the right thing."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drop_after: int | None = None
    """Close the connection after so many bytes of the body."""
    extra_length: int = 0
    """Announce so many bytes more than there are."""


@dataclass
class Server:
    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """Path -> what the next GETs of it do."""
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"v1"'})
    ranges: bool = True
    if_range: bool = True
    head: bool = True
    content_type: str = "application/octet-stream"
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, path, Range) of every request."""

    def gets(self, path: str = "/f.bin") -> list[str | None]:
        """The Range of every GET of `path`."""
        return [span for method, where, span in self.asked if (method, where) == ("GET", path)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.state.asked.append(("HEAD", self.path, None))
        body = self.state.files.get(self.path)
        if body is None or not self.state.head:
            return self.answer(404, b"", {})
        self.answer(200, body, {}, send=False)

    def do_GET(self) -> None:
        state, span = self.state, self.headers.get("Range")
        state.asked.append(("GET", self.path, span))
        pending = state.faults.get(self.path)
        fault = pending.pop(0) if pending else Fault()
        body = state.files.get(self.path)
        if fault.status:
            return self.answer(fault.status, fault.body, fault.headers)
        if body is None:
            return self.answer(404, b"not here", {})
        if span and state.ranges and self.same_file():
            self.partial(int(span.removeprefix("bytes=").rstrip("-")), body, fault)
        else:
            self.answer(200, body, {}, fault)

    def same_file(self) -> bool:
        wanted = self.headers.get("If-Range")
        return not (self.state.if_range and wanted) or wanted in self.state.validators.values()

    def partial(self, start: int, body: bytes, fault: Fault) -> None:
        if start >= len(body):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(206, body[start:], {"Content-Range": span}, fault)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        fault: Fault | None = None,
        send: bool = True,
    ) -> None:
        fault = fault or Fault()
        self.send_response(status)
        kind = {"Content-Type": self.state.content_type, **self.state.validators}
        for name, value in {**kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + fault.extra_length))
        self.end_headers()
        self.wfile.write(body[: fault.drop_after] if send else b"")
        self.close_connection = fault.drop_after is not None or fault.extra_length > 0


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what these tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    class ThisHandler(Handler):
        pass

    with QuietServer(("127.0.0.1", 0), ThisHandler) as listener:
        here = f"http://127.0.0.1:{listener.server_port}"
        ThisHandler.state = Server(here, {"/f.bin": BODY})
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield ThisHandler.state
        listener.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a download would have made, in seconds."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made: list[float] = []
    monkeypatch.setattr(fetch, "wait", made.append)
    return made


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> DownloadSettings:
    """Fetch my.f, which is the server's /f.bin."""
    return entry(tmp_path, url=f"{server.url}/f.bin", ext=".bin")


def entry(tmp_path: Path, **fields: Any) -> DownloadSettings:
    """Settings that fetch my.f, an entry with these fields in the user's own catalog."""
    catalog = tmp_path / "mine.yaml"
    catalog.write_text(json.dumps({"my.f": fields}))
    return DownloadSettings(names=("my.f",), output_dir=str(tmp_path / "out"), catalog=str(catalog))


def changed(settings: DownloadSettings, **fields: Any) -> DownloadSettings:
    return msgspec.structs.replace(settings, **fields)


def arrived(settings: DownloadSettings, name: str = "my/f.bin") -> bytes:
    return (Path(settings.output_dir) / name).read_bytes()


def files_in(folder: Path | str) -> set[str]:
    paths = Path(folder).rglob("*")
    return {str(path.relative_to(folder)) for path in paths if path.is_file()}


# --- fetching -------------------------------------------------------------------------------------


def test_a_file_arrives_as_the_server_holds_it(settings: DownloadSettings) -> None:
    report = download(settings)
    assert arrived(settings) == BODY
    assert files_in(settings.output_dir) == {"my/f.bin", "dprkit-downloads.json"}
    [row] = report.rows
    assert (row.status, row.bytes) == ("fetched", len(BODY))
    assert row.sha256 == hashlib.sha256(BODY).hexdigest()
    assert report.outputs == [f"{settings.output_dir}/my/f.bin"]


def test_a_finished_file_is_not_fetched_again(settings: DownloadSettings, server: Server) -> None:
    download(settings)
    server.asked.clear()
    assert [row.status for row in download(settings).rows] == ["up to date"]
    assert server.asked == []


def test_a_dropped_connection_is_resumed_where_it_broke(
    settings: DownloadSettings, server: Server, pauses: list[float]
) -> None:
    server.faults["/f.bin"] = [Fault(drop_after=100_000), Fault(drop_after=50_000)]
    download(settings)
    assert arrived(settings) == BODY
    assert server.gets() == [None, "bytes=100000-", "bytes=150000-"]
    assert pauses == [1.0, 2.0]


def test_a_part_is_resumed_by_the_next_run(settings: DownloadSettings, server: Server) -> None:
    server.faults["/f.bin"] = [Fault(drop_after=100_000)]
    with pytest.raises(DownloadError, match=r"f.bin: .*run again to go on after 100\.0 kB"):
        download(changed(settings, retries=0))
    assert files_in(settings.output_dir) == {"my/f.bin.part", "my/f.bin.part.json"}
    report = download(settings)
    assert arrived(settings) == BODY
    assert [row.status for row in report.rows] == ["resumed"]
    assert server.gets() == [None, "bytes=100000-"]
    assert files_in(settings.output_dir) == {"my/f.bin", "dprkit-downloads.json"}


class Interrupting(Progress):
    def advance(self, count: int, facts: Mapping[str, float] | None = None) -> None:
        if count:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_a_part_that_can_be_resumed(
    settings: DownloadSettings, server: Server
) -> None:
    with pytest.raises(KeyboardInterrupt):
        download(settings, Run(progress=Interrupting()))
    part = arrived(settings, "my/f.bin.part")
    assert 0 < len(part) < len(BODY) and BODY.startswith(part)
    download(settings)
    assert arrived(settings) == BODY
    assert server.gets() == [None, f"bytes={len(part)}-"]


def test_restart_throws_a_part_away(settings: DownloadSettings, server: Server) -> None:
    server.faults["/f.bin"] = [Fault(drop_after=100_000)]
    with pytest.raises(DownloadError):
        download(changed(settings, retries=0))
    download(settings, Run(restart=True))
    assert server.gets() == [None, None]


def test_a_whole_part_needs_no_request(settings: DownloadSettings, server: Server) -> None:
    part = Path(settings.output_dir) / "my/f.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY)
    part.with_name("f.bin.part.json").write_text(
        json.dumps({"validator": '"v1"', "total": len(BODY)})
    )
    download(settings)
    assert arrived(settings) == BODY
    assert server.gets() == []


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_on_the_server_is_not_stitched_together(
    settings: DownloadSettings, server: Server, if_range: bool
) -> None:
    server.faults["/f.bin"] = [Fault(drop_after=100_000)]
    with pytest.raises(DownloadError):
        download(changed(settings, retries=0))
    server.files["/f.bin"], server.validators["ETag"] = OTHER, '"v2"'
    server.if_range = if_range
    assert [row.status for row in download(settings).rows] == ["fetched"]
    assert arrived(settings) == OTHER


def test_a_date_serves_where_there_is_no_strong_etag(
    settings: DownloadSettings, server: Server
) -> None:
    server.validators = {"ETag": 'W/"v1"', "Last-Modified": formatdate(0, usegmt=True)}
    server.faults["/f.bin"] = [Fault(drop_after=100_000)]
    with pytest.raises(DownloadError):
        download(changed(settings, retries=0))
    server.files["/f.bin"] = OTHER
    server.validators["Last-Modified"] = formatdate(9, usegmt=True)
    download(settings)
    assert arrived(settings) == OTHER


def test_a_part_of_an_unknown_version_is_begun_anew(
    settings: DownloadSettings, server: Server
) -> None:
    server.validators = {}
    server.faults["/f.bin"] = [Fault(drop_after=100_000)]
    with pytest.raises(DownloadError):
        download(changed(settings, retries=0))
    server.files["/f.bin"] = OTHER
    download(settings)
    assert arrived(settings) == OTHER
    assert server.gets() == [None, None]


def test_a_server_that_ignores_range_is_read_from_the_start(
    settings: DownloadSettings, server: Server
) -> None:
    server.ranges = False
    server.faults["/f.bin"] = [Fault(drop_after=100_000)]
    report = download(settings)
    assert arrived(settings) == BODY
    assert server.gets() == [None, "bytes=100000-"]
    assert any("from its beginning" in note for note in report.notes)


# --- servers that fail or lie ---------------------------------------------------------------------


def test_a_length_that_was_too_long_once_costs_a_retry(
    settings: DownloadSettings, server: Server
) -> None:
    server.faults["/f.bin"] = [Fault(extra_length=1000)]
    download(settings)
    assert arrived(settings) == BODY


def test_a_server_that_always_lies_about_length_is_given_up(
    settings: DownloadSettings, server: Server
) -> None:
    server.faults["/f.bin"] = [Fault(extra_length=1000) for _ in range(50)]
    with pytest.raises(DownloadError, match="after 6 tries"):
        download(settings)
    assert not (Path(settings.output_dir) / "my/f.bin").exists()


@pytest.mark.parametrize("known", [len(BODY) - 1, len(BODY) + 1])
def test_a_length_other_than_the_catalogs_is_refused(
    server: Server, tmp_path: Path, known: int
) -> None:
    settings = entry(tmp_path, url=f"{server.url}/f.bin", ext=".bin", bytes=known)
    with pytest.raises(DownloadError, match="300,000 bytes and the catalog says"):
        download(settings)
    assert files_in(settings.output_dir) == set()


def test_an_empty_file_is_refused(settings: DownloadSettings, server: Server) -> None:
    server.files["/f.bin"] = b""
    with pytest.raises(DownloadError, match="empty"):
        download(settings)
    assert files_in(settings.output_dir) == set()


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"oops", "text/html; charset=utf-8"), (b"\n <!DOCTYPE html><p>Log in", "text/plain")],
)
def test_a_web_page_is_not_taken_for_data(
    settings: DownloadSettings, server: Server, body: bytes, kind: str
) -> None:
    server.files["/f.bin"], server.content_type = body, kind
    with pytest.raises(DownloadError, match="a web page came instead"):
        download(settings)
    assert files_in(settings.output_dir) == set()
    assert len(server.gets()) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_there_is_asked_for_once(
    settings: DownloadSettings, server: Server, pauses: list[float], status: int
) -> None:
    server.faults["/f.bin"] = [Fault(status=status)]
    with pytest.raises(DownloadError, match=rf"f\.bin: the server says {status}.*--mirror"):
        download(settings)
    assert len(server.gets()) == 1
    assert pauses == []


def test_a_server_error_is_tried_again_with_growing_pauses(
    settings: DownloadSettings, server: Server, pauses: list[float]
) -> None:
    server.faults["/f.bin"] = [Fault(status=500), Fault(status=503), Fault(status=502)]
    download(settings)
    assert arrived(settings) == BODY
    assert pauses == [1.0, 2.0, 4.0]


def test_retry_after_is_obeyed_in_seconds_and_as_a_date_and_is_capped(
    settings: DownloadSettings, server: Server, pauses: list[float]
) -> None:
    soon = formatdate(time.time() + 30, usegmt=True)
    server.faults["/f.bin"] = [
        Fault(status=429, headers={"Retry-After": value})
        for value in ("7", soon, "86400", "next week")
    ]
    download(settings)
    assert pauses[0] == 7.0
    assert 25 < pauses[1] <= 30
    assert pauses[2:] == [120.0, 8.0]


def test_a_server_that_is_not_there_is_named(
    settings: DownloadSettings, pauses: list[float]
) -> None:
    nowhere = changed(settings, mirror="http://127.0.0.1:9", retries=2)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/f\.bin: .*after 3 tries.*run again"):
        download(nowhere)
    assert pauses == [1.0, 2.0]


def test_a_silent_server_is_given_up_after_the_timeout(
    settings: DownloadSettings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "same_file", lambda self: time.sleep(0.5))
    part = Path(settings.output_dir) / "my/f.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY[:10])
    state = {"validator": '"v1"', "total": len(BODY)}
    part.with_name("f.bin.part.json").write_text(json.dumps(state))
    with pytest.raises(DownloadError, match="no answer in time"):
        download(changed(settings, timeout=0.1, retries=0))
    assert part.read_bytes() == BODY[:10]


# --- what is already there ------------------------------------------------------------------------


def test_the_sha256_seen_first_must_hold_ever_after(
    settings: DownloadSettings, server: Server
) -> None:
    download(settings)
    record = json.loads(arrived(settings, "dprkit-downloads.json"))
    assert record["files"]["my/f.bin"]["sha256"] == hashlib.sha256(BODY).hexdigest()
    (Path(settings.output_dir) / "my/f.bin").unlink()
    server.files["/f.bin"] = OTHER
    with pytest.raises(ChecksumError, match=r"dprkit-downloads\.json says"):
        download(settings)
    assert files_in(settings.output_dir) == {"dprkit-downloads.json"}


def test_a_sha256_in_the_catalog_wins_over_the_one_seen_first(
    settings: DownloadSettings, server: Server, tmp_path: Path
) -> None:
    download(settings)
    server.files["/f.bin"] = OTHER
    known = hashlib.sha256(OTHER).hexdigest()
    settings = entry(tmp_path, url=f"{server.url}/f.bin", ext=".bin", sha256=known)
    download(settings)
    assert arrived(settings) == OTHER
    assert [row.status for row in download(settings).rows] == ["up to date"]
    (Path(settings.output_dir) / "my/f.bin").unlink()
    server.files["/f.bin"] = BODY
    with pytest.raises(ChecksumError, match="the catalog says"):
        download(settings)


def test_a_damaged_file_is_fetched_again_with_a_note(
    settings: DownloadSettings, server: Server
) -> None:
    download(settings)
    path = Path(settings.output_dir) / "my/f.bin"
    path.write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    os.utime(path, ns=(0, 0))
    report = download(settings)
    assert arrived(settings) == BODY
    assert [row.status for row in report.rows] == ["fetched"]
    assert any("not as it was fetched" in note for note in report.notes)


def test_a_touched_file_is_read_and_kept(settings: DownloadSettings, server: Server) -> None:
    download(settings)
    os.utime(Path(settings.output_dir) / "my/f.bin")
    server.asked.clear()
    assert [row.status for row in download(settings).rows] == ["up to date"]
    assert server.asked == []


def test_a_file_put_there_by_hand_is_kept_if_it_has_the_servers_length(
    settings: DownloadSettings, server: Server
) -> None:
    path = Path(settings.output_dir) / "my/f.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    assert [row.status for row in download(settings).rows] == ["up to date"]
    assert server.gets() == []
    path.with_name("f.bin").write_bytes(BODY[:100])
    (Path(settings.output_dir) / "dprkit-downloads.json").unlink()
    assert [row.status for row in download(settings).rows] == ["fetched"]
    assert arrived(settings) == BODY


def test_a_record_under_its_earlier_name_still_counts(
    settings: DownloadSettings, server: Server
) -> None:
    download(settings)
    folder = Path(settings.output_dir)
    (folder / "dprkit-downloads.json").rename(folder / "dprkit-download.lock.json")
    assert [row.status for row in download(settings).rows] == ["up to date"]
    (folder / "my/f.bin").unlink()
    server.files["/f.bin"] = OTHER
    with pytest.raises(ChecksumError, match=r"dprkit-download\.lock\.json says"):
        download(settings)


def test_a_damaged_record_is_named(settings: DownloadSettings) -> None:
    download(settings)
    (Path(settings.output_dir) / "dprkit-downloads.json").write_text("{")
    with pytest.raises(FormatError, match=r"dprkit-downloads\.json:1: damaged"):
        download(settings)


def test_two_runs_never_write_to_one_part(settings: DownloadSettings) -> None:
    path = Path(settings.output_dir) / "my/f.bin"
    with (
        lock_file(path.with_name("f.bin.part.lock"), path),
        pytest.raises(LockedError, match=rf"f.bin: in use by pid {os.getpid()} on") as caught,
    ):
        download(settings)
    assert caught.value.exit_code == 75
    download(settings)
    assert arrived(settings) == BODY


# --- options --------------------------------------------------------------------------------------


def test_a_mirror_takes_the_place_of_the_host(settings: DownloadSettings, server: Server) -> None:
    server.files = {"/base/f.bin": OTHER}
    report = download(changed(settings, mirror=f"{server.url}/base/"))
    assert arrived(settings) == OTHER
    assert report.rows[0].url == f"{server.url}/base/f.bin"


def test_the_environments_proxy_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = {"http://example.org/f.bin": BODY}
    monkeypatch.setenv("http_proxy", server.url)
    settings = entry(tmp_path, url="http://example.org/f.bin", ext=".bin")
    download(settings)
    assert arrived(settings) == BODY


def test_a_mirror_that_is_no_address_is_refused(settings: DownloadSettings) -> None:
    with pytest.raises(SettingsError, match="--mirror: 'mirror' is not valid"):
        download(changed(settings, mirror="mirror"))


@pytest.fixture
def packed(server: Server, tmp_path: Path) -> DownloadSettings:
    server.files["/f.json.gz"] = gzip.compress(BODY, mtime=0)
    return entry(tmp_path, url=f"{server.url}/f.json.gz", ext=".json", compressed=True)


def test_a_gz_file_stays_as_it_is(packed: DownloadSettings, server: Server) -> None:
    download(packed)
    assert arrived(packed, "my/f.json.gz") == server.files["/f.json.gz"]


def test_decompress_puts_the_unpacked_file_in_its_place(
    packed: DownloadSettings, server: Server
) -> None:
    packed = changed(packed, decompress=True)
    [row] = download(packed).rows
    assert arrived(packed, "my/f.json") == BODY
    assert files_in(packed.output_dir) == {"my/f.json", "dprkit-downloads.json"}
    assert (row.bytes, row.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    server.asked.clear()
    assert [row.status for row in download(packed).rows] == ["up to date"]
    assert server.asked == []


def test_decompress_uses_the_gz_that_is_there(packed: DownloadSettings, server: Server) -> None:
    download(packed)
    server.asked.clear()
    download(changed(packed, decompress=True))
    assert arrived(packed, "my/f.json") == BODY
    assert server.asked == []


def test_a_gz_file_that_is_labelled_as_an_encoding_stays_as_it_is(
    packed: DownloadSettings, server: Server
) -> None:
    server.validators["Content-Encoding"] = "gzip"
    download(packed)
    assert arrived(packed, "my/f.json.gz") == server.files["/f.json.gz"]


def test_a_file_that_comes_encoded_unasked_is_refused(
    settings: DownloadSettings, server: Server
) -> None:
    server.validators["Content-Encoding"] = "gzip"
    with pytest.raises(DownloadError, match="sent as gzip, which was not asked for"):
        download(settings)
    assert files_in(settings.output_dir) == set()


def test_gzip_data_that_is_cut_off_is_not_unpacked(
    packed: DownloadSettings, server: Server
) -> None:
    server.files["/f.json.gz"] = server.files["/f.json.gz"][:-9]
    with pytest.raises(DownloadError, match="not whole gzip data"):
        download(changed(packed, decompress=True))
    assert "my/f.json" not in files_in(packed.output_dir)


def test_a_dry_run_writes_nothing(settings: DownloadSettings, server: Server) -> None:
    report = download(settings, dry_run=True)
    [row] = report.rows
    assert (row.status, row.bytes, row.url) == ("would fetch", 300_000, f"{server.url}/f.bin")
    assert row.path == f"{settings.output_dir}/my/f.bin"
    assert report.outputs == []
    assert server.gets() == []
    assert not Path(settings.output_dir).exists()


def test_a_set_of_many_gigabytes_needs_yes(
    server: Server, tmp_path: Path, settings: DownloadSettings
) -> None:
    size = "6.0 GB to fetch: my.f 6.0 GB"
    large = entry(tmp_path, url=f"{server.url}/f.bin", ext=".bin", about_bytes=6_000_000_000)
    with pytest.raises(SettingsError, match=f"{size}; add --yes"):
        download(large)
    assert server.asked == []
    assert any(size in note for note in download(large, dry_run=True).notes)
    download(large, yes=True)
    assert arrived(large) == BODY


def test_the_wikipedia_vectors_need_yes_before_any_request() -> None:
    with pytest.raises(SettingsError, match=r"129\.2 GB"):
        download(DownloadSettings(names=("data.retriever_results",)))


@pytest.mark.parametrize("head", [True, False])
def test_lengths_that_only_the_server_knows_are_guarded_too(
    settings: DownloadSettings, server: Server, monkeypatch: pytest.MonkeyPatch, head: bool
) -> None:
    server.head = head
    monkeypatch.setattr(sizes, "ASK_ABOVE", 299_999)
    with pytest.raises(SettingsError, match=r"300\.0 kB to fetch"):
        download(settings)
    assert files_in(settings.output_dir) == set()


@pytest.mark.parametrize("head", [True, False])
def test_a_disk_that_is_too_small_is_seen_beforehand(
    settings: DownloadSettings, server: Server, monkeypatch: pytest.MonkeyPatch, head: bool
) -> None:
    server.head = head
    usage = SimpleNamespace(total=10**6, free=299_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"needs 300\.0 kB and 300\.0 kB are free"):
        download(settings)
    assert files_in(settings.output_dir) == set()


def test_nothing_named_is_an_error_that_tells_of_the_list() -> None:
    with pytest.raises(SettingsError, match="--list"):
        download(DownloadSettings())


# --- the catalog ----------------------------------------------------------------------------------


def test_the_catalog_holds_all_dpr_resources_and_beir_sets() -> None:
    catalog = load_catalog()
    beir = [key for key in catalog if key.startswith("beir.")]
    assert (len(catalog) - len(beir), len(beir)) == (53, 15)
    assert all(resource.content and resource.licence for resource in catalog.values())
    targets = targets_of(catalog.values(), decompress=False)
    # 53 resources of which two have 50 parts and two have 8, and 15 zips; LICENSE and README
    # in each of the six folders with Natural Questions files.
    assert len([t for t in targets if not t.notice]) == 53 - 4 + 2 * 50 + 2 * 8 + 15
    assert len([t for t in targets if t.notice]) == 2 * 6


def test_a_name_matches_whole_segments_only() -> None:
    catalog = load_catalog()
    keys = {r.key for r in match_resources(["data.retriever"], catalog)}
    assert "data.retriever.nq-dev" in keys and "data.retriever.qas.nq-test" in keys
    assert not any(key.startswith("data.retriever_results") for key in keys)
    [one] = match_resources(["beir.nq", "beir.nq"], catalog)
    assert one.key == "beir.nq"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("data.retreiver", "data.retriever"),
        ("beir.scifct", "beir.scifact"),
        ("nq-adv-hn-train", "data.retriever.nq-adv-hn-train"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"{typed!r}; did you mean {meant!r}"):
        download(DownloadSettings(names=(typed,)))


def test_several_parts_become_numbered_files() -> None:
    resources = match_resources(["data.reader.trivia.multi-hybrid.train"], load_catalog())
    targets = targets_of(resources, decompress=True)
    assert [t.path for t in targets] == [
        f"data/reader/trivia/multi-hybrid/train_{i}.pkl" for i in range(8)
    ]
    assert targets[7].url.endswith("/data/reader/trivia/multi-hybrid/train.7.pkl")


def test_licence_files_come_along(server: Server, tmp_path: Path) -> None:
    server.files = {
        "/dpr/data/retriever/nq-test.qa.csv": b"who?\t['me']\n",
        "/dpr/nq_license/LICENSE": b"the licence",
        "/dpr/nq_license/README": b"the readme",
    }
    settings = DownloadSettings(
        names=("data.retriever.qas.nq-test",), output_dir=str(tmp_path), mirror=server.url
    )
    download(settings)
    assert arrived(settings, "data/retriever/qas/nq-test.csv") == b"who?\t['me']\n"
    assert arrived(settings, "data/retriever/qas/LICENSE") == b"the licence"
    assert arrived(settings, "data/retriever/qas/README") == b"the readme"


def test_a_licence_file_that_is_gone_does_not_stop_the_data(server: Server, tmp_path: Path) -> None:
    server.files = {"/dpr/data/retriever/nq-test.qa.csv": b"who?\t['me']\n"}
    settings = DownloadSettings(
        names=("data.retriever.qas.nq-test",), output_dir=str(tmp_path), mirror=server.url
    )
    report = download(settings)
    assert [row.path for row in report.rows] == [f"{tmp_path}/data/retriever/qas/nq-test.csv"]
    assert sum("fetched without" in note for note in report.notes) == 2


def test_the_list_tells_name_size_content_and_licence() -> None:
    rows = load_catalog()
    assert rows["data.retriever.nq-dev"].size == "256.2 MB"
    vectors = rows["data.retriever_results.nq.single.wikipedia_passages"]
    assert vectors.size == "about 64.6 GB, 50 files"
    assert "LICENSE" in rows["data.retriever.qas.nq-dev"].licence


URL = "https://example.org/f.bin"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {url: [", r"mine\.yaml:[12]: not YAML"),
        ("- a", r"mine\.yaml:1: a catalog is a mapping"),
        ("\na: 3", r"mine\.yaml:2: a: holds no url"),
        ("a: {ext: .bin}", r"mine\.yaml:1: a: .*required field url"),
        (f"a: {{url: '{URL}', size: 3}}", r"mine\.yaml:1: a: unknown field 'size'"),
        (f"a: {{url: '{URL}', sha: x}}", r"did you mean 'sha256'\?"),
        (f"a: {{url: '{URL}', bytes: many}}", r"mine\.yaml:1: a: bytes: expected int"),
        ("a: {url: 'ftp://example.org/f'}", r"mine\.yaml:1: a: url: expected https://HOST/PATH"),
        (f"../a: {{url: '{URL}'}}", r"mine\.yaml:1: \.\./a: key: expected letters"),
        (
            f"a: {{url: '{URL}'}}\na: {{url: '{URL}'}}",
            r"mine\.yaml:2: 'a' is there twice, first in line 1",
        ),
        ("a: {url: 'https://h/f{5..1}'}", r"mine\.yaml:1: a: the range .* is empty"),
        ("a: {url: 'https://h/f{0..1}', bytes: 3}", r"mine\.yaml:1: a: bytes and sha256"),
    ],
)
def test_a_wrong_entry_of_the_users_catalog_is_named(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=problem):
        load_catalog(str(path))


def test_a_missing_catalog_of_the_user_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_catalog(str(tmp_path / "none.yaml"))


def test_the_users_catalog_adds_to_the_built_in_one_and_wins(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"beir.nq: {{url: '{URL}'}}\nmine: {{url: '{URL}'}}\n")
    catalog = load_catalog(str(path))
    assert catalog["beir.nq"].url == catalog["mine"].url == URL
    assert len(catalog) == 53 + 15 + 1


def test_two_resources_that_would_become_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a.x: {url: 'https://h/1_0', ext: .b}\na.x_0: {url: 'https://h/2', ext: .b}\n")
    entries = load_catalog(str(path))
    assert len(targets_of([entries["a.x"], entries["a.x_0"]], False)) == 2
    path.write_text("a.x: {url: 'https://h/{0..1}'}\na.x_0: {url: 'https://h/2'}\n")
    entries = load_catalog(str(path))
    with pytest.raises(SettingsError, match=r"a\.x and a\.x_0 would both become a/x_0"):
        targets_of([entries["a.x"], entries["a.x_0"]], False)
