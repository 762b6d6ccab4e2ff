"""What the name of a source says: the beginning of ids that it lacks, the split that it is of."""

from __future__ import annotations

import re
from pathlib import Path

_ENDINGS = re.compile(r"(\.(gz|zst|bz2|xz|zip|jsonl?|tsv|csv|txt|xml|qa))+$")
_VALID = ("dev", "val", "validation")


def stem(path: Path) -> str:
    """The name of a file without what says how it is written: nq-dev of nq-dev.qa.csv.gz."""
    return _ENDINGS.sub("", path.name) or path.name


def split_name(name: str) -> str:
    """The name of a split as dprkit's files have it: dev is called valid."""
    return "valid" if name in _VALID else name
