"""Ids that were there before, in 10 bytes each: found batch by batch.

An id is known by 64 bits of a hash. Among 20 million ids the chance that two different ones share
them is 1 in 90,000; the later one would be left out, and be counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dprkit.data.ids import text_key

if TYPE_CHECKING:
    import numpy as np

BUCKETS = 64
"""Parts by the upper bits of a key, so that a part is copied when it grows, and not all."""
RECENT = 1 << 17
"""Keys that wait to be sorted into the buckets."""
NEW, SAME, OTHER = 0, 1, 2
"""A new id; one that was there with the same content; one that was there with another content."""


class Seen:
    """The ids of one kind of item, each with the 16 bits that it had at first, of its content."""

    def __init__(self) -> None:
        self._buckets = [_Sorted() for _ in range(BUCKETS)]
        self._recent = _Sorted()

    def add(self, ids: Sequence[str], contents: Sequence[str]) -> list[int]:
        """NEW, SAME or OTHER for each of N ids with their contents, in order."""
        import numpy as np

        marks = [zlib.crc32(content.encode()) & 0xFFFF for content in contents]
        had, new = self._first(ids, marks)
        told = np.where(had == marks, SAME, OTHER)
        told[new] = NEW
        found: list[int] = told.tolist()
        return found

    def first(self, ids: Sequence[str], marks: Sequence[int]) -> list[int]:
        """The mark, from 0 to 65,535, that each of N ids had when it was there first."""
        had: list[int] = self._first(ids, marks)[0].tolist()
        return had

    def _first(self, ids: Sequence[str], marks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the first mark of each id, and the places of those that are new."""
        import numpy as np

        keys = np.fromiter(map(text_key, ids), np.uint64, len(ids))
        keys_once, first, where = np.unique(keys, return_index=True, return_inverse=True)
        known, had = self._find(keys_once)
        had[~known] = np.array(marks, np.uint16)[first[~known]]
        self._recent.insert(keys_once[~known], had[~known])
        if len(self._recent.keys) >= RECENT:
            self._settle()
        return had[where], first[~known]

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each of N sorted keys was there, and the mark it had."""
        import numpy as np

        known, marks = self._recent.find(keys)
        for bucket, part in self._parts(keys):
            found, had = bucket.find(keys[part])
            known[part] |= found
            marks[part] = np.where(found, had, marks[part])
        return known, marks

    def _settle(self) -> None:
        recent, self._recent = self._recent, _Sorted()
        for bucket, part in self._parts(recent.keys):
            bucket.insert(recent.keys[part], recent.marks[part])

    def _parts(self, keys: np.ndarray) -> list[tuple[_Sorted, slice]]:
        """The buckets with the part of the sorted `keys` that belongs to each."""
        import numpy as np

        step = (1 << 64) // BUCKETS
        inner = np.arange(1, BUCKETS, dtype=np.uint64) * np.uint64(step)
        ends = [0, *np.searchsorted(keys, inner).tolist(), len(keys)]
        parts = zip(self._buckets, ends[:-1], ends[1:], strict=True)
        return [(bucket, slice(begin, end)) for bucket, begin, end in parts if begin < end]


class _Sorted:
    """Sorted keys, each with its mark."""

    def __init__(self) -> None:
        import numpy as np

        self.keys: np.ndarray = np.empty(0, np.uint64)
        self.marks: np.ndarray = np.empty(0, np.uint16)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        if not len(self.keys):
            return np.zeros(len(keys), bool), np.zeros(len(keys), np.uint16)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.keys[at] == keys, self.marks[at]

    def insert(self, keys: np.ndarray, marks: np.ndarray) -> None:
        """Add sorted keys that are not there yet."""
        import numpy as np

        at = np.searchsorted(self.keys, keys)
        self.keys = np.insert(self.keys, at, keys)
        self.marks = np.insert(self.marks, at, marks)
