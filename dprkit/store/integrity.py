"""Whether an artifact is what its manifest says, and what an input is by its content.

Large files are read once and remembered (dprkit.store.checksums), so that a second look takes
milliseconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dprkit.errors import DamagedError, InputError, reading
from dprkit.progress import Note, silent
from dprkit.settings import MADE_AGAIN
from dprkit.store import checksums, manifests
from dprkit.store.manifests import FileRecord, Input, Manifest

SEARCH_LIMIT = 1 << 30
"""Bytes that a search reads at most to see that nothing was changed, before it answers."""
MAY_CHANGE = ("README.md", "milvus.db/")
"""A card that people edit, and the files of an engine, which writes to them when it searches."""


class Verifier:
    """Compares artifacts with their manifests, each once.

    It reads at most `limit` bytes of large files whose hashes are not remembered. Of those beyond,
    only the sizes are compared; `unproven` counts their bytes, by artifact.
    """

    def __init__(self, note: Note = silent, limit: float = math.inf) -> None:
        self.note, self.left = note, limit
        self.unproven: dict[Path, int] = {}
        self._manifests: dict[str, Manifest] = {}
        self._whole: set[str] = set()

    def manifest(self, directory: Path | str, kind: str | None = None) -> Manifest:
        """The manifest of an artifact, read once. Raises as `read_manifest` does."""
        here = os.path.realpath(directory)
        manifest = self._manifests.get(here)
        if manifest is None or (kind and manifest.kind != kind):
            manifest = self._manifests[here] = manifests.read_manifest(directory, kind)
        return manifest

    def artifact(self, directory: Path | str, kind: str | None = None) -> Manifest:
        """The manifest of an artifact that is what it says. Raises DamagedError naming a file."""
        here = os.path.realpath(directory)
        manifest = self.manifest(directory, kind)
        if here not in self._whole:
            for path, problem in self.damaged_files(Path(directory), manifest):
                again = MADE_AGAIN.get(manifest.kind, "--restart")
                raise DamagedError(
                    f"{path}: damaged ({problem}); put the file back, "
                    f"or make the {manifest.kind} again with {again}"
                )
            for path in unlisted_files(Path(directory), manifest):
                raise DamagedError(f"{path}: is not a file of this {manifest.kind}; move it away")
            self._whole.add(here)
        return manifest

    def damaged_files(self, directory: Path, manifest: Manifest) -> Iterator[tuple[Path, str]]:
        """The files that make the identity of an artifact and are not what its manifest says."""
        files = {name: record for name, record in manifest.files.items() if record.content}
        for name, record in files.items():  # sizes first: they cost nothing
            if problem := problem_of_size(directory / name, record):
                yield directory / name, problem
                return
        large = [name for name in files if files[name].bytes > checksums.SMALL]
        with reading(directory):
            unknown = [n for n in large if checksums.remembered(directory / n) is None]
        if self.left > (size := sum(files[name].bytes for name in unknown)) > SEARCH_LIMIT:
            self.note(f"{directory}: reading {size / 1e9:.1f} GB once, to see if it was changed")
        for name in sorted(files, key=lambda name: files[name].bytes):
            if name in unknown and not self._affords(files[name].bytes):
                self.unproven[directory] = self.unproven.get(directory, 0) + files[name].bytes
            elif problem := problem_with(directory / name, files[name]):
                yield directory / name, problem

    def _affords(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True

    def sha256(self, path: Path) -> str | None:
        """The sha256 of a file; None where it is not remembered and too large to be read."""
        with reading(path):
            size = path.stat().st_size
            digest = checksums.remembered(path)
            return digest or (checksums.sha256(path) if self._affords(size) else None)

    def tell(self) -> None:
        """Say once what was not proven."""
        unproven, self.unproven = self.unproven, {}
        for directory, size in unproven.items():
            self.note(
                f"{directory}: {size / 1e9:.1f} GB were compared by their size alone; "
                f"dprkit info --check {directory} compares the rest"
            )


def problem_of_size(path: Path, record: FileRecord) -> str:
    """`""` where a file is there and as long as its record says, else what is wrong."""
    if not path.is_file():
        return "it is gone"
    with reading(path):
        size = path.stat().st_size
    if size != record.bytes:
        return f"it has {size:,} bytes where {record.bytes:,} were written"
    return ""


def problem_with(path: Path, record: FileRecord, again: bool = False) -> str:
    """`""` where a file is what its record says, else what is wrong with it.

    `again`: read it even if its hash is remembered.
    """
    if problem := problem_of_size(path, record):
        return problem
    with reading(path):
        digest = checksums.sha256(path, again)
    if digest != record.sha256:
        return f"it was changed: its sha256 is {digest[:12]}, not {record.sha256[:12]}"
    return ""


def unlisted_files(directory: Path, manifest: Manifest) -> list[Path]:
    """Files in the folders of an artifact (not beside them) that its manifest does not name.

    A library that loads a folder may read such a file: `adapter_config.json` beside weights, say.
    Hidden files are passed over.
    """
    listed = {directory / name for name in manifest.files}
    folders = {(directory / name).parent for name, file in manifest.files.items() if file.content}
    unlisted: list[Path] = []
    for folder in folders - {directory}:
        with reading(folder), suppress(FileNotFoundError):
            unlisted += [path for path in folder.iterdir() if not path.is_dir()]
    return sorted({path for path in unlisted if not path.name.startswith(".")} - listed)


def is_whole(directory: Path, manifest: Manifest, name: str, again: bool = False) -> bool:
    """Whether the file `name` of an artifact holds, bit for bit, what its manifest says.

    `again`: read it even if its hash is remembered.
    """
    return not problem_with(directory / name, manifest.files[name], again)


def problems_of(directory: Path, manifest: Manifest) -> list[str]:
    """What is wrong with an artifact, a sentence a file. Every file is read again."""
    damaged = [
        f"{directory / name}: {problem}"
        for name, record in manifest.files.items()
        if not name.startswith(MAY_CHANGE)
        and (problem := problem_with(directory / name, record, again=True))
    ]
    unlisted = unlisted_files(directory, manifest)
    return damaged + [f"{path}: is not a file of this {manifest.kind}" for path in unlisted]


# --- what an input is -----------------------------------------------------------------------------


def input_of(path: Path | str, verifier: Verifier | None = None) -> Input:
    """What `path` holds: an artifact, a file, or a folder such as a Hugging Face model.

    Raises InputError for what cannot be read and DamagedError for an artifact that was changed.
    """
    path = Path(path)
    here = _real(path)
    with reading(path):
        if str(path) == "-" or path.is_fifo():
            raise InputError(f"{path}: is read more than once; it must be a file, not a pipe")
        path.stat()
        if manifests.is_artifact(path):
            return Input(here, (verifier or Verifier()).artifact(path).identity)
        if path.is_dir():
            return Input(here, _folder_identity(path))
        return Input(here, f"sha256:{checksums.sha256(path)}")


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
    names = (p.relative_to(directory) for p in sorted(directory.rglob("*")) if p.is_file())
    records = {
        str(name): FileRecord(0, checksums.sha256(directory / name))
        for name in names
        if ".git" not in name.parts
    }
    return manifests.identity_of("folder", records)


def record_file(path: Path, content: bool = True) -> FileRecord:
    """The record of a file that was written just now."""
    return FileRecord(path.stat().st_size, checksums.sha256(path, again=True), content)
