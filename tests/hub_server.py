"""A local server that answers huggingface_hub as the hub does: what is read, and one upload."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

EMPTY: Mapping[str, str] = {}
SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """`repos`: "datasets/NAME" or "models/NAME" -> file -> its bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        """The files that were fetched."""
        self.token = "hf_right"
        self.sent: dict[str, bytes] = {}
        """What was uploaded by itself, by its sha256."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """What a command needs to ask this hub, with a cache of its own."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home)}


@contextmanager
def serving() -> Iterator[Hub]:
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if not path:
            return self.answer(200, b"")
        if path.startswith("api/"):
            return self.of_api(path.removeprefix("api/"))
        repo, _, rest = path.partition("/resolve/")
        repo = repo if repo.startswith("datasets/") else f"models/{repo}"
        content = self.server.repos.get(repo, {}).get(rest.partition("/")[2])
        if content is None:
            return self.absent("EntryNotFound")
        if self.command == "GET":
            self.server.asked.append(rest.partition("/")[2])
        etag = hashlib.sha1(content).hexdigest()
        self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA})

    def of_api(self, path: str) -> None:
        repo, *_ = path.partition("/revision/" if "/revision/" in path else "/tree/")
        if repo not in self.server.repos:
            return self.absent("RepoNotFound")
        files = self.server.repos[repo]
        if "/revision/" in path:
            return self.json({"id": repo.partition("/")[2], "sha": SHA, "siblings": []})
        self.json(
            [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in files.items()
            ]
        )

    # --- uploads ----------------------------------------------------------------------------------

    def do_PUT(self) -> None:
        content = self.body()
        self.server.sent[hashlib.sha256(content).hexdigest()] = content
        self.answer(200, b"")

    def do_POST(self) -> None:
        body, path = self.body(), unquote(urlsplit(self.path).path).strip("/")
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.json({"error": "Invalid credentials"}, 401)
        if path == "api/repos/create":
            return self.create(json.loads(body))
        if path == "api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            modes = [self.mode(file["path"]) for file in json.loads(body)["files"]]
            return self.json({"files": modes})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.lfs([*json.loads(body)["objects"]])
        assert path.endswith("/commit/main"), path
        repo = path.removeprefix("api/").removesuffix("/commit/main")
        self.commit(repo, [json.loads(line) for line in body.splitlines()])

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def create(self, asked: dict[str, str]) -> None:
        repo = f"models/{asked.get('organization') or 'me'}/{asked['name']}"
        answer = {"url": f"{self.server.url}/{repo.removeprefix('models/')}"}
        if repo in self.server.repos:
            return self.json(answer | {"error": "You already created this model repo"}, 409)
        self.server.repos[repo] = {}
        self.json(answer)

    def mode(self, path: str) -> dict[str, object]:
        upload = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": upload, "shouldIgnore": False}

    def lfs(self, objects: list[dict[str, object]]) -> None:
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}
        self.json({"transfer": "basic", "objects": objects})

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        files = self.server.repos[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.sent[value["oid"]]
        self.json({"commitUrl": f"{self.server.url}/{repo[7:]}/commit/{SHA}", "commitOid": SHA})

    # --- answers ----------------------------------------------------------------------------------

    def json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def absent(self, code: str) -> None:
        self.answer(404, b"", {"X-Error-Code": code, "X-Error-Message": "not found"})

    def answer(self, status: int, content: bytes, headers: Mapping[str, str] = EMPTY) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing goes to stderr."""
