"""What building an index will cost, by building it of two numbers of passages."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from dprkit.indexes.build import WORTH_A_COPY, index
from dprkit.indexes.find_inputs import input_path
from dprkit.indexes.kinds import kind_of
from dprkit.memory import peak_bytes, reset_peak
from dprkit.pipeline.cost_of_encoding import write_few
from dprkit.pipeline.costs import Cost, Range, about, exactly, tried
from dprkit.pipeline.trial import StandIn, Trial, bytes_below, clock
from dprkit.settings import IndexSettings
from dprkit.store.integrity import Verifier

FEW, MANY = 1_000, 5_000
"""Passages of the two indexes that are built where there are more passages than MANY."""
assert MANY < WORTH_A_COPY  # else an ONNX copy would be kept with the retriever


class _Built(NamedTuple):
    """An index that was built to see what it takes."""

    path: str
    passages: int
    seconds: float
    bytes: int
    memory: int


def cost_of_index(settings: IndexSettings, trial: Trial) -> Cost:
    """The whole index, where it is small; else two smaller ones, from which the rest follows."""
    corpus, count, there = _source(settings, trial)
    sizes = [FEW, MANY] if count.likely > MANY else [round(count.likely)]
    built = [_build(there, corpus, size, trial) for size in sizes]
    last = built[-1]
    trial.expect(str(settings.output_dir), StandIn(last.path, count))
    grown = count.times(1 / last.passages)
    notes = []
    if count.likely >= WORTH_A_COPY and kind_of(settings.type).reads == "vectors":
        notes.append("an ONNX copy of the question encoder is made too, in up to a minute")
    return Cost(
        work=f"{count.likely:,.0f} passages",
        seconds=_seconds(built, count),
        disk=exactly(last.bytes).times(grown),
        memory=_memory(built, count),
        notes=tuple(notes),
    )


def _source(settings: IndexSettings, trial: Trial) -> tuple[str, Range, IndexSettings]:
    """The corpus, its passages, and the settings with paths that are there."""
    from dprkit.data.corpus_by_row import PassageFile
    from dprkit.embeddings.shards import Embeddings

    if settings.passages and kind_of(settings.type).reads == "passages":
        found = trial.find(settings.passages)
        count = found.rows or exactly(len(PassageFile(found.path)))
        return found.path, count, replace(settings, embeddings=None)
    found = trial.find(str(settings.embeddings))
    embeddings = Embeddings(found.path)
    wanted = embeddings.manifest.inputs["passages"]
    corpus = found.corpus or str(input_path(found.path, "passages", wanted, Verifier()))
    return corpus, found.rows or exactly(embeddings.count), replace(settings, embeddings=found.path)


def _build(settings: IndexSettings, corpus: str, size: int, trial: Trial) -> _Built:
    """Build the index of `size` passages."""
    from dprkit.embeddings.shards import Embeddings
    from dprkit.pipeline.sized_embeddings import sized

    if settings.embeddings:
        embeddings = Embeddings(settings.embeddings)
        if embeddings.count != size:
            folder = str(sized(embeddings, corpus, size, trial))
            settings = replace(settings, embeddings=folder, passages=None)
    else:
        few = write_few(corpus, trial.folder("passages.tsv"), size)
        settings = replace(settings, passages=str(few))
    folder = str(trial.folder("index"))
    reset_peak()
    with clock() as seconds:
        made = index(replace(settings, output_dir=folder)).passages
    return _Built(folder, made, seconds(), bytes_below(folder), peak_bytes())


def _seconds(built: list[_Built], count: Range) -> Range:
    """What a passage more takes, from one size to the next, goes on for all of them."""
    first, last = built[0], built[-1]
    if first is last:
        return about(last.seconds)
    slope = max(0.0, last.seconds - first.seconds) / (last.passages - first.passages)
    more = Range(*(max(0.0, number - last.passages) for number in count))
    # A graph takes longer for each passage the larger it is; lists do not.
    return about(last.seconds).plus(Range(0.5, 1.0, 2.5).times(slope).times(more))


def _memory(built: list[_Built], count: Range) -> Range:
    """What is held beside the index itself, which some kinds hold whole and others never."""
    last = built[-1]
    more = last.bytes * max(0.0, count.high / last.passages - 1)
    return tried([last.memory]).plus(Range(0, more / 2 if more else 0, more))
