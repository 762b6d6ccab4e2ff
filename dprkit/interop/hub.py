"""A model by its name on the Hugging Face hub: fetched, or taken from the hub's own cache."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Thread

from dprkit.errors import InputError, loading
from dprkit.models.retriever_folder import hush
from dprkit.progress import Note, silent

PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"]
SECONDS = 5.0
"""How long the hub may take to answer at all. Its library would ask again for most of a minute."""


def local(source: str, note: Note = silent) -> Path:
    """The file or folder `source`, fetched from the Hugging Face hub where it is a name there.

    Where the hub does not answer, what its cache holds is taken. Raises InputError.
    """
    path = Path(source)
    if path.exists():
        return path
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise InputError(f"{source}: no such file or folder; check the path")
    note(f"{source}: no such folder here; asking the Hugging Face hub for it")
    return _snapshot(source)


def cached(name: str) -> Path | None:
    """Where the hub's cache has a model, without asking the hub."""
    from huggingface_hub import snapshot_download

    hush()
    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS, local_files_only=True))
    except Exception:  # each release of huggingface_hub has others for what its cache lacks
        return None


@cache
def _snapshot(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    hush()
    where = constants.ENDPOINT
    silence = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _silence(where)
    if silence:
        if folder := cached(name):
            return folder
        raise InputError(
            f"{name}: no such folder here, and the hub ({where}) cannot be asked: {silence}; "
            "check the name, or name the model's folder"
        )
    with loading(name, "no such folder here, nor given by the hub; check the name"):
        return Path(snapshot_download(name, allow_patterns=PATTERNS))


def _silence(where: str) -> str:
    """Why the hub does not answer, or `""`."""
    import httpx

    answers = [f"no answer in {SECONDS:g} seconds"]

    def ask() -> None:
        try:
            httpx.head(where, timeout=SECONDS)
            answers.append("")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answers.append(str(error) or type(error).__name__)

    asking = Thread(target=ask, daemon=True)  # looking up a name may take longer than any limit
    asking.start()
    asking.join(SECONDS)
    return answers[-1]
