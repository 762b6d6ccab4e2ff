"""What an index or embeddings were made from: where it lies now, and whether it is what it was.

An artifact names its inputs by their content, by where they lay, and by the way to them from its
own folder. So a workspace that was moved or copied as a whole finds what lies in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dprkit.errors import InputError, MismatchError
from dprkit.store.integrity import Verifier, input_of
from dprkit.store.manifests import Input, Manifest, is_artifact, read_manifest

CORPORA = ("passages", "added_passages")


def places(artifact: Path | str, wanted: Input) -> Iterator[Path]:
    """Where an input of an artifact may lie: where it would if both were moved together, first."""
    near = Path(os.path.normpath(Path(os.path.realpath(artifact)) / wanted.relative_path))
    if wanted.relative_path and near.exists():
        yield near
    if Path(wanted.path) != near and Path(wanted.path).exists():
        yield Path(wanted.path)


def input_path(
    artifact: Path | str,
    wanted: Input,
    path: Path | str | None = None,
    flag: str | None = None,
    check: Verifier | None = None,
) -> Path:
    """The path of an input of an index or of embeddings, which must hold what it held then.

    `path`: where the user says that it lies. `flag`: where the user can say so.
    """
    check = check or Verifier()
    there = [Path(path)] if path else list(places(artifact, wanted))
    what = flag.removeprefix("--") if flag else "corpus"
    way_out = f"say where it lies with {flag}" if flag else "put it back, or update the index again"
    if not there or not there[0].exists():
        raise InputError(f"{artifact}: its {what} {path or wanted.path} is gone; {way_out}")
    for here in there:
        if _says(here, wanted, check) == wanted.identity:
            if is_artifact(here):
                check.artifact(here)
            return here
    raise MismatchError(
        f"{artifact}: was made with the {what} {wanted.path} ({wanted.identity[:23]}), "
        f"but {there[0]} holds {_says(there[0], wanted, check)[:23]}; "
        "make the embeddings and the index again"
    )


def _says(here: Path, wanted: Input, check: Verifier) -> str:
    """The identity of what lies there, for an artifact the one that its manifest names."""
    kind = wanted.identity.partition(":")[0]
    if kind == "sha256" and here.is_file():
        return f"sha256:{check.sha256(here) or _corpus_hash(here)}"
    if is_artifact(here) or kind == "retriever":
        return read_manifest(here).identity
    return input_of(here, check).identity


def _corpus_hash(path: Path) -> str:
    """The hash of a large corpus, which the index of its rows knows: searches need that anyway."""
    from dprkit.data.passage_file import PassageFile

    return PassageFile(path).sha256


def here_now(artifact: Path | str, inputs: dict[str, Input]) -> dict[str, Input]:
    """The inputs of an artifact, with the places where those of a moved workspace lie now.

    What is gone, or was made anew, keeps its old place: who needs it finds out. Raises
    DamagedError where a retriever says that it is the same and is not.
    """
    check = Verifier()
    found = {}
    for name, wanted in inputs.items():
        same = (here for here in places(artifact, wanted) if _is(here, wanted, check))
        here = next(same, Path(wanted.path))
        found[name] = msgspec.structs.replace(wanted, path=os.path.realpath(here))
    return found


def _is(here: Path, wanted: Input, check: Verifier) -> bool:
    try:
        same = _says(here, wanted, check) == wanted.identity
    except InputError:
        return False
    if same and is_artifact(here):
        check.artifact(here)
    return same


def check_index(
    index: Path | str,
    check: Verifier,
    retriever: Path | str | None = None,
    passages: Path | str | None = None,
) -> None:
    """Raise DamagedError or MismatchError where what a search reads was changed.

    That is the index, the retriever, the corpora, and embeddings where the index stands on them.
    What is gone or was made anew is left to whoever opens it. `retriever`, `passages`: where those
    lie now.
    """
    manifest = check.artifact(index, "index")
    for name in _read_by_search(index, manifest):
        wanted = manifest.inputs[name]
        given = {"retriever": retriever, "passages": passages}.get(name)
        if name in CORPORA:
            flag = "--passages" if name == "passages" else None
            if given or any(places(index, wanted)):
                input_path(index, wanted, given, flag, check)
            continue
        for here in [Path(given)] if given else places(index, wanted):
            if is_artifact(here) and read_manifest(here).identity == wanted.identity:
                if name == "index":
                    check_index(here, check, retriever, passages)
                check.artifact(here)
                break


def _read_by_search(index: Path | str, manifest: Manifest) -> list[str]:
    """The names of the inputs that a search reads."""
    needed = {"retriever", "index", "added", *CORPORA}
    if manifest.counts.get("type") == "exact":
        needed.add("embeddings")
    if "index" in manifest.inputs:  # the corpus of what it stands on is named there
        needed -= {"passages"}
    return [name for name in manifest.inputs if name in needed]
