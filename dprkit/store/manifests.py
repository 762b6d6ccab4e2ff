"""manifest.json of a finished artifact and progress.json of an unfinished artifact.

An artifact's identity comes from the bytes of its files, never from its path. Whether the files
are still what a manifest says is the business of dprkit.store.integrity.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from dprkit import __version__
from dprkit.errors import DamagedError, InputError, reading
from dprkit.store.atomic_files import atomic_write

SCHEMA = 1
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
PARTS = ".parts"
"""The folder in an unfinished artifact where processes that share its making find each other."""
PREVIOUS = ".previous"
"""The folder in an artifact that holds the finished one before it, while it is made anew."""


class FileRecord(msgspec.Struct, frozen=True):
    """One file of an artifact. `content`: its bytes are part of the artifact's identity."""

    bytes: int
    sha256: str
    content: bool = True


class Input(msgspec.Struct, frozen=True):
    """What a stage read, by what it holds: two inputs are the same when their identities are."""

    path: str
    """Where it lay, absolute."""
    identity: str
    relative_path: str = msgspec.field(default="", name="near")
    """The path from the folder of what was made: it holds when a whole workspace is moved."""


class Entries(dict[str, Any]):
    """A part of a manifest. What it lacks, and a reader needs, is damage and no bug."""

    def __init__(self, entries: Mapping[str, Any], path: Path, part: str) -> None:
        super().__init__(entries)
        self.path, self.part = path, part

    def __missing__(self, name: str) -> Any:
        raise _damaged(self.path, f"it has no {name!r} among its {self.part}")


class Manifest(msgspec.Struct, frozen=True):
    """What an artifact is and where it came from. Nothing in it depends on the disk."""

    kind: str
    schema: int
    dprkit: str
    command: tuple[str, ...]
    settings: dict[str, Any]
    inputs: dict[str, Input]
    counts: dict[str, Any]
    files: dict[str, FileRecord]
    identity: str
    checksum: str = ""
    """Of all the above (see `with_checksum`). Absent in manifests of early versions."""


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
    aside: str = ""
    """The folder in the artifact that takes what is in the way, where --restart was given for an
    artifact that cannot be read. Nobody knows who made those files, so they are never deleted."""
    schema: int = SCHEMA
    checksum: str = ""


Record = TypeVar("Record", Manifest, ProgressRecord)


def with_checksum(record: Record) -> Record:
    """The record with its checksum, which tells a record that was changed by hand or by a disk."""
    bare = msgspec.structs.replace(record, checksum="")
    digest = hashlib.sha256(msgspec.json.encode(bare)).hexdigest()
    return msgspec.structs.replace(bare, checksum=digest)


# --- reading ------------------------------------------------------------------------------------


def read_manifest(directory: Path | str, kind: str | None = None) -> Manifest:
    """The manifest of the artifact at `directory`, which must be of `kind` if that is given.

    Raises InputError where there is none, it is unfinished or of another kind, and DamagedError
    where it is damaged or has another schema.
    """
    directory = Path(directory)
    with reading(directory), suppress(FileNotFoundError, NotADirectoryError):
        os.stat(directory / MANIFEST)  # what may not be looked into is not called missing
    wanted = _with_article(kind or "artifact")
    if os.path.isfile(directory / PROGRESS) and not is_artifact(directory):
        before = directory / PREVIOUS
        way_out = f", or use the one before it, {before}" if is_artifact(before) else ""
        raise InputError(f"{directory}: unfinished; run the command that makes it again{way_out}")
    if not os.path.isdir(directory):
        if os.path.islink(directory) and not os.path.exists(directory):
            with reading(directory):
                os.stat(directory)
        problem = "is a file" if os.path.exists(directory) else "no such folder"
        raise InputError(f"{directory}: {problem}; name the folder of {wanted}")
    if not is_artifact(directory):
        raise InputError(
            f"{directory}: has no {MANIFEST}; name the folder of {wanted}"
            + (_foreign(directory) if kind in (None, "retriever") else "")
        )
    manifest = _decoded(directory / MANIFEST, Manifest)
    if manifest.identity != identity_of(manifest.kind, manifest.files):
        raise _damaged(directory / MANIFEST, "its identity is not that of its files")
    if kind and manifest.kind != kind:
        raise InputError(f"{directory}: holds {manifest.kind}, not {kind}; name another folder")
    parts = {
        part: Entries(getattr(manifest, part), directory / MANIFEST, part)
        for part in ("settings", "inputs", "counts", "files")
    }
    return msgspec.structs.replace(manifest, **parts)


