"""Settings of download and select-data."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, Count, Pool, Positive, about

Part = Annotated[str, Meta(pattern=r"^(rest|[0-9]+([.][0-9]+)?%)$")]
"""A set of --split: a share, or the rest."""


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch data sets and checkpoints that the catalog names.

    Downloads resume across runs and are checked by length and sha256.

    Example: dprkit download data.retriever.nq-dev
    """

    names: Annotated[
        tuple[str, ...],
        about("Resources to fetch, or the first segments of their names.", flag="argument"),
    ] = ()
    output_dir: Annotated[str, about("Folder to put the files in.", output=True)] = "downloads"
    catalog: Annotated[
        str | None, about("A catalog of your own, added to the built-in one.", path=True)
    ] = None
    mirror: Annotated[
        str | None, about("Fetch from this base URL instead of the servers the catalog names.")
    ] = None
    decompress: Annotated[bool, about("Unpack .gz files; they are kept as they are otherwise.")] = (
        False
    )
    retries: Annotated[Count, about("Tries after a failed request, with growing pauses.")] = 5
    timeout: Annotated[Above0, about("Seconds without a byte after which a try has failed.")] = 30.0


class SelectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Select training examples from DPR files.

    Reads a row at a time and stops as soon as it can.

    Example: dprkit select-data nq-dev.json.gz -o nq.jsonl --num-items 500
    """

    sources: Annotated[
        tuple[str, ...],
        about(
            "DPR files to read: a JSON array or jsonl, plain, .gz or .zst; - is stdin.",
            flag="argument",
            path=True,
            replaces="split",
        ),
    ] = ()
    output: Annotated[
        str | None,
        about(
            "File to write the selected rows to; - is stdout.",
            flag="-o",
            output=True,
            replaces="split output_dir",
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder to write the files of --split to.", workspace="data")
    ] = None
    num_items: Annotated[Positive | None, about("Keep at most this many rows.")] = None
    split: Annotated[
        dict[str, Positive | Part] | None,
        about(
            "Write disjoint sets: rows, shares of the rows that qualify, or the rest. Without "
            "--shuffle each set is a block of the source.",
            metavar="train=80%,valid=500,test=rest",
        ),
    ] = None
    offset: Annotated[Count, about("Pass over this many rows that qualify first.")] = 0
    shuffle: Annotated[
        bool, about("Draw the rows uniformly from the whole source instead of taking the first.")
    ] = False
    seed: Annotated[int, about("Seed of --shuffle.")] = 0
    require: Annotated[
        tuple[Pool, ...],
        about("Pools of passages a row must have.", metavar="positive,hard_negative"),
    ] = ("positive", "negative", "hard_negative")
    min_positives: Annotated[Count, about("Drop rows with fewer positives.")] = 0
    min_hard_negatives: Annotated[Count, about("Drop rows with fewer hard negatives.")] = 0
    min_negatives: Annotated[Count, about("Drop rows with fewer random negatives.")] = 0
    max_hard_negatives: Annotated[
        Count | None, about("Keep only the first so many hard negatives of a row.")
    ] = None
    max_negatives: Annotated[
        Count | None, about("Keep only the first so many random negatives of a row.")
    ] = None
    dedupe: Annotated[
        bool, about("Drop rows whose question, but for case and punctuation, came before.")
    ] = False
    exclude: Annotated[
        tuple[str, ...], about("Drop rows whose question occurs in this file.", path=True)
    ] = ()
    passages_out: Annotated[
        str | None,
        about("Write the distinct passages of the selected rows here, as a DPR tsv.", output=True),
    ] = None
    questions_out: Annotated[
        str | None,
        about("Write the selected questions here: jsonl, or DPR's form for .csv.", output=True),
    ] = None
