"""What the folders and files are that a report is made of: told by their manifests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from dprkit.errors import InputError, SettingsError, reading
from dprkit.evaluation.systems import refuse_repeated
from dprkit.store.manifests import is_artifact, read_manifest, read_progress
from dprkit.store.stage_files import STREAM

KINDS = {
    "results": "systems",
    "retriever": "trainings",
    "reader": "trainings",
    "tuning": "tunings",
    "audit": "audits",
}
"""Kind of artifact -> the field of Sources that has it."""
_TAKEN = (
    "a report shows results of evaluate, retrievers and readers that were trained (or are), what "
    "tune-index measured, audits, and files of rankings"
)


class Sources(NamedTuple):
    """Paths by what they hold, each in the order given."""

    systems: list[str]
    """Results artifacts, and files of rankings."""
    trainings: list[str]
    tunings: list[str]
    audits: list[str]


def sources_of(paths: Sequence[str]) -> Sources:
    """What `paths` hold. Raises InputError for what no report shows, and for a path given twice."""
    if not paths:
        raise SettingsError(f"no folder given; {_TAKEN}")
    sources = Sources([], [], [], [])
    refuse_repeated(paths)
    for path in paths:
        getattr(sources, _field(path)).append(path)
    return sources


def _field(path: str) -> str:
    if path == STREAM:
        raise SettingsError(
            "-: a report reads rankings again and again, and stdin once; name a file"
        )
    with reading(path):
        os.stat(path)
    if not os.path.isdir(path):
        return "systems"
    begun = None if is_artifact(path) else read_progress(path)
    if begun and KINDS.get(begun.kind) == "trainings":
        return "trainings"
    kind = read_manifest(path).kind
    if kind not in KINDS:
        raise InputError(f"{path}: holds {kind}; {_TAKEN}")
    return KINDS[kind]
