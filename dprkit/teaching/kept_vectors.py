"""What a retriever made of passages, kept on disk while a file is scored.

Each passage is encoded once, in the order in which passages come, and a run that goes on finds
what an earlier one made. So the scores of a run that was stopped are the same to the last bit,
though the vectors of a passage depend a little on what it is encoded with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from dprkit.models.token_vectors import TokenVectors
from dprkit.records import Passage
from dprkit.store.atomic_files import sync
from dprkit.store.drafts import Draft

LIMIT = 4 << 30
"""Bytes of vectors that are kept; passages that come later are encoded for each window."""
KEY = 16
"""Bytes that stand for a passage."""
Make = Callable[[Sequence[Passage]], TokenVectors]


class KeptVectors:
    """The vectors of passages; of a bi-encoder each passage has one. Memory: some 200 bytes each.

    In files of a draft, which `Draft.save` notes the lengths of, and which end with it.
    """

    def __init__(self, work: Draft, name: str, make: Make, dim: int, limit: int = LIMIT) -> None:
        """`name`: of the files. `make`: encodes some passages, to vectors `dim` wide."""
        self._work, self._name, self._dim, self._limit = work, name, dim, limit
        self._make = make
        self._files = [f"{name}-{part}.kept" for part in ("keys", "counts", "vectors")]
        for file, size in zip(self._files, self._sizes(), strict=True):
            work.rewind(file, size)
        keys = (work.directory / self._files[0]).read_bytes()
        self._places = {keys[at : at + KEY]: at // KEY for at in range(0, len(keys), KEY)}
        counts = np.fromfile(work.directory / self._files[1], "<i8")
        self._bounds = [0, *np.cumsum(counts).tolist()]

    def _sizes(self) -> tuple[int, int, int]:
        """Bytes of the files as an earlier run noted them; 0 where a power cut took some."""
        was = {"passages": 0, "rows": 0} | self._work.state.get(self._name, {})
        sizes = was["passages"] * KEY, was["passages"] * 8, was["rows"] * self._dim * 4
        paths = [self._work.directory / file for file in self._files]
        there = [path.stat().st_size if path.is_file() else 0 for path in paths]
        whole = all(size <= found for size, found in zip(sizes, there, strict=True))
        return sizes if whole else (0, 0, 0)

    def __call__(self, passages: Sequence[Passage]) -> TokenVectors:
        """The vectors of N different passages, in their order; new ones are encoded together."""
        keys = list(map(_key, passages))
        new = [n for n, key in enumerate(keys) if key not in self._places]
        known = [n for n, key in enumerate(keys) if key in self._places]
        made = self._make([passages[n] for n in new])
        read = self._read([self._places[keys[n]] for n in known])
        if self._bounds[-1] * self._dim * 4 < self._limit:
            self._keep([keys[n] for n in new], made)
        order = np.argsort(np.array(known + new, np.int64))
        return TokenVectors.of([[*read, *made][n] for n in order.tolist()], self._dim)

    def _read(self, places: list[int]) -> list[np.ndarray]:
        if not places or not self._bounds[-1]:
            return [np.empty((0, self._dim), np.float32)] * len(places)
        path = self._work.directory / self._files[2]
        rows = np.memmap(path, np.float32, "r").reshape(-1, self._dim)
        return [rows[self._bounds[place] : self._bounds[place + 1]] for place in places]

    def _keep(self, keys: list[bytes], made: TokenVectors) -> None:
        if not keys:
            return
        parts = b"".join(keys), made.counts.astype("<i8").tobytes(), made.values.tobytes()
        for file, raw in zip(self._files, parts, strict=True):
            self._work.append(file, raw)
            sync(self._work.directory / file)  # on the disk before it counts
        for key, count in zip(keys, made.counts.tolist(), strict=True):
            self._places[key] = len(self._places)
            self._bounds.append(self._bounds[-1] + count)
        kept = {"passages": len(self._places), "rows": self._bounds[-1]}
        self._work.state[self._name] = kept  # noted on disk when the window is


def _key(passage: Passage) -> bytes:
    content = f"{passage.id}\n{passage.title}\n{passage.text}".encode(errors="surrogatepass")
    return blake2b(content, digest_size=KEY).digest()
