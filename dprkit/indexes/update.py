"""update-index: passages added to an index, replaced and removed, without building it again.

    manifest.json   names the index that it stands on, and the embeddings that were added
    ground.json     the identities of these
    removed.npy     (R,) int64, ascending: rows of that index which are not found any more

Nothing is copied, so it takes no longer than what it adds, for an index of any size and type. The
rows of what was added follow those of the index; they are compared one by one (dprkit.indexes.
exact) until the whole is worth building anew. An updated index can be updated in its turn.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np

from dprkit.data.ids import read_ids
from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.build import tell_ground
from dprkit.indexes.corpus import REMOVED, Corpus
from dprkit.indexes.corpus_parts import open_corpus, row_count
from dprkit.indexes.lineage import here_now
from dprkit.progress import Run
from dprkit.settings import UpdateSettings, required
from dprkit.store.artifacts import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Input, Manifest, read_manifest

OWN = ("index", "added", "added_passages", "remove")
"""The inputs that an updated index has beside those of the index below it."""
WORTH_BUILDING = 0.2
"""Share of an index that was added or removed from which on building it anew pays."""


class UpdateReport(msgspec.Struct):
    """What an updated index holds. `removed` counts the passages that were replaced too."""

    passages: int
    added: int
    removed: int
    outputs: list[str]
    notes: list[str]


def update_index(settings: UpdateSettings, run: Run = Run()) -> UpdateReport:
    """Make an index that stands on `settings.index`, with passages added and removed.

    A passage whose id the index has takes that one's place. Raises MismatchError for embeddings of
    another retriever, and InputError where nothing would be left.
    """
    path = required(settings.index, "--index", "index")
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    if not settings.add and not settings.remove:
        raise SettingsError("--add and --remove: give at least one; there is nothing to update")
    base = read_manifest(path, "index")
    inputs = _inputs(settings, path, base)
    # It stands on these places, so the same bytes at other ones make another index.
    here = os.path.realpath(directory)
    given = [os.path.realpath(one) for one in (path, settings.add) if one]
    places = {"places": [os.path.relpath(one, here) for one in given]}
    with draft(directory, "index", settings, inputs, run, more=places) as work:
        counts = (work.done or _make(work, settings, base)).counts
    notes = []
    if counts["absent"]:
        notes.append(f"{counts['absent']:,} ids of {settings.remove} are not in the index")
        run.progress.warn(notes[-1])
    if counts["changed"] > WORTH_BUILDING * counts["rows"]:
        notes.append(
            f"{counts['changed']:,} of {counts['rows']:,} rows were added or removed since it was "
            "built; build it anew from one corpus"
        )
        run.progress.note(notes[-1])
    return UpdateReport(
        counts["passages"], counts["added"], counts["removed"], [str(directory)], notes
    )


def _inputs(settings: UpdateSettings, path: str, base: Manifest) -> dict[str, str | Input]:
    if base.counts["type"] == "bm25":
        raise SettingsError(
            f"--index: {path} is of bm25, which weighs every word over the whole corpus; "
            "make it again with dprkit index --type bm25"
        )
    carried = {name: known for name, known in base.inputs.items() if name not in OWN}
    inputs: dict[str, str | Input] = {**here_now(path, carried)}
    inputs["index"] = path
    if settings.add:
        added = read_manifest(settings.add, "embeddings")
        for what, was, now in (
            ("retriever", base.inputs.get("retriever"), added.inputs.get("retriever")),
            ("number of dimensions", base.counts["dim"], added.counts["dim"]),
        ):
            if getattr(was, "identity", was) != getattr(now, "identity", now):
                raise MismatchError(
                    f"{settings.add}: was not made with the {what} of {path}; "
                    "encode the new passages with the retriever of the index"
                )
        passages = here_now(settings.add, {"added_passages": added.inputs["passages"]})
        inputs |= {"added": settings.add, **passages}
    if settings.remove:
        inputs["remove"] = settings.remove
    return inputs


def _make(work: Draft, settings: UpdateSettings, base: Manifest) -> Manifest:
    corpus = open_corpus(str(settings.index), settings.passages, work.run.progress.note)
    wanted = _ids(settings.remove)
    gone = corpus.rows_of(wanted)
    absent = len(wanted) - len(gone)
    added = _replaced(settings.add, corpus, gone) if settings.add else 0
    left = base.counts["passages"] - len(gone) + added
    if not left:
        raise InputError(f"{settings.index}: nothing of it would be left; remove fewer passages")
    with work.file(REMOVED) as file:
        np.save(file, np.sort(np.fromiter(gone.values(), np.int64, len(gone))))
    tell_ground(work)
    return work.finish(
        {
            "type": "updated",
            "passages": left,
            "dim": base.counts["dim"],
            "rows": row_count(base) + added,
            "added": added,
            "removed": len(gone),
            "absent": absent,
            "changed": base.counts.get("changed", 0) + added + len(gone),
        }
    )


def _ids(path: str | None) -> set[str]:
    """The ids in a file, one a line; none where it is empty, as on a day without removals."""
    if path is None or not os.path.getsize(path):
        return set()
    return read_ids(path)


def _replaced(path: str, corpus: Corpus, gone: dict[str, int]) -> int:
    """Put the rows of passages that come anew among those `gone`; how many come."""
    embeddings = Embeddings(path)
    for number in range(embeddings.shards):
        gone |= corpus.rows_of(embeddings.ids_of(number))
    return embeddings.count
