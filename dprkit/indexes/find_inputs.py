"""Where the inputs of an index or of embeddings lie now, and whether they hold what they held.

An artifact names its inputs by their content, by where they lay, and by the way to them from its
own folder. So a workspace that was moved or copied as a whole finds what lies in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dprkit.errors import DamagedError, InputError, MismatchError
from dprkit.store.integrity import Verifier, input_of
from dprkit.store.manifests import Input, is_artifact, passage_sides

_AGAIN = "make the embeddings and the index again"
_WAYS_OUT = {
    "passages": ("say where it lies with --passages", _AGAIN),
    "retriever": ("say where it lies with --retriever", _AGAIN),
    "embeddings": ("put it back", "make the index again"),
    "index": (
        "put it back, or say where it lies: dprkit update-index --index",
        "run dprkit update-index again",
    ),
}
"""Input -> what to do where it is gone, and where it is another."""
_WAY_OUT = "put it back, or update the index again", "update the index again"


def places(artifact: Path | str, wanted: Input) -> Iterator[Path]:
    """Where an input of an artifact may lie: where it would if both were moved together, first."""
    near = Path(os.path.normpath(Path(os.path.realpath(artifact)) / wanted.relative_path))
    if wanted.relative_path and near.exists():
        yield near
    if Path(wanted.path) != near and Path(wanted.path).exists():
        yield Path(wanted.path)


def input_path(
    artifact: Path | str,
    name: str,
    wanted: Input,
    check: Verifier,
    given: Path | str | None = None,
) -> Path:
    """Where the input `name` of an artifact lies, which must hold what it held then.

    `given`: where the user says that it lies; a retriever there may be another, if its vectors of
    passages are the same (manifests.passage_sides). Raises InputError where it is gone,
    MismatchError where it is another, DamagedError where it says that it is the same and is not.
    """
    possible = [Path(given)] if given else list(places(artifact, wanted))
    what, (if_gone, if_another) = name.removeprefix("added_"), _WAYS_OUT.get(name, _WAY_OUT)
    if not possible or not possible[0].exists():
        raise InputError(f"{artifact}: its {what} {given or wanted.path} is gone; {if_gone}")
    for place in possible:
        if _fits(place, wanted, check, bool(given)):
            if is_artifact(place):
                check.artifact(place)
            return place
    raise MismatchError(
        f"{artifact}: was made with the {what} {wanted.path} ({wanted.identity[:23]}), "
        f"but {possible[0]} holds {_identity_at(possible[0], wanted, check)[:23]}; {if_another}"
    )


def _fits(place: Path, wanted: Input, check: Verifier, given: bool) -> bool:
    """Whether what lies there is what was wanted, or was given and makes the same vectors."""
    if _identity_at(place, wanted, check) == wanted.identity:
        return True
    another = given and wanted.identity.startswith("retriever:") and is_artifact(place)
    return another and wanted.identity in passage_sides(check.manifest(place))


def _identity_at(place: Path, wanted: Input, check: Verifier) -> str:
    """The identity of what lies there, for an artifact the one that its manifest names."""
    kind = wanted.identity.partition(":")[0]
    if kind == "sha256" and place.is_file():
        return f"sha256:{check.sha256(place) or _corpus_hash(place)}"
    if is_artifact(place) or kind == "retriever":
        return check.manifest(place).identity
    return input_of(place, check).identity


def _corpus_hash(path: Path) -> str:
    """The hash of a large corpus, which the index of its rows knows: searches need that anyway."""
    from dprkit.data.corpus_by_row import PassageFile

    return PassageFile(path).sha256


def moved_inputs(artifact: Path | str, inputs: dict[str, Input]) -> dict[str, Input]:
    """The inputs of an artifact, with the places where those of a moved workspace lie now.

    What is gone, or was made anew, keeps its old place: who needs it finds out. Raises
    DamagedError where an artifact says that it is the same and is not.
    """
    check, moved = Verifier(), {}
    for name, wanted in inputs.items():
        try:
            place: Path | str = input_path(artifact, name, wanted, check)
        except DamagedError:
            raise
        except (InputError, MismatchError):
            place = wanted.path
        moved[name] = msgspec.structs.replace(wanted, path=os.path.realpath(place))
    return moved
