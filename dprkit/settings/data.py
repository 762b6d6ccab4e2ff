"""Settings of download and select-data."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, Count, Pool, Positive, about

Part = Annotated[str, Meta(pattern=r"^(rest|[0-9]+([.][0-9]+)?%)$")]
"""A set of --split: a share, or the rest."""


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Download data sets and checkpoints.

    A stopped download goes on where it stopped. Each file is checked by its length, and
    by its sha256 where the catalog has one. The first download of a file records its sha256 in the
    output folder, and a later download of the file must have the same.

    Example: dprkit download data.retriever.nq-dev

    Settings:
        names: Names of the resources to download; a name's first segments stand for all names
            that begin with them.
        output_dir: Folder to write the files to.
        catalog: YAML file of more resources, which are added to the built-in catalog.
        mirror: Base URL to fetch the files from, instead of the servers that the catalog names.
        decompress: Unpack .gz files instead of keeping them packed.
        retries: How many times a failed request is sent again, after longer and longer pauses.
        timeout: Seconds without a byte from the server after which a request has failed.
    """

    names: Annotated[tuple[str, ...], about(flag="argument")] = ()
    output_dir: Annotated[str, about(output=True)] = "downloads"
    catalog: Annotated[str | None, about(path=True)] = None
    mirror: str | None = None
    decompress: bool = False
    retries: Count = 5
    timeout: Above0 = 30.0


class SelectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Select training examples from DPR files of any size.

    The files are read row by row; without --shuffle, reading ends at the last row that is needed.

    Example: dprkit select-data nq-dev.json.gz -o nq.jsonl --num-items 500

    Settings:
        sources: DPR files to read: a JSON array or jsonl, plain, .gz or .zst; - is stdin.
        output: File to write the selected rows to; - is stdout.
        output_dir: Folder to write the sets of --split to, one file a set.
        num_items: Keep at most this many rows, over all sets.
        split: Write several sets that share no row. The size of a set is a number of rows, a
            share of the rows that qualify, or the rest. Without --shuffle each set is a block
            of the source.
        split_by: What is never parted between two sets, and counted for their sizes: a row, or
            all rows of a question; letter case and punctuation do not count.
        offset: Pass over this many rows that qualify before the first row is kept.
        shuffle: Draw the rows at random from the whole source instead of keeping the first
            rows.
        seed: Seed of --shuffle.
        require: Kinds of passages that a row must have; a row that lacks one of the kinds is
            dropped.
        min_positives: Drop rows with fewer positives than this.
        min_hard_negatives: Drop rows with fewer hard negatives than this.
        min_negatives: Drop rows with fewer random negatives than this.
        max_hard_negatives: Keep only the first hard negatives of a row, at most this many.
        max_negatives: Keep only the first random negatives of a row, at most this many.
        dedupe: Drop a row whose question an earlier row has too; letter case and punctuation do
            not count.
        exclude: File of questions; rows that ask one of its questions are dropped.
        passages_out: File to write the distinct passages of the selected rows to, as a DPR tsv.
        questions_out: File to write the selected questions to: jsonl, or DPR's qa.csv where its
            name ends in .csv.
    """

    sources: Annotated[tuple[str, ...], about(flag="argument", path=True, replaces="split")] = ()
    output: Annotated[str | None, about(flag="-o", output=True, replaces="split output_dir")] = None
    output_dir: Annotated[str | None, about(workspace="data")] = None
    num_items: Positive | None = None
    split: Annotated[
        dict[str, Positive | Part] | None, about(metavar="train=80%,valid=500,test=rest")
    ] = None
    split_by: Literal["row", "question"] = "row"
    offset: Count = 0
    shuffle: bool = False
    seed: int = 0
    require: Annotated[tuple[Pool, ...], about(metavar="positive,hard_negative")] = (
        "positive",
        "negative",
        "hard_negative",
    )
    min_positives: Count = 0
    min_hard_negatives: Count = 0
    min_negatives: Count = 0
    max_hard_negatives: Count | None = None
    max_negatives: Count | None = None
    dedupe: bool = False
    exclude: Annotated[tuple[str, ...], about(path=True)] = ()
    passages_out: Annotated[str | None, about(output=True)] = None
    questions_out: Annotated[str | None, about(output=True)] = None
