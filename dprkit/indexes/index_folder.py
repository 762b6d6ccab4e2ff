"""The folder of an index, opened once: its manifest, its kind, its inputs, its passages.

Each manifest is read once, and passed on with the IndexFolder that holds it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dprkit.errors import DamagedError, InputError, MismatchError
from dprkit.indexes.find_inputs import input_path
from dprkit.indexes.kinds import kind_of
from dprkit.progress import Note, silent
from dprkit.store.integrity import Verifier, problem_of_size, problem_with

if TYPE_CHECKING:
    import numpy as np

    from dprkit.embeddings.shards import Embeddings
    from dprkit.indexes.hits_and_tie_order import DenseIndex
    from dprkit.indexes.indexed_passages import IndexedPassages

REMOVED = "removed.npy"
"""In an updated index (dprkit.indexes.update): (R,) int64 rows of its base, ascending."""
_CORPORA = ("passages", "added_passages")


class IndexFolder:
    """An index as its manifest tells it. `open` gives the index itself."""

    def __init__(
        self,
        path: Path | str,
        check: Verifier | None = None,
        moved: Mapping[str, Path | str | None] | None = None,
    ) -> None:
        """`check` sees whether inputs were changed; without one it compares their sizes only.

        `moved`: input -> where the user says that it lies now. Raises InputError where there is no
        index, DamagedError for a damaged manifest.
        """
        self.path, self.check, self.moved = Path(path), check or Verifier(limit=0), moved or {}
        self.manifest = self.check.manifest(path, "index")
        self.counts, self.inputs = self.manifest.counts, self.manifest.inputs
        self.type = str(self.counts["type"])
        """The name of its kind."""
        self.kind = kind_of(self.type)
        self.rows = int(self.counts.get("rows") or self.counts["passages"])
        """The rows of the index, removed ones included."""
        self.truncate_dim: int | None = self.counts.get("truncate_dim")
        """What its vectors were cut to, and those of questions are; None: they are whole."""
        self._located: dict[str, Path] = {}

    def open(self, depths: Mapping[str, int | None] | None = None) -> Any:
        """The index itself: a DenseIndex, a TokenIndex, or for words a search Engine.

        `depths`: how far a search looks, by name, instead of what was chosen when the index was
        built. A kind passes over what it does not have.
        """
        return self.kind.load().open_folder(self, {k: n for k, n in (depths or {}).items() if n})

    def open_dense(self, depths: Mapping[str, int | None] | None = None) -> DenseIndex:
        """As `open`. Raises InputError for an index that does not compare one vector a text."""
        if self.reads != "vectors":
            what = "words" if self.reads == "passages" else "token vectors"
            raise InputError(
                f"{self.path}: is a {self.type} index, which compares {what} and no vectors"
            )
        index: DenseIndex = self.open(depths)
        return index

    def part(self, counts: Mapping[str, Any]) -> IndexFolder:
        """The index that is a part of this one, in the same folder, by its own counts."""
        part = copy.copy(self)
        part.counts = dict(counts)
        part.type = str(counts["type"])
        part.kind = kind_of(part.type)
        return part

    @property
    def reads(self) -> str:
        """What it is asked by, as Kind.reads."""
        return self.base.reads if self.base else self.kind.reads

    @property
    def depths(self) -> dict[str, int]:
        """How far a search looks; empty where it compares everything, or the base is gone."""
        with suppress(InputError, MismatchError):
            return self.base.depths if self.base else self.kind.depths_of(self.counts)
        return {}

    def file(self, name: str, every_bit: bool = False) -> Path:
        """The path of a file of the index, which has as many bytes as were written.

        `every_bit`: and the same bytes. Raises InputError where it has not.
        """
        path, record = self.path / name, self.manifest.files[name]
        if problem := problem_with(path, record) if every_bit else problem_of_size(path, record):
            command = "update-index" if "index" in self.inputs else "index"
            raise InputError(f"{path}: damaged ({problem}); run dprkit {command} --restart")
        return path

    # --- inputs -----------------------------------------------------------------------------------

    def input(self, name: str) -> Path:
        """Where an input lies now. Raises InputError if it is gone, MismatchError for another."""
        if name not in self._located:
            wanted, given = self.inputs[name], self.moved.get(name)
            self._located[name] = input_path(self.path, name, wanted, self.check, given)
        return self._located[name]

    def embeddings(self, name: str = "embeddings") -> Embeddings:
        """Embeddings that the index names."""
        from dprkit.embeddings.shards import Embeddings

        path = self.input(name)
        return Embeddings(path, self.check.manifest(path, "embeddings"))

    @cached_property
    def base(self) -> IndexFolder | None:
        """The index that an updated index refers to; None for an index that was built."""
        if "index" not in self.inputs:
            return None
        return IndexFolder(self.input("index"), self.check, self.moved)

    def verify(self) -> None:
        """Raise DamagedError or MismatchError where anything was changed that a search reads.

        An input that is gone is left to whoever opens it, and so is an artifact that was made anew.
        """
        self.check.artifact(self.path, "index")
        for name in self._searched_inputs():
            try:
                self.input(name)
            except DamagedError:
                raise
            except InputError:
                continue
            except MismatchError:
                if name in _CORPORA:
                    raise
                continue
            if name == "index" and self.base:
                self.base.verify()

    def _searched_inputs(self) -> list[str]:
        """The names of the inputs that a search reads."""
        needed = {"retriever", "index", "added", *_CORPORA}
        if self.kind.searches_embeddings:
            needed.add("embeddings")
        if "index" in self.inputs:  # its base names the corpus
            needed.remove("passages")
        return [name for name in self.inputs if name in needed]

    # --- passages ---------------------------------------------------------------------------------

    @cached_property
    def corpora(self) -> list[tuple[IndexFolder, str]]:
        """The files of passages, each as an input of this index or of a base, in row order."""
        if not self.base:
            return [(self, "passages")]
        added = [(self, "added_passages")] if "added" in self.inputs else []
        return [*self.base.corpora, *added]

    @cached_property
    def removed(self) -> np.ndarray:
        """(R,) int64, ascending: the rows that this index removed from its base."""
        import numpy as np

        if not self.base:
            return np.empty(0, np.int64)
        rows: np.ndarray = np.load(self.file(REMOVED, every_bit=True), allow_pickle=False)
        return rows

    @cached_property
    def all_removed(self) -> np.ndarray:
        """(R,) int64, ascending: the rows that this index and its bases removed."""
        import numpy as np

        return np.union1d(self.base.all_removed, self.removed) if self.base else self.removed

    def passages(self, note: Note = silent) -> IndexedPassages:
        """The passages that the index finds. `note` is told what takes long."""
        from dprkit.indexes.indexed_passages import IndexedPassages

        paths = [index.input(name) for index, name in self.corpora]
        return IndexedPassages(paths, self.all_removed, note)

    def finds_the_same_passages(self, other: IndexFolder) -> bool:
        """Whether both indexes number the same passages in the same way."""
        ours, theirs = (
            [index.inputs[name].identity for index, name in folder.corpora]
            for folder in (self, other)
        )
        return ours == theirs and self.all_removed.tolist() == other.all_removed.tolist()

    def describe_passages(self) -> str:
        """The files of passages, for an error."""
        files = " and ".join(index.inputs[name].path for index, name in self.corpora)
        removed = f" less {len(self.all_removed):,} passages" if len(self.all_removed) else ""
        return files + removed
