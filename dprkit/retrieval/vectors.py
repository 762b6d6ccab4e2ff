"""The encoded corpus on disk: shards of vectors with the ids of their passages.

    vectors-00000.npy     (N, D) float32 or float16, memory-mappable
    ids-00000.txt         N lines, the id of each row's passage

Row r of the corpus is row r - (the shards before) of its shard, in the corpus file's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dprkit.artifacts import Draft
from dprkit.errors import InputError, reading
from dprkit.manifests import Manifest, read_manifest

KIND = "embeddings"


def shard_names(number: int) -> tuple[str, str]:
    return f"vectors-{number:05d}.npy", f"ids-{number:05d}.txt"


def write_shard(work: Draft, number: int, vectors: np.ndarray, ids: list[str]) -> None:
    """Write shard `number`: (N, D) vectors and their N ids."""
    vectors_name, ids_name = shard_names(number)
    with work.file(vectors_name) as file:
        header = np.lib.format.header_data_from_array_1_0(vectors)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(vectors).data)
    with work.file(ids_name) as file:
        file.write("".join(f"{id_}\n" for id_ in ids).encode())


class Embeddings:
    """The encoded corpus in a folder, shard by shard, memory-mapped."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.manifest: Manifest = read_manifest(directory, KIND)
        self.count = int(self.manifest.counts["passages"])
        self.dim = int(self.manifest.counts["dim"])
        self.shards = int(self.manifest.counts["shards"])

    def vectors(self) -> Iterator[np.ndarray]:
        """The vectors (N, D) of each shard, read as they are touched.

        Raises InputError for a shard that is not as long as the manifest says.
        """
        for number in range(self.shards):
            yield self._map(shard_names(number)[0])

    def _map(self, name: str) -> np.ndarray:
        path, record = self.directory / name, self.manifest.files[name]
        with reading(path):
            size = path.stat().st_size
        if size != record.bytes:
            raise InputError(
                f"{path}: {size} bytes where the manifest has {record.bytes}; encode again"
            )
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.asarray(mapped)

    def ids(self) -> list[str]:
        """The ids of all passages, in the corpus's order."""
        found: list[str] = []
        for number in range(self.shards):
            path = self.directory / shard_names(number)[1]
            with reading(path):
                found += path.read_text().removesuffix("\n").split("\n")
        return found
