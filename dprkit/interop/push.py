"""push: a model and its card -> a repository of the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from dprkit import hub
from dprkit.errors import MismatchError, SettingsError, loading, reading
from dprkit.models.card_head import LIBRARIES, of_evaluation, with_results
from dprkit.progress import Run
from dprkit.settings import PushSettings, required
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import (
    MANIFEST,
    Input,
    Manifest,
    is_artifact,
    read_manifest,
    with_checksum,
)

CARD, LAST = "README.md", "last/"
KINDS = ("retriever", "reader", "export")


class PushReport(msgspec.Struct):
    """What was uploaded, and where it is."""

    name: str
    files: list[str]
    bytes: int
    outputs: list[str]


def push(settings: PushSettings, run: Run = Run()) -> PushReport:
    """Upload the model `settings.model` as the repository `settings.name`, in one commit.

    Raises SettingsError where nothing names it, MismatchError for what is no model and for results
    of another, DamagedError for one that was changed, InputError for a card that cannot be read and
    for what the hub refuses.
    """
    if settings.name is None:
        raise SettingsError("no name given; name the repository, such as me/my-retriever")
    folder = Path(required(settings.model, "--model", "model"))
    manifest = Verifier(run.progress.note).artifact(folder)
    if manifest.kind not in KINDS:
        raise MismatchError(f"{folder}: holds {manifest.kind}; push takes a retriever or a reader")
    kept = {name: known for name, known in manifest.files.items() if not name.startswith(LAST)}
    manifest = msgspec.structs.replace(manifest, files=kept)
    results = [of_evaluation(Path(path)) for path in settings.results]
    for evaluated in map(Path, settings.results):
        _check_model(evaluated, manifest, folder, run)
    files: dict[str, Path | bytes] = {name: folder / name for name in kept}
    kind, library = _kind_and_library(manifest)
    called, path = settings.name.rpartition("/")[2], folder / CARD
    card = with_results(_card(path), kind, called, results, library, path)
    name = hub.create(settings.name, settings.private, settings.update)
    files |= {CARD: card.encode(), MANIFEST: msgspec.json.encode(_without_paths(manifest))}
    size = sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in files.values())
    run.progress.note(f"{name}: uploading {len(files)} files, {size / 1e6:,.1f} MB")
    url = hub.upload(name, files, settings.message)
    return PushReport(name, sorted(files), size, [url])


def _check_model(results: Path, model: Manifest, folder: Path, run: Run) -> None:
    """Warn where results do not say whose they are. Raises MismatchError for those of another."""
    kind, _ = _kind_and_library(model)
    source = [known for name, known in model.inputs.items() if name == "source"]
    own = {model.identity, *(known.identity for known in source if model.kind == "export")}
    found = _evaluated(read_manifest(results), results, "rerank" if kind == "reader" else kind)
    if found is None:
        run.progress.warn(
            f"{results}: does not say which {kind} its metrics are of; see that it is {folder}"
        )
    elif found.identity not in own:
        raise MismatchError(
            f"{results}: its metrics are of another {kind}, {found.path}; evaluate {folder}, or "
            "leave --results out"
        )


def _evaluated(manifest: Manifest, folder: Path, name: str) -> Input | None:
    """The model that results are of, or that their index was made with, if it can be told."""
    if name in manifest.inputs or "index" not in manifest.inputs:
        return manifest.inputs.get(name)
    index = manifest.inputs["index"]
    for place in (Path(os.path.realpath(folder)) / index.relative_path, Path(index.path)):
        if is_artifact(place) and (made := read_manifest(place)).identity == index.identity:
            return made.inputs.get(name)
    return None


def _kind_and_library(manifest: Manifest) -> tuple[str, str]:
    """Whether it is a retriever or a reader, and the hub's name of what loads it."""
    if manifest.kind != "export":
        return manifest.kind, "dprkit"
    form = manifest.counts["to"]
    return manifest.counts["kind"], LIBRARIES.get(form, form)


def _card(path: Path) -> str:
    if not path.is_file():
        return "# A model of dprkit\n"
    with reading(path), loading(path, "not UTF-8 text"):
        return path.read_text("utf-8")


def _without_paths(manifest: Manifest) -> Manifest:
    """The manifest without the command and the folders of the machine that made the model."""
    inputs = {
        name: Input(Path(known.path).name, known.identity)
        for name, known in manifest.inputs.items()
    }
    return with_checksum(msgspec.structs.replace(manifest, command=(), inputs=inputs))
