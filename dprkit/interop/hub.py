"""A model by its name on the Hugging Face hub: fetched, or taken from the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from dprkit import hub
from dprkit.errors import InputError
from dprkit.progress import Note, silent

PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin")


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
    return hub.snapshot(source, PATTERNS)


def cached(name: str) -> Path | None:
    """Where the hub's cache has a model, without asking the hub."""
    return hub.cached(name, PATTERNS)
