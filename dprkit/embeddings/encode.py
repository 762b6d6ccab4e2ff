"""encode-corpus: passages -> shards of vectors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from dprkit.errors import FormatError, SettingsError, need_extra
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import EncodeSettings, required
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.store.shared_work import Parts, shared_draft
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    import numpy as np

    from dprkit.embeddings.append_and_repair import PreviousVectors
    from dprkit.models.retriever import Retriever
    from dprkit.models.tokens import Ids

WINDOW = 1024
"""Passages that are ordered by length together: it bounds memory and leaves little padding."""
T = TypeVar("T")


class EncodeReport(msgspec.Struct):
    """What is encoded: `shards` of `of_shards` are whole (others may be at work on the rest).

    `reused`: passages whose vectors were there before.
    """

    passages: int
    dim: int
    shards: int
    of_shards: int
    reused: int
    outputs: list[str]
    notes: list[str] = []


def encode_corpus(
    settings: EncodeSettings,
    run: Run = Run(),
    *,
    shard: str | None = None,
    append: bool = False,
    repair: bool = False,
) -> EncodeReport:
    """Encode `settings.passages` with `settings.retriever` into an embeddings artifact.

    Any number of processes and hosts may do so at once: they share the shards out among them. A
    shard is whole or not there, so what is killed costs its last shard; memory is two windows of
    passages.

    `shard`: "3/50" makes only the third of fifty equal parts of the shards. `append`: vectors of
    passages that are as they were come from the artifact that is there. `repair`: shards that are
    not what the manifest says are made again.

    Raises FormatError for a duplicate or empty id.
    """
    part = _part(shard)
    files_of(settings)
    directory = Path(str(settings.output_dir))
    retriever, passages = str(settings.retriever), str(settings.passages)
    Verifier(run.progress.note).artifact(retriever, "retriever")
    inputs = {"retriever": retriever, "passages": passages}
    if repair or append:
        from dprkit.embeddings import append_and_repair

        if repair:
            append_and_repair.repair(directory, settings, inputs, run)
        if append:
            append_and_repair.check(directory, settings)
    with shared_draft(directory, "embeddings", settings, inputs, run) as work:
        if work.done:
            counts = work.done.counts
            shards = counts["shards"]
            of = (counts["passages"], counts["dim"], shards, shards, 0)
            return EncodeReport(*of, outputs=[str(directory)])
        return _Encoding(settings, run, append).into(work, part)


def files_of(settings: EncodeSettings) -> StageFiles:
    """What is read and written. Raises SettingsError, MissingExtra."""
    directory = required(settings.output_dir, "--output-dir", "output")
    retriever = required(settings.retriever, "--retriever", "retriever")
    passages = required(settings.passages, "--passages", "corpus")
    if passages == "-":
        raise SettingsError("--passages: a corpus is read again at search; it cannot be stdin")
    if settings.backend == "onnx" or settings.int8:  # the check imports numpy
        from dprkit.models.retriever import check_backend

        check_backend(settings.backend, settings.int8, settings.precision)
    if settings.engine == "ray":
        need_extra("ray", "ray")
    return StageFiles(
        {"retriever": [retriever], "passages": [passages]},
        directory,
        kinds={"retriever": "retriever"},
        advice={"passages": "name the corpus, or set select-data.passages_out to it"},
    )


def _part(text: str | None) -> tuple[int, int]:
    """Which part of how many, counted from 0: "3/50" -> (2, 50)."""
    if text is None:
        return 0, 1
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise SettingsError(f"--shard: {text!r} is not valid: expected a part such as 3/50")
    return int(number) - 1, int(count)


class _Window(NamedTuple):
    """Passages on their way: those whose vectors are not known have token ids."""

    first: int
    """The row of the first one in the corpus."""
    passages: list[Passage]
    digests: np.ndarray
    known: np.ndarray
    """(N,) bool: whose vector is in `vectors` already."""
    vectors: np.ndarray
    ids: Ids


class _Encoding:
    """One process's part in encoding a corpus."""

    def __init__(self, settings: EncodeSettings, run: Run, append: bool) -> None:
        from dprkit.data.corpus_by_row import PassageFile

        self.settings, self.run, self.append = settings, run, append
        self.corpus = PassageFile(str(settings.passages), run.progress.note)
        self.total = -(-len(self.corpus) // settings.shard_size)
        self.previous: PreviousVectors | None = None
        """What was there before, where its vectors may be taken over."""
        self.reused = self.tokens = 0
        self.begin = time.perf_counter()

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever, loaded when the first shard falls to this process."""
        from dprkit.models.retriever import load_bi_encoder_retriever

        s = self.settings
        return load_bi_encoder_retriever(str(s.retriever), s.backend, s.int8, s.precision, self.run)

    def into(self, work: Draft, part: tuple[int, int]) -> EncodeReport:
        """Make the shards that fall to this process, and the artifact if they were the last."""
        from dprkit.data.npy import mapped
        from dprkit.embeddings.local_processes import helpers
        from dprkit.embeddings.shards import shard_names

        wanted = range(part[0], self.total, part[1])
        names = {number: shard_names(number) for number in range(self.total)}
        claims = (name for shard in names.values() for name in shard)
        progress = self.run.progress
        with Parts(work, self.total, claims) as parts:
            progress.start("encoding", sum(len(self._rows(n)) for n in wanted), "passages")
            size = self.settings.num_processes
            if self.settings.engine == "ray":
                from dprkit.embeddings.ray_tasks import on_ray

                on_ray(self._alone(part), size, self.run)
                size = 1  # there is nothing left to help with
            with helpers(self._alone(part), size, progress.warn):
                for number, mine in parts.shared_out(wanted):
                    if mine:
                        self._make(work, number)
                        parts.done(number, names[number])
                    else:
                        progress.advance(len(self._rows(number)))
            progress.finish()
            whole = parts.whole()
            counts = {"passages": len(self.corpus), "dim": 0, "shards": self.total}
            if whole:
                counts["dim"] = mapped(work.directory / names[min(whole)][0]).shape[1]
            manifest = parts.finish(counts)
        made = manifest.counts if manifest else counts | {"shards": len(whole)}
        return EncodeReport(
            len(self.corpus),
            made["dim"],
            made["shards"],
            self.total,
            self.reused,
            outputs=[str(work.directory)],
        )

    def _alone(self, part: tuple[int, int]) -> Callable[[], object]:
        """What another process is to do, which may begin in another folder of another node."""
        s, names = self.settings, ("retriever", "passages", "output_dir")
        places = {name: os.path.abspath(getattr(s, name)) for name in names}
        alone = msgspec.structs.replace(s, engine="local", num_processes=1, **places)
        shard = f"{part[0] + 1}/{part[1]}"
        run = Run(command=self.run.command)
        return partial(encode_corpus, alone, run, shard=shard, append=self.append)

    def _rows(self, number: int) -> range:
        """The rows of the corpus that are in shard `number`."""
        begin = number * self.settings.shard_size
        return range(begin, min(begin + self.settings.shard_size, len(self.corpus)))

    def _make(self, work: Draft, number: int) -> None:
        from dprkit.embeddings.shards import growing_shard

        rows = self._rows(number)
        retriever, batch_tokens = self.retriever, self.settings.batch_tokens
        with growing_shard(work, number, len(rows), retriever.dim, self.settings.dtype) as write:
            for window in _ahead(self._windows(work, number)):
                made = retriever.encode("passage", window.ids, batch_tokens)
                self._refuse_unfit(made, window)
                window.vectors[~window.known] = made
                write(window.vectors, [p.id for p in window.passages], window.digests)
                self._tell(window)

    def _refuse_unfit(self, made: np.ndarray, window: _Window) -> None:
        """Raise a FormatError for a vector of `made` that is no number, or too large to be kept."""
        import numpy as np

        most = np.finfo(self.settings.dtype).max
        fit = (np.abs(made) <= most).all(axis=1)  # a NaN is not
        if fit.all():
            return
        bad = int(fit.argmin())
        at = int(np.flatnonzero(~window.known)[bad])
        largest = np.abs(made[bad]).max()
        problem = f"is no number (NaN or infinite): {self.settings.retriever} does not read it"
        if np.isfinite(largest):
            problem = f"holds {largest:.3g}, too large for float16; use --dtype float32"
        where = self.corpus.where(window.first + at)
        raise FormatError(
            self.corpus.path, where, f"the vector of passage {window.passages[at].id!r} {problem}"
        )

    def _tell(self, window: _Window) -> None:
        self.reused += int(window.known.sum())
        self.tokens += sum(map(len, window.ids))
        speed = self.tokens / (time.perf_counter() - self.begin)
        self.run.progress.advance(len(window.passages), {"tokens/s": speed})

    def _windows(self, work: Draft, number: int) -> Iterator[_Window]:
        """A shard's passages, tokenised; vectors that an earlier artifact has are filled in."""
        import numpy as np

        from dprkit.embeddings import append_and_repair

        rows, dim = self._rows(number), self.retriever.dim
        if self.append and self.previous is None:
            self.previous = append_and_repair.previous_vectors(work)
        passages = self.corpus.passages(rows.start, rows.stop)
        first = rows.start
        while window := list(islice(passages, WINDOW)):
            digests = append_and_repair.digests(window)
            vectors: np.ndarray = np.zeros((len(window), dim), self.settings.dtype)
            known: np.ndarray = np.zeros(len(window), bool)
            if self.previous:
                known = self.previous.fill(vectors, digests)
            new = [p for p, there in zip(window, known.tolist(), strict=True) if not there]
            ids = self.retriever.tokens.passages(new)
            yield _Window(first, window, digests, known, vectors, ids)
            first += len(window)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """`items`, each of which is made in a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
