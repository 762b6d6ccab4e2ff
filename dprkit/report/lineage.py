"""What an artifact was made from, and the commands that make it again, as manifests tell it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from dprkit.errors import DprkitError
from dprkit.indexes.find_inputs import places
from dprkit.store.manifests import Input, Manifest, is_artifact, read_manifest


class Lineage(NamedTuple):
    """Where an artifact comes from."""

    commands: list[str]
    """Lines for a shell, those of its inputs first."""
    provenance: list[tuple[str, str]]
    """What it is, what it was made from, and with which settings."""


def lineage_of(directory: Path | str, manifest: Manifest) -> Lineage:
    """The lineage of an artifact, and of its inputs as far as they are still there."""
    line = list(_line(Path(directory), manifest, set()))
    commands = dict.fromkeys(command_of(made) for _, made in line)
    rows = [
        (manifest.kind, str(directory)),
        ("identity", manifest.identity),
        ("made by", f"dprkit {manifest.dprkit}"),
    ]
    rows += [(f"its {name}", _input(own.path, own.identity)) for name, own in _inputs(manifest)]
    for place, made in reversed(line[:-1]):
        rows.append((made.kind, _input(str(place), made.identity)))
        rows += [
            (f"{made.kind}: {name}", _input(own.path, own.identity))
            for name, own in _inputs(made)
            if not is_artifact(own.path)
        ]
    rows += [(name, _words(value)) for name, value in manifest.settings.items() if _told(value)]
    return Lineage(list(commands), rows)


def command_of(manifest: Manifest) -> str:
    """The command that made an artifact, as it is typed."""
    program, *words = manifest.command or ("",)
    if not words:
        return f"# {manifest.kind}: made from Python, not by a command"
    return shlex.join(["dprkit" if PurePath(program).suffix in ("", ".py") else program, *words])


def _line(directory: Path, manifest: Manifest, seen: set[str]) -> Iterator[tuple[Path, Manifest]]:
    """The artifacts that an artifact was made from, each once and before what is made from it."""
    seen.add(manifest.identity)
    for _, wanted in _inputs(manifest):
        for place in places(directory, wanted):
            made = _artifact(place, wanted.identity)
            if made and made.identity not in seen:
                yield from _line(place, made, seen)
    yield directory, manifest


def _inputs(manifest: Manifest) -> list[tuple[str, Input]]:
    return sorted(manifest.inputs.items())


def _artifact(place: Path, identity: str) -> Manifest | None:
    """The manifest of the artifact at `place`, if it is still that one."""
    if not is_artifact(place):
        return None
    try:
        made = read_manifest(place)
    except DprkitError:
        return None
    return made if made.identity == identity else None


def _input(path: str, identity: str) -> str:
    kind, _, digest = identity.partition(":")
    return f"{path} ({kind}:{digest[:16]})" if digest else path


def _told(value: object) -> bool:
    return value not in (None, "", [], {})


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
