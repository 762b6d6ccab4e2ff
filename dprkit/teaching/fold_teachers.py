"""Teachers of folds: whether their manifests say that each left out another fold."""

from __future__ import annotations

from pathlib import Path

from dprkit.errors import MismatchError
from dprkit.settings import ScoreTeacherSettings
from dprkit.store.integrity import input_of
from dprkit.store.manifests import Manifest, is_artifact, read_manifest


def check_folds(settings: ScoreTeacherSettings) -> list[str]:
    """What to say of what the teachers have seen of the questions that they score.

    Raises MismatchError where the teachers of --folds are not what it takes.
    """
    manifests = {path: read_manifest(path) for path in settings.teacher if is_artifact(path)}
    if settings.folds:
        return _check(settings, settings.folds, manifests)
    return _trained_on_these(settings, manifests)


def _check(settings: ScoreTeacherSettings, folds: int, manifests: dict[str, Manifest]) -> list[str]:
    first = settings.teacher[0]
    for number, path in enumerate(settings.teacher, start=1):
        wanted = f"{number}/{folds}"
        if path not in manifests:
            raise MismatchError(f"{path}: no manifest says what it was trained on; {_run(wanted)}")
        if (left_out := manifests[path].settings.get("leave_out")) != wanted:
            was = f"with --leave-out {left_out}" if left_out else "on all questions"
            raise MismatchError(
                f"{path}: was trained {was}, but is teacher {number} of --folds {folds}; "
                f"name the teachers in the order of their folds, or {_run(wanted)}"
            )
        if manifests[path].kind != manifests[first].kind:
            raise MismatchError(
                f"{path}: is a {manifests[path].kind} and {first} a {manifests[first].kind}, whose "
                "scores cannot be compared; name teachers of one kind"
            )
        if _trained_on(manifests[path]) != _trained_on(manifests[first]):
            raise MismatchError(
                f"{path}: was trained on other files than {first}, so their scores cannot be "
                f"compared; {_run(wanted)} with the same --train-file"
            )
    return _started_from_all(manifests)


def _run(fold: str) -> str:
    return f"run dprkit train (of a reader: train-reader) --leave-out {fold}"


def _trained_on(manifest: Manifest) -> list[str]:
    """The identities of the files that a model was trained on."""
    files = {name: one for name, one in manifest.inputs.items() if name.startswith("train")}
    return [files[name].identity for name in sorted(files)]


def _trained_on_these(settings: ScoreTeacherSettings, manifests: dict[str, Manifest]) -> list[str]:
    """A warning where a teacher has learned the questions that it scores."""
    if settings.train_file is None or not Path(settings.train_file).is_file():
        return []
    own = input_of(settings.train_file).identity
    return [
        f"{path}: was trained on these questions, so it knows their gold passages and its scores "
        "tell little beyond that; --folds lets each question be scored by a teacher that was "
        "trained without it"
        for path, manifest in manifests.items()
        if own in _trained_on(manifest) and not manifest.settings.get("leave_out")
    ]


def _started_from_all(manifests: dict[str, Manifest]) -> list[str]:
    """A warning where a teacher goes on with a model that was trained on the same files."""
    notes = []
    for path, manifest in manifests.items():
        start = manifest.inputs.get("init")
        if start is None or not is_artifact(start.path):
            continue
        before = read_manifest(start.path)
        same = {*_trained_on(before)} & {*_trained_on(manifest)}
        if same and before.settings.get("leave_out") != manifest.settings.get("leave_out"):
            notes.append(
                f"{path}: goes on with {start.path}, which was trained on the questions that "
                f"{path} left out; begin with a model that was not"
            )
    return notes
