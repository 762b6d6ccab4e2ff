"""`dprkit download` from a server on this machine, as a user calls it."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import DPRKIT, call, environment

PATIENCE = 60  # seconds
ROWS = [
    {
        "question": f"who is number {n}",
        "answers": ["me"],
        "positive_ctxs": [{"title": "t", "text": f"me {n}", "psg_id": str(n)}],
        "negative_ctxs": [],
        "hard_negative_ctxs": [],
    }
    for n in range(2000)
]
PACKED = gzip.compress(json.dumps(ROWS).encode(), mtime=0)
BODY = random.Random(3).randbytes(400_000)


class Shop(ThreadingHTTPServer):
    """Serves `files` with an ETag and by ranges; stops after `stop_after` bytes and waits."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Clerk)
        self.files = {"/rows.json.gz": PACKED, "/big.bin": BODY}
        self.tag, self.stop_after = '"v1"', None
        self.ranges: list[str | None] = []
        self.free = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Clerk(BaseHTTPRequestHandler):
    server: Shop
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(None)

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.server.ranges.append(span)
        self.answer(span, send=True)

    def answer(self, span: str | None, send: bool = False) -> None:
        shop, body = self.server, self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        begin = 0
        if span and self.headers.get("If-Range") in (None, shop.tag):
            begin = int(span.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", shop.tag)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        if send and shop.stop_after:
            self.wfile.write(body[begin : shop.stop_after])
            shop.free.wait(PATIENCE)
        elif send:
            self.wfile.write(body[begin:])


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A server, and a catalog of the user's own that names its files, in the current folder."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with Shop() as server:
        here = f"http://127.0.0.1:{server.server_port}"
        files = {
            "mine.rows": {"url": f"{here}/rows.json.gz", "ext": ".json", "compressed": True},
            "mine.big": {"url": f"{here}/big.bin", "ext": ".bin"},
            "mine.lost": {"url": f"{here}/lost.bin", "ext": ".bin"},
        }
        Path("catalog.yaml").write_text(json.dumps(files))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.free.set()
        server.shutdown()
        thread.join()


def command(*names):
    return ["download", *names, "--catalog", "catalog.yaml", "--output-dir", "got"]


def test_a_file_is_downloaded_kept_packed_and_used_by_the_next_command(shop):
    made = call(*command("mine.rows"), "--json")
    assert made.exit_code == 0, made.stderr
    report = json.loads(made.stdout)
    assert {"seconds", "peak_memory_mb", "outputs", "up_to_date"} <= set(report)
    [path] = [name for name in report["outputs"] if name.endswith(".gz")]
    assert Path(path).read_bytes() == PACKED
    chosen = call("select-data", path, "-o", "rows.jsonl", "--json", "--require", "positive")
    assert chosen.exit_code == 0, chosen.stderr
    assert json.loads(chosen.stdout)["kept"] == len(ROWS)
    again = call(*command("mine.rows"))
    assert again.exit_code == 0 and "up to date" in again.stderr
    assert len(shop.ranges) == 1


@pytest.mark.parametrize("changed", [False, True], ids=["the same", "another"])
def test_a_download_that_was_interrupted_goes_on_if_the_server_has_the_same_file(shop, changed):
    shop.stop_after = 150_000
    process = subprocess.Popen(
        [*DPRKIT, *command("mine.big")],
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    end = time.monotonic() + PATIENCE
    while not [p for p in Path("got").rglob("*.part") if p.stat().st_size]:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert told.endswith("Interrupted; run the same command again to go on.\n")
    assert not list(Path("got").rglob("*.bin"))
    shop.stop_after = None
    shop.free.set()
    if changed:
        shop.files["/big.bin"], shop.tag = BODY[::-1], '"v2"'
    done = call(*command("mine.big"))
    assert done.exit_code == 0, done.stderr
    [path] = Path("got").rglob("*.bin")
    assert path.read_bytes() == shop.files["/big.bin"]
    first, second = shop.ranges
    assert first is None and 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 150_000
    assert not list(Path("got").rglob("*.part"))


def test_a_file_that_changed_on_the_server_is_refused_and_the_old_one_stays(shop):
    assert call(*command("mine.rows")).exit_code == 0
    [path] = Path("got").rglob("*.gz")
    shop.files["/rows.json.gz"] = gzip.compress(b"[]", mtime=0)
    shop.tag = '"v2"'
    path.unlink()
    refused = call(*command("mine.rows"))
    assert refused.exit_code == 1
    [problem] = [line for line in refused.stderr.splitlines() if line.startswith("Error: ")]
    assert "rows.json.gz: sha256 " in problem and "dprkit-downloads.json says" in problem
    assert not path.exists()


def test_a_file_that_is_not_there_is_told_in_a_line_with_its_address(shop):
    result = call(*command("mine.lost"))
    assert result.exit_code == 1
    [problem] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "/lost.bin" in problem and "404" in problem
    assert not [path for path in Path("got").rglob("*") if path.suffix in (".bin", ".part")]


def test_a_dry_run_tells_sizes_and_fetches_nothing(shop):
    result = call(*command("mine"), "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "would fetch: mine.big (400.0 kB)" in result.stderr
    assert shop.ranges == [] and not Path("got").exists()
