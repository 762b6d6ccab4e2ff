"""Settings of audit."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import about

Similarity = Annotated[float, Meta(gt=0, le=1)]
AnyShare = Annotated[float, Meta(ge=0, le=1)]


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Check questions and a corpus before anything is measured with them.

    It finds questions that no retriever can answer from the corpus, questions that training data
    has too, answers that match by chance, and passages that are there twice.

    Example: dprkit audit --passages psgs_w100.tsv.gz --questions nq-test.qa.csv
        --output-dir audit

    Settings:
        passages: File of the corpus.
        questions: File of questions with answers or gold passages.
        qrels: File of judgements, as TREC and BEIR write it; passages with a grade above 0 are
            the gold passages, and questions without judgement are left out.
        train_file: Training data, in any form of questions, to look for the same questions in;
            give the option again for more files.
        retriever: Retriever whose tokenizer counts tokens, to find the passages and questions
            that it would cut; without it, that is not measured.
        output_dir: Folder to write the figures and the tags of the questions to.
        match: How an answer is compared with a passage: as words, as a regular expression, which
            takes ten times longer, or as KILT does it.
        common_share: Share of all passages above which an answer counts as found by chance.
        near: Similarity from which on two texts are near, from 0 to 1: the share of the words of
            both questions, or of the runs of three words of both passages, that both have.
        near_duplicates: Look for passages that are nearly the same too; it takes about as long
            again, and a gigabyte of disk for each 6 million passages.
        fail_if: Figures and the share above which the command fails with exit code 3, as in
            no_answer:0.05; several with commas.
    """

    passages: Annotated[str | None, about(follows=("encode-corpus.passages",))] = None
    questions: Annotated[str | None, about(follows=("evaluate.questions",))] = None
    qrels: Annotated[str | None, about(path=True)] = None
    train_file: Annotated[tuple[str, ...], about(path=True)] = ()
    retriever: Annotated[str | None, about(path=True)] = None
    output_dir: Annotated[str | None, about(workspace="audit")] = None
    match: Literal["string", "regex", "kilt"] = "string"
    common_share: AnyShare = 0.01
    near: Similarity = 0.8
    near_duplicates: bool = False
    fail_if: Annotated[tuple[str, ...], about(metavar="NAME:SHARE", harmless=True)] = ()
