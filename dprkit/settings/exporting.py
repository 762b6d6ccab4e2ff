"""Settings of export-data."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import Positive, about


class ExportDataSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Write passages, questions and training examples in the forms of other tools.

    With --to beir it writes corpus.jsonl, queries.jsonl and a file of judgements for each split.
    With sentence-transformers it writes rows of plain texts, a file for each file of examples. With
    parquet it writes everything, as a folder that Hugging Face's datasets loads. What it
    writes, import-data reads.

    Example: dprkit export-data data --to beir --output-dir beir

    Example: dprkit export-data --examples train.jsonl --to sentence-transformers --rows n-tuples
        --negatives 5 --output-dir tuples

    Settings:
        data: Folder that import-data, select-data or mine-negatives wrote.
        passages: File of the corpus, in place of the folder's.
        questions: Files of questions, in place of the folder's; several files are splits by their
            names.
        examples: Files of training examples, in place of the folder's; each is a split by its name.
        qrels: File of judgements, in place of the folder's. Without one, the passages that the
            questions name as gold are the judgements.
        to: Form to write.
        output_dir: Folder to write the files to.
        split: Name of the split of questions that are in one file.

    Sentence-transformers:
        rows: A row has an anchor and a positive (pairs), a negative too (triplets), or several
            negatives (n-tuples).
        positives: Make rows of the first positive of an example, or of each of its positives.
        negatives: Negatives of an n-tuple, or triplets of one positive at most; hard negatives
            come first.
        titles: Put the title of a passage and a space before its text.
        form: Kind of the files.
    """

    data: Annotated[str | None, about(flag="argument", path=True)] = None
    passages: Annotated[str | None, about(path=True)] = None
    questions: Annotated[tuple[str, ...], about(path=True)] = ()
    examples: Annotated[tuple[str, ...], about(path=True)] = ()
    qrels: Annotated[str | None, about(path=True)] = None
    to: Literal["beir", "sentence-transformers", "parquet"] = "beir"
    output_dir: Annotated[str | None, about(output=True)] = None
    split: str = "test"
    rows: Literal["pairs", "triplets", "n-tuples"] = "triplets"
    positives: Literal["first", "all"] = "first"
    negatives: Positive = 1
    titles: bool = True
    form: Literal["jsonl", "parquet"] = "jsonl"
