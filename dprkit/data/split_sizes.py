"""The sizes of the sets that `select-data --split` names: rows, shares or the rest."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise

from dprkit.errors import InputError, SettingsError

REST = "rest"
Split = Mapping[str, int | str]
"""Name of a set -> its rows, its share of all rows ("80%"), or "rest"."""
ADVICE = "give shares, such as train=80%,valid=10%,test=rest"


def check_split(split: Split) -> None:
    """Raise SettingsError for shares that are more than there is."""
    if sum(size == REST for size in split.values()) > 1:
        raise SettingsError(
            "--split: only one set can be the rest; give the others a number or a share"
        )
    shares = sum(filter(None, map(_share, split.values())))
    if shares > 1 + 1e-9:
        raise SettingsError(f"--split: its shares are {shares:.0%} together; give at most 100%")


def needs_count(split: Split) -> bool:
    """Whether the sizes depend on how many rows there are."""
    return any(isinstance(size, str) for size in split.values())


def scaled(split: Mapping[str, int], limit: int | None) -> dict[str, int]:
    """Rows of each set, scaled down where their sum is above `limit`, to 1 at least."""
    whole, sets = sum(split.values()), len(split)
    total = min(limit or whole, whole)
    if total < sets:
        raise SettingsError(f"--num-items {total}: too few for {sets} sets; give {sets} or more")
    share = (total - sets) / max(whole - sets, 1)
    upto = enumerate(accumulate(split.values()), start=1)
    ends = [round((end - i) * share) + i for i, end in upto]
    sizes = [end - start for start, end in pairwise([0, *ends])]
    return dict(zip(split, sizes, strict=True))


def shared_out(split: Split, total: int, of: str = "rows") -> dict[str, int]:
    """Rows of each set, of `total`. Shares that make 100 % together leave no row over.

    Raises InputError where there are too few rows, or whatever is counted, for one in each set.
    """
    ends = [round(total * end) for end in accumulate(_share(size) or 0 for size in split.values())]
    shares = [end - start for start, end in pairwise([0, *ends])]
    sizes = {
        name: size if isinstance(size, int) else share
        for (name, size), share in zip(split.items(), shares, strict=True)
    }
    left = total - sum(sizes.values())
    sizes |= {name: left for name, size in split.items() if size == REST}
    empty = [f"{name}={split[name]}" for name, size in sizes.items() if size < 1]
    if left < 0 or empty:
        lack = f"so that {' and '.join(empty)} would be empty" if empty else "fewer than asked for"
        raise InputError(f"--split: {total:,} {of} qualify, {lack}; {ADVICE}")
    return sizes


def _share(size: int | str) -> float | None:
    """The share that "80%" is; None for rows and the rest."""
    return float(size[:-1]) / 100 if isinstance(size, str) and size != REST else None
