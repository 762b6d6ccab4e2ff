"""update-index: passages added to an index, replaced and removed, without building it again.

    manifest.json    names the base, which is the index that was updated, and the added embeddings
    made_from.json   the identities of both
    removed.npy      (R,) int64, ascending: rows of the base that a search leaves out

`update-index` writes a small index that refers to its base and copies nothing, so it takes as long
as reading the new vectors. Rows 0 to N-1 are the N rows of the base, removed ones included, so no
row of the base changes its number; the rows of added passages follow. A search compares its
question with each added passage (dprkit.indexes.updated_search). An updated index can be a base.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np

from dprkit.data.ids import read_ids
from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.find_inputs import moved_inputs
from dprkit.indexes.index_folder import REMOVED, IndexFolder
from dprkit.indexes.indexed_passages import IndexedPassages
from dprkit.indexes.kinds import UPDATED
from dprkit.indexes.made_from import write_made_from
from dprkit.progress import Run
from dprkit.settings import UpdateSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Input, Manifest, read_manifest

OWN_INPUTS = ("index", "added", "added_passages", "remove")
"""The inputs that an updated index has beside those of its base."""
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
    """Make an index that refers to `settings.index`, with passages added and removed.

    An added passage replaces the passage of the base that has its id. Raises MismatchError for
    embeddings of another retriever, and InputError where nothing would be left.
    """
    path = required(settings.index, "--index", "index")
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    if not settings.add and not settings.remove:
        raise SettingsError("--add and --remove: give at least one; there is nothing to update")
    base = IndexFolder(path, moved={"passages": settings.passages})
    inputs = _inputs(settings, base)
    # It refers to folders, so the same bytes in other folders make another index.
    folder = os.path.realpath(directory)
    named = [os.path.realpath(given) for given in (path, settings.add) if given]
    places = {"places": [os.path.relpath(given, folder) for given in named]}
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


def _inputs(settings: UpdateSettings, base: IndexFolder) -> dict[str, str | Input]:
    if not base.kind.updatable:
        raise SettingsError(
            f"--index: {base.path} is a {base.type} index, whose scores depend on the whole "
            f"corpus; make it again with dprkit index --type {base.type}"
        )
    carried = {name: given for name, given in base.inputs.items() if name not in OWN_INPUTS}
    inputs: dict[str, str | Input] = {**moved_inputs(base.path, carried)}
    inputs["index"] = str(base.path)
    if settings.add:
        added = read_manifest(settings.add, "embeddings")
        holds = added.counts.get("kind", "vectors")
        for what, was, now in (
            ("kind of vectors", base.reads, holds),
            ("retriever", base.inputs.get("retriever"), added.inputs.get("retriever")),
            ("number of dimensions", base.counts["dim"], added.counts["dim"]),
        ):
            if getattr(was, "identity", was) != getattr(now, "identity", now):
                raise MismatchError(
                    f"{settings.add}: was not made with the {what} of {base.path}; "
                    "encode the new passages with the retriever of the index"
                )
        if holds == "tokens":
            _refuse_other_pooling(settings, base, added)
        passages = moved_inputs(settings.add, {"added_passages": added.inputs["passages"]})
        inputs |= {"added": settings.add, **passages}
    if settings.remove:
        inputs["remove"] = settings.remove
    return inputs


def _refuse_other_pooling(settings: UpdateSettings, base: IndexFolder, added: Manifest) -> None:
    """Raises MismatchError: what is pooled more scores lower, so rankings would be wrong."""
    built = base
    while built.base:
        built = built.base
    was, now = (
        int(manifest.settings.get("pool_factor", 1))
        for manifest in (built.embeddings().manifest, added)
    )
    if was != now:
        raise MismatchError(
            f"{settings.add}: was pooled by {now}, and the token vectors of {base.path} by {was}; "
            f"encode the new passages with --pool-factor {was}"
        )


def _make(work: Draft, settings: UpdateSettings, base: IndexFolder) -> Manifest:
    passages = base.passages(work.run.progress.note)
    wanted = _ids(settings.remove)
    gone = passages.rows_of(wanted)
    absent = len(wanted) - len(gone)
    added = _replaced(settings.add, passages, gone) if settings.add else 0
    left = base.counts["passages"] - len(gone) + added
    if not left:
        raise InputError(f"{settings.index}: nothing of it would be left; remove fewer passages")
    with work.file(REMOVED) as file:
        np.save(file, np.sort(np.fromiter(gone.values(), np.int64, len(gone))))
    write_made_from(work)
    cut = {"truncate_dim": base.truncate_dim} if base.truncate_dim else {}
    return work.finish(
        cut
        | {
            "type": UPDATED,
            "passages": left,
            "dim": base.counts["dim"],
            "rows": base.rows + added,
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


def _replaced(path: str, passages: IndexedPassages, gone: dict[str, int]) -> int:
    """Count the added passages, and note in `gone` the rows of the passages that they replace."""
    embeddings = Embeddings(path)
    for number in range(embeddings.shards):
        gone |= passages.rows_of(embeddings.ids_of(number))
    return embeddings.count
