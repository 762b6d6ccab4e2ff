"""What the name of a source says: the beginning of ids that it lacks, the split that it is of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_ENDINGS = re.compile(r"(\.(gz|zst|bz2|xz|zip|jsonl?|tsv|csv|txt|xml|qa))+$")
_SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing"),
}
"""dprkit's name of a split -> what others call it."""
_LOOSE = _SPLITS | {"test": (*_SPLITS["test"], "eval", "evaluation")}


def stem(path: Path) -> str:
    """The name of a file without what says how it is written: nq-dev of nq-dev.qa.csv.gz."""
    return _ENDINGS.sub("", path.name) or path.name


def split_name(name: str) -> str:
    """The name of a split as dprkit's files have it: dev is called valid."""
    return next((own for own, words in _SPLITS.items() if name in words), name)


def split_names(names: Iterable[str]) -> dict[str, str]:
    """The same for all splits of a source, parts too: dev.small, dev1, testA, and eval.

    Each name of dprkit's is given once: beside dev, dev.small keeps its own.
    """
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (split_name(name) not in _SPLITS, name)):
        own = _loosely(name)
        found[name] = name if own in found.values() else own
    return found


def _loosely(name: str) -> str:
    word = re.match("[A-Z]+(?![a-z])|[A-Za-z][a-z]*", name)
    called = word[0].lower() if word else ""
    return next((own for own, words in _LOOSE.items() if called in words), name)
