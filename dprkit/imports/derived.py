"""What an import makes of what it has read: a corpus of the passages of examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from dprkit.data.examples import read_examples
from dprkit.data.seen import NEW, OTHER, Seen
from dprkit.imports.items import Tally
from dprkit.imports.output import BATCH, PASSAGES, passage_row
from dprkit.records import Passage
from dprkit.store.drafts import Draft

CONFLICT = "passages of examples share an id and differ in text; the first of each was written"


def passages_of_examples(work: Draft, tally: Tally) -> int:
    """Write passages.jsonl, the distinct passages of all example files of `work`; how many.

    For sources without passages of their own. Memory is 10 bytes a passage.
    """
    seen, written, conflicts = Seen(), 0, 0
    with work.file(PASSAGES) as file:
        for passages in _batches(_passages(work)):
            contents = [f"{p.title}\n{p.text}" for p in passages]
            states = seen.add([p.id for p in passages], contents)
            for passage, state in zip(passages, states, strict=True):
                if state == NEW:
                    file.write(passage_row(passage))
                    written += 1
                conflicts += state == OTHER
    if conflicts:
        tally.note(f"{conflicts:,} {CONFLICT}")
    return written


def _passages(work: Draft) -> Iterator[Passage]:
    names = (n for n in sorted(work.record.files) if n.endswith(".jsonl") and "questions" not in n)
    for name in names:
        for example in read_examples(work.directory / name):
            yield from chain(example.positives, example.hard_negatives, example.negatives)


def _batches(passages: Iterator[Passage]) -> Iterator[list[Passage]]:
    batch: list[Passage] = []
    for passage in passages:
        batch.append(passage)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
