"""Which teacher scored a file: what the manifest of score-teacher says, beside the file it wrote.

Raw scores of two teachers have scales of their own, so that no training may mix them in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast

from dprkit.data.streams import STDIN
from dprkit.errors import MismatchError
from dprkit.store import checksums
from dprkit.store.integrity import input_of
from dprkit.store.manifests import Input, is_artifact, read_manifest

KIND = "teacher-scores"
SOURCE = "rows"
"""What a manifest calls the file that was scored."""
TEACHERS = ("teacher", "ranking")
HOW = ("reader_score", "max_answer_length", "missing", "folds", "hub")
"""The settings that change the scores."""


class Teachers(NamedTuple):
    """What scored a file."""

    inputs: dict[str, Input]
    """Those of the manifest that are teachers, by name."""
    how: dict[str, object]
    """The settings that change the scores."""
    source: Input | None
    """The file whose rows were scored."""

    def __str__(self) -> str:
        paths = ", ".join(one.path for one in self.inputs.values())
        hub = ", ".join(cast(list[str], self.how["hub"] or []))
        score = self.how["reader_score"]
        return (paths or hub) + (f" ({score})" if score != "relevance" else "")

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal where the scores can be compared."""
        return tuple(one.identity for one in self.inputs.values()), tuple(self.how.items())


def teachers_of(path: Path | str) -> Teachers | None:
    """What scored the file at `path`; None where neither it nor what it is made from has scores.

    Rows keep their scores where other artifacts, such as mined negatives, are made of them.
    Raises MismatchError where the file, or the file that was scored, was changed since, and where
    it is made from files with the scores of different teachers.
    """
    path = Path(path)
    if str(path) == STDIN or not path.is_file() or not is_artifact(path.parent):
        return None
    manifest = read_manifest(path.parent)
    record = manifest.files.get(path.name)
    if record is None:
        return None
    if manifest.kind != KIND:
        return refuse_two_teachers(one.path for one in manifest.inputs.values())
    again = "score it again: dprkit score-teacher --restart"
    if checksums.sha256(path) != record.sha256:
        raise MismatchError(f"{path}: was changed since its teacher scored it; {again}")
    source = manifest.inputs.get(SOURCE)
    if source and Path(source.path).exists():
        now = input_of(source.path).identity
        if now != source.identity:
            raise MismatchError(
                f"{path}: has the teacher's scores of {source.path} as it was "
                f"({source.identity[:23]}), which was changed since ({now[:23]}); {again}"
            )
    known = {name: one for name, one in manifest.inputs.items() if name.startswith(TEACHERS)}
    how = {name: manifest.settings.get(name) for name in HOW}
    return Teachers(known, how, source)


def refuse_two_teachers(paths: Iterable[str]) -> Teachers | None:
    """What scored the files. Raises MismatchError where two have scores of different teachers.

    Files that score-teacher did not write may have scores of anything, and are passed over.
    """
    first: tuple[str, Teachers] | None = None
    for path in paths:
        teachers = teachers_of(path)
        if teachers is None:
            continue
        if first is None:
            first = path, teachers
        elif first[1].identity != teachers.identity:
            raise MismatchError(
                f"{path} has the scores of {teachers}, but {first[0]} those of {first[1]}; scores "
                "of two teachers cannot be compared: score both files by one (dprkit score-teacher)"
            )
    return first[1] if first else None