def read_progress(directory: Path | str) -> ProgressRecord | None:
    """How far the artifact at `directory` is, or None where it is finished or not begun."""
    path = Path(directory) / PROGRESS
    if is_artifact(directory) or not path.is_file():
        return None
    return _decoded(path, ProgressRecord)


def write_manifest(directory: Path | str, manifest: Manifest) -> Manifest:
    """Put `manifest` in the place of the one that is there; returns it with its checksum."""
    manifest = with_checksum(manifest)
    with atomic_write(Path(directory) / MANIFEST) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def write_progress(directory: Path | str, record: ProgressRecord) -> None:
    with atomic_write(Path(directory) / PROGRESS) as file:
        file.write(msgspec.json.encode(with_checksum(record)))


def is_artifact(directory: Path | str) -> bool:
    return os.path.isfile(Path(directory) / MANIFEST)


class _Version(msgspec.Struct):
    schema: int = SCHEMA
    dprkit: str = ""


def _decoded(path: Path, form: type[Record]) -> Record:
    """The record in a file. Raises DamagedError where it is not what dprkit wrote."""
    with reading(path):
        raw = path.read_bytes()
    try:
        version = msgspec.json.decode(raw, type=_Version)
        if version.schema != SCHEMA:
            raise _another_schema(path, version)
        record: Record = msgspec.json.decode(raw, type=form)
        if record.checksum and record != with_checksum(record):
            raise _damaged(path, "it was changed since it was written")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error) if raw.strip() else "it is empty") from None
    names = [*record.files, *getattr(record, "claimed", ())]
    if odd := [name for name in names if not _is_inside(name)]:
        raise _damaged(path, f"{odd[0]!r} is no name of a file in the folder")
    return record


def _damaged(path: Path, problem: str) -> DamagedError:
    return DamagedError(
        f"{path}: damaged ({problem}); move the folder away, or make it again with --restart"
    )


def _another_schema(path: Path, version: _Version) -> DamagedError:
    by = f" (made by dprkit {version.dprkit})" if version.dprkit not in ("", __version__) else ""
    upgrade = "upgrade dprkit, or " if version.schema > SCHEMA else ""
    return DamagedError(
        f"{path}: has schema {version.schema}{by}, and this dprkit reads schema {SCHEMA}; "
        f"{upgrade}make it again with --restart"
    )


def _is_inside(name: str) -> bool:
    """Whether a name leads to something below a folder: what it names may be moved or deleted."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name


def _foreign(directory: Path) -> str:
    """What to do with the folder of another library's model; "" for another folder."""
    if not any((directory / name).is_file() for name in ("modules.json", "config.json")):
        return ""
    return f", or make a retriever of this model: dprkit convert {directory} --output-dir MODEL"


def _with_article(kind: str) -> str:
    """A kind of artifact as a sentence has it: an index, a retriever, embeddings."""
    article = "" if kind.endswith("s") else "an " if kind[0] in "aeiou" else "a "
    return article + kind


PASSAGE_SIDE_OF = "passage_side_of"
"""Of a retriever, in `counts`: the identities of retrievers that give passages the same vectors."""


def passage_sides(retriever: Manifest) -> list[str]:
    """The identities of the retrievers whose vectors of passages are those of this one.

    Its own, and those that it took its encoder of passages from (train --freeze passage).
    """
    return [retriever.identity, *retriever.counts.get(PASSAGE_SIDE_OF, [])]


def asks_alone(retriever: str | None) -> bool:
    """Whether a retriever may ask an index that another one made: what is found depends on it."""
    if retriever is None or not is_artifact(retriever):
        return False
    return len(passage_sides(read_manifest(retriever))) > 1


def identity_of(kind: str, files: Mapping[str, FileRecord]) -> str:
    """The identity of an artifact: a hash over its files' names and hashes."""
    lines = [
        f"{name} {record.sha256}\n" for name, record in sorted(files.items()) if record.content
    ]
    return f"{kind}:{hashlib.sha256(''.join(lines).encode(errors='surrogateescape')).hexdigest()}"
