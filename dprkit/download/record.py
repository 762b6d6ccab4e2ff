"""The record of downloads: the size and sha256 that each file had at first and must have later.

    {"files": {"data/retriever/nq-dev.json.gz": {"url": …, "bytes": …, "sha256": …, "mtime_ns": …}}}

Names are relative to the output folder. The time of change only spares hashing a file again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dprkit.errors import FormatError, reading
from dprkit.store.atomic_files import write_file
from dprkit.store.locks import lock_file

RECORD = "dprkit-downloads.json"
EARLIER = "dprkit-download.lock.json"
"""The record's earlier name: a folder that has one keeps it."""
PATIENCE = 60.0
"""Seconds to wait for another run that writes an entry."""


class KnownFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the record says of one file."""

    url: str
    bytes: int
    sha256: str
    mtime_ns: int = 0
    packed_sha256: str | None = None
    """Of the .gz that the file was unpacked from."""

    def fits(self, path: Path) -> bool:
        """Whether the file at `path` has this length and time of change."""
        if not path.is_file():
            return False
        status = path.stat()
        return (self.bytes, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class DownloadRecord:
    """What is known of the files below `folder`. `read_only`: nothing is written down."""

    folder: Path
    read_only: bool = False

    @property
    def path(self) -> Path:
        earlier = self.folder / EARLIER
        return earlier if earlier.exists() else self.folder / RECORD

    def get(self, name: str) -> KnownFile | None:
        return self._read().get(name)

    def record(self, name: str, recorded: KnownFile) -> KnownFile:
        """Write down the file `name` with the time of change it has now."""
        mtime_ns = (self.folder / name).stat().st_mtime_ns
        recorded = msgspec.structs.replace(recorded, mtime_ns=mtime_ns)
        if not self.read_only:
            self._put(name, recorded)
        return recorded

    def intact(self, name: str, sha256: str | None = None) -> KnownFile | None:
        """What is recorded of `name`, if the file is still that, or is what `sha256` says.

        Costs a look at the folder; reads the file only where its time of change is another.
        """
        recorded, path = self.get(name), self.folder / name
        if recorded is None or not path.is_file():
            return None
        expected = sha256 or recorded.sha256
        if recorded.fits(path) and recorded.sha256 == expected:
            return recorded
        if path.stat().st_size == recorded.bytes and sha256_of(path) == expected:
            return self.record(name, msgspec.structs.replace(recorded, sha256=expected))
        return None

    def _put(self, name: str, recorded: KnownFile) -> None:
        # Two runs that fetch other files into one folder must not lose each other's entries.
        with lock_file(self.path.with_name(f"{self.path.name}.lock"), self.path, PATIENCE):
            files = {**self._read(), name: recorded}
            data = msgspec.json.encode({"files": dict(sorted(files.items()))})
            with write_file(self.path) as file:
                file.write(msgspec.json.format(data, indent=2) + b"\n")

    def _read(self) -> dict[str, KnownFile]:
        if not self.path.exists():
            return {}
        with reading(self.path):
            data = self.path.read_bytes()
        try:
            return msgspec.json.decode(data, type=dict[str, dict[str, KnownFile]])["files"]
        except (msgspec.MsgspecError, KeyError) as error:
            problem = f"damaged ({error}); mend it, or delete it to record all files anew"
            raise FormatError(self.path, 1, problem) from None


def sha256_of(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
