"""What download and select-data will cost, and how many rows select-data will write."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from msgspec.structs import replace

from dprkit.data.json_rows import read_json_rows
from dprkit.data.selection import select_data
from dprkit.data.split_sizes import needs_count, scaled, shared_out
from dprkit.data.streams import stream_of
from dprkit.download.catalog import load_catalog, match_resources, targets_of
from dprkit.download.download import download
from dprkit.errors import DprkitError, reading
from dprkit.pipeline.costs import Cost, Range, about, exactly, tried
from dprkit.pipeline.trial import StandIn, Trial, clock
from dprkit.settings import DownloadSettings, SelectSettings

PATIENCE = 5.0
"""Seconds that a server may take to tell the size of a file."""
WHOLE = 32 << 20
"""Bytes of sources that are selected from as a whole."""
SAMPLE = 8 << 20
"""Bytes of the rows of a larger source that are tried."""


def cost_of_download(settings: DownloadSettings, trial: Trial) -> Cost:
    """The bytes that the servers tell of; how fast they give them is not known."""
    sizes = _asked(settings) or _in_catalog(settings)
    known, unknown = sum(filter(None, sizes)), sizes.count(None)
    notes = ["how fast the servers are is not known before"]
    if unknown:
        notes.append(f"the size of {unknown} of the files is not known before")
    work = f"{len(sizes):,} file{'s' * (len(sizes) != 1)}"
    disk = exactly(known) if known or not unknown else None
    return Cost(work=work, seconds=None, disk=disk, notes=tuple(notes))


def _asked(settings: DownloadSettings) -> list[int | None]:
    """Bytes of each file to fetch, where the servers answer soon; else nothing."""
    sizes: list[int | None] = []
    quick = replace(settings, timeout=PATIENCE, retries=0)

    def ask() -> None:
        with suppress(DprkitError):
            rows = download(quick, dry_run=True).rows
            sizes.extend(row.bytes for row in rows if row.status == "would fetch")

    asking = Thread(target=ask, daemon=True)  # looking up a name may take longer than any limit
    asking.start()
    asking.join(PATIENCE)
    return sizes


def _in_catalog(settings: DownloadSettings) -> list[int | None]:
    """Bytes of each file that is not there, as far as the catalog knows them."""
    resources = match_resources(settings.names, load_catalog(settings.catalog))
    targets = targets_of(resources, settings.decompress)
    folder = Path(settings.output_dir)
    return [t.bytes or t.about_bytes for t in targets if not (folder / t.result).exists()]


def cost_of_select(settings: SelectSettings, trial: Trial) -> Cost:
    """Small sources are selected from, into the scratch folder; of large ones the first rows."""
    sources = tuple(trial.path(path) for path in settings.sources)
    settings = replace(settings, exclude=tuple(map(trial.path, settings.exclude)))
    if sum(map(os.path.getsize, filter(os.path.exists, sources))) > WHOLE:
        return _of_sample(settings, sources, trial)
    folder = trial.folder("data")
    moved = {name: str(folder / Path(path).name) for name, path in _outputs(settings).items()}
    with clock() as seconds:
        report = select_data(replace(settings, sources=sources, **moved))
    for made in report.outputs:
        trial.expect(_real(settings, moved, made), StandIn(made))
    bytes_ = sum(Path(path).stat().st_size for path in report.outputs)
    work = f"{report.read:,} rows to read, {report.kept:,} to write"
    return Cost(work=work, seconds=about(seconds()), disk=exactly(bytes_))


def _outputs(settings: SelectSettings) -> dict[str, str]:
    main = "output" if settings.output else "output_dir"
    names = (main, "passages_out", "questions_out")
    return {name: path for name in names if (path := getattr(settings, name))}


def _real(settings: SelectSettings, moved: dict[str, str], made: str) -> str:
    """The path that the stage will write where its trial has `made`."""
    for name, path in moved.items():
        if name != "output_dir" and path == made:
            return str(getattr(settings, name))
    return os.path.join(str(settings.output_dir), os.path.basename(made))


# --- large sources --------------------------------------------------------------------------------


def _of_sample(settings: SelectSettings, sources: tuple[str, ...], trial: Trial) -> Cost:
    """By the first rows of the first source; the others are taken to have rows like those."""
    folder = trial.folder("data")
    folder.mkdir()
    sample, read, share = folder / "sample.jsonl", 0, 0.0
    read, share = _first_rows(sources, sample)
    small: dict[str, Any] = {
        "split": None,
        "num_items": None,
        "shuffle": False,
        "offset": 0,
        "output_dir": None,
    }
    small |= {"passages_out": None, "questions_out": None, "split_by": "row"}
    kept_file = str(folder / "train.jsonl")
    with clock() as seconds:
        report = select_data(replace(settings, sources=(str(sample),), output=kept_file, **small))
    qualified = about(report.kept / share)
    sizes = _sizes(settings, int(qualified.likely))
    for path, rows in _paths(settings, sizes).items():
        spread = exactly(rows) if _fixed(settings) else about(rows)
        trial.expect(path, StandIn(kept_file, spread))
    for path in filter(None, (settings.passages_out, settings.questions_out)):
        trial.expect(path, "is of rows that select-data has yet to read")
    passes = 1 + (settings.split_by == "question" or needs_count(settings.split or {}))
    early = _fixed(settings) and not settings.shuffle
    part = min(1.0, sum(sizes.values()) / qualified.likely) if early else 1.0
    bytes_ = Path(kept_file).stat().st_size / max(report.kept, 1) * sum(sizes.values())
    whole = tried([seconds() / share * part * passes])
    work = f"about {read / share * part:,.0f} rows to read, {sum(sizes.values()):,} to write"
    return Cost(work=work, seconds=whole, disk=about(bytes_), scratch=about(bytes_))


def _first_rows(sources: Iterable[str], sample: Path) -> tuple[int, float]:
    """Write the first rows of the first source to `sample`: how many, and the share of all bytes.

    The share is of the bytes as they lie on the disk, packed or not.
    """
    first, *others = sources
    rows = size = 0
    with reading(first), open(first, "rb") as file, sample.open("wb") as target:
        for row in read_json_rows(stream_of(file, first)):
            size += target.write(b" ".join(row.raw.splitlines()) + b"\n")
            rows += 1
            if size > SAMPLE:
                break
        total = sum(map(os.path.getsize, (first, *others)))
        return rows, max(file.tell(), 1) / total


def _fixed(settings: SelectSettings) -> bool:
    """Whether the settings say how many rows are kept, if there are so many."""
    split = settings.split
    if settings.split_by == "question":
        return False
    return not needs_count(split) if split else settings.num_items is not None


def _sizes(settings: SelectSettings, total: int) -> dict[str, int]:
    """Rows of each set, of `total` that qualify; with --split-by question as if each had one."""
    most = max(0, min(settings.num_items or total, total - settings.offset))
    if not settings.split:
        return {"train": most}
    if needs_count(settings.split):
        return shared_out(settings.split, most)
    return scaled({k: v for k, v in settings.split.items() if isinstance(v, int)}, most)


def _paths(settings: SelectSettings, sizes: dict[str, int]) -> dict[str, int]:
    """The files of the sets, with their rows."""
    if settings.output:
        return {settings.output: sizes["train"]}
    folder = str(settings.output_dir)
    return {os.path.join(folder, f"{name}.jsonl"): rows for name, rows in sizes.items()}


def rows_of(range_: Range | None, there: int) -> Range:
    """The rows that there will be: those of the stand-in, where it is the real file."""
    return range_ or exactly(there)
