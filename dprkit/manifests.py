"""What an artifact says of itself: manifest.json when it is whole, progress.json until then.

An artifact's identity comes from the bytes of its files, never from its path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import InputError, reading
from dprkit.files import appearing

SCHEMA = 1
MANIFEST = "manifest.json"
PROGRESS = "progress.json"


class FileRecord(msgspec.Struct, frozen=True):
    """One file of an artifact. `content`: its bytes are part of the artifact's identity."""

    bytes: int
    sha256: str
    content: bool = True


class Input(msgspec.Struct, frozen=True):
    """What a stage read, by what it holds.

    `path` and `mtime_ns` only spare reading a file again to see that it is the same; two inputs
    are the same when their identities are.
    """

    path: str
    identity: str
    bytes: int = 0
    mtime_ns: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What an artifact is and where it came from."""

    kind: str
    schema: int
    dprkit: str
    command: tuple[str, ...]
    settings: dict[str, Any]
    inputs: dict[str, Input]
    counts: dict[str, Any]
    files: dict[str, FileRecord]
    identity: str


class ProgressRecord(msgspec.Struct):
    """How far an unfinished artifact is, and what it is being made from."""

    kind: str
    settings: dict[str, Any]
    inputs: dict[str, Input]
    files: dict[str, FileRecord] = {}
    state: dict[str, Any] = {}
    """What a stage needs to go on. Where it is empty, nothing would be lost by beginning anew."""
    claimed: list[str] = []
    """Files and folders that are the run's own, whole or not: noted before they appear."""
    run: str = ""
    """Another one each time the making begins anew."""


# --- reading ------------------------------------------------------------------------------------


def read_manifest(directory: Path | str, kind: str | None = None) -> Manifest:
    """The manifest of the artifact at `directory`, which must be of `kind` if that is given.

    Raises InputError where there is none, it is unfinished, newer than this dprkit, or of
    another kind.
    """
    directory = Path(directory)
    with reading(directory), suppress(FileNotFoundError, NotADirectoryError):
        os.stat(directory / MANIFEST)  # what may not be looked into is not called missing
    wanted = f"an artifact of the kind {kind}" if kind else "an artifact"
    if os.path.isfile(directory / PROGRESS) and not is_artifact(directory):
        before = directory / ".previous"
        way_out = f", or use the one before it, {before}" if is_artifact(before) else ""
        raise InputError(f"{directory}: unfinished; run the command that makes it again{way_out}")
    if not os.path.isdir(directory):
        if os.path.islink(directory) and not os.path.exists(directory):
            with reading(directory):
                os.stat(directory)
        problem = "is a file" if os.path.exists(directory) else "no such folder"
        raise InputError(f"{directory}: {problem}; name the folder of {wanted}")
    if not is_artifact(directory):
        raise InputError(f"{directory}: has no {MANIFEST}; name the folder of {wanted}")
    try:
        with reading(directory / MANIFEST):
            manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{directory / MANIFEST}: damaged ({error}); move the folder away and make it again"
        ) from None
    if manifest.schema > SCHEMA:
        raise InputError(
            f"{directory}: made by dprkit {manifest.dprkit}, which is newer; upgrade dprkit"
        )
    if kind and manifest.kind != kind:
        raise InputError(f"{directory}: holds {manifest.kind}, not {kind}; name another folder")
    return manifest


def read_progress(directory: Path | str) -> ProgressRecord | None:
    """How far the artifact at `directory` is, or None where it is finished or not begun."""
    path = Path(directory) / PROGRESS
    if is_artifact(directory) or not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProgressRecord)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{path}: damaged ({error}); move the folder away and make it again"
        ) from None


def write_manifest(directory: Path | str, manifest: Manifest) -> None:
    """Put `manifest` in the place of the one that is there."""
    with appearing(Path(directory) / MANIFEST) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def is_artifact(directory: Path | str) -> bool:
    return os.path.isfile(Path(directory) / MANIFEST)


def identify(path: Path | str, known: Input | None = None) -> Input:
    """What `path` holds: an artifact, a file, or a folder such as a Hugging Face model.

    Where `known` has the file's path, size and time of change, its identity is taken from there
    instead of reading the file again.
    """
    path = Path(path)
    here = _real(path)
    with reading(path):
        if str(path) == "-" or path.is_fifo():
            raise InputError(f"{path}: is read more than once; it must be a file, not a pipe")
        if is_artifact(path):
            return Input(here, read_manifest(path).identity)
        status = path.stat()
    if path.is_dir():
        return Input(here, _folder_identity(path))
    now = Input(here, known.identity if known else "", status.st_size, status.st_mtime_ns)
    if known == now:
        return now
    with reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Input(here, f"sha256:{digest}", status.st_size, status.st_mtime_ns)


def _real(path: Path) -> str:
    """Where `path` is. Raises InputError where that cannot be written into a manifest."""
    here = os.path.realpath(path)
    try:
        here.encode()
    except UnicodeEncodeError:
        shown = here.encode(errors="backslashreplace").decode()
        problem = f"its folder has a name that is not UTF-8 ({shown}); rename that folder"
        raise InputError(f"{path}: {problem}") from None
    return here


def _folder_identity(directory: Path) -> str:
    names = {p: p.relative_to(directory) for p in sorted(directory.rglob("*")) if p.is_file()}
    with reading(directory):
        files = {str(name): record_file(p) for p, name in names.items() if ".git" not in name.parts}
    return identity_of("folder", files)


def identity_of(kind: str, files: Mapping[str, FileRecord]) -> str:
    """The identity of an artifact: a hash over its files' names and hashes."""
    lines = [
        f"{name} {record.sha256}\n" for name, record in sorted(files.items()) if record.content
    ]
    return f"{kind}:{hashlib.sha256(''.join(lines).encode(errors='surrogateescape')).hexdigest()}"


def is_whole(directory: Path, manifest: Manifest, name: str) -> bool:
    """Whether the file `name` of an artifact holds, bit for bit, what its manifest says."""
    path, record = directory / name, manifest.files[name]
    return (
        path.is_file()
        and path.stat().st_size == record.bytes
        and record_file(path).sha256 == record.sha256
    )


def record_file(path: Path, content: bool = True) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path.stat().st_size, digest, content)
