"""The state that all files of one download share: the connection, the folder, and the messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from dprkit import __version__
from dprkit.download.catalog import Target
from dprkit.download.record import DownloadRecord
from dprkit.errors import SettingsError
from dprkit.progress import Run
from dprkit.settings import DownloadSettings


@dataclass
class Session:
    """One call of `download`, and what it has learnt so far."""

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
    def record(self) -> DownloadRecord:
        return DownloadRecord(self.folder, read_only=self.dry_run)

    def note(self, message: str) -> None:
        if message not in self.notes:
            self.notes.append(message)
            self.run.progress.note(message)

    def url_of(self, target: Target) -> str:
        """Where the server, or the mirror in its place, has the file."""
        if self.settings.mirror is None:
            return target.url
        address = urlsplit(target.url)
        query = f"?{address.query}" if address.query else ""
        return f"{self.settings.mirror.rstrip('/')}{address.path}{query}"


def client_for(settings: DownloadSettings) -> httpx.Client:
    # identity: lengths and offsets are then those of the file itself.
    headers = {"Accept-Encoding": "identity", "User-Agent": f"dprkit/{__version__}"}
    try:
        return httpx.Client(headers=headers, timeout=settings.timeout, follow_redirects=True)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"the proxy that the environment names cannot be used: {reason}"
        ) from None
