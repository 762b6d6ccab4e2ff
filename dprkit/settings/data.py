"""Settings of download and select-data."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, Count, Pool, Positive, about

Part = Annotated[str, Meta(pattern=r"^(rest|[0-9]+([.][0-9]+)?%)$")]
"""A set of --split: a share, or the rest."""


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Download data sets and checkpoints.

    A stopped download goes on where it was. A file is checked by its length, and by its sha256
    where the catalog or an earlier download has one.

    Example: dprkit download data.retriever.nq-dev
    """

    names: Annotated[
        tuple[str, ...],
        about("Resources to download, or the first segments of their names.", flag="argument"),
    ] = ()
    output_dir: Annotated[str, about("Folder to put the files in.", output=True)] = "downloads"
    catalog: Annotated[
        str | None, about("YAML file of more resources, added to the built-in catalog.", path=True)
    ] = None
    mirror: Annotated[
        str | None, about("Base URL to fetch from, instead of the servers that the catalog names.")
    ] = None
    decompress: Annotated[bool, about("Unpack .gz files, instead of keeping them packed.")] = False
    retries: Annotated[
        Count, about("How often to repeat a failed request, with growing pauses.")
    ] = 5
    timeout: Annotated[
        Above0, about("Seconds without a byte after which a request has failed.")
    ] = 30.0


class SelectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Select training examples from DPR files.

    The files are read row by row, and no further than needed.

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
    offset: Annotated[Count, about("Skip the first so many rows that qualify.")] = 0
    shuffle: Annotated[
        bool, about("Draw the rows uniformly from the whole source instead of taking the first.")
    ] = False
    seed: Annotated[int, about("Seed of --shuffle.")] = 0
    require: Annotated[
        tuple[Pool, ...],
        about("Kinds of passages that a row must have.", metavar="positive,hard_negative"),
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
        bool, about("Drop a row whose question came before; case and punctuation do not count.")
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
