"""encode-corpus: passages -> shards of vectors, or of token vectors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from dprkit.errors import FormatError, SettingsError, need_extra
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import EncodeSettings, required
from dprkit.store.atomic_files import TEMPORARY
from dprkit.store.begin_or_resume import wanted
from dprkit.store.disk_room import check_room
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.store.shared_work import Parts, shared_draft
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    import numpy as np

    from dprkit.embeddings.append_and_repair import PreviousVectors
    from dprkit.embeddings.shard_contents import Contents
    from dprkit.models.tokens import Ids

T = TypeVar("T")


class EncodeReport(msgspec.Struct):
    """What is encoded: `shards` of `of_shards` are whole (others may be at work on the rest).

    `reused`: passages whose vectors were there before. `tokens`: token vectors of a ColBERT model.
    `cut`: passages that are longer than what the retriever reads; of a bi-encoder those among the
    passages that this process encoded.
    """

    passages: int
    dim: int
    shards: int
    of_shards: int
    reused: int
    outputs: list[str]
    tokens: int | None = None
    cut: int = 0
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

    Raises FormatError for a duplicate or empty id, OutputError where the disk has no room for
    token vectors, MismatchError for settings of another kind of model than the retriever's.
    """
    from dprkit.embeddings.resolved_settings import resolved

    part = _part(shard)
    files_of(settings)
    directory = Path(str(settings.output_dir))
    retriever, passages = str(settings.retriever), str(settings.passages)
    Verifier(run.progress.note).artifact(retriever, "retriever")
    settings, unused = resolved(settings)
    inputs = {"retriever": retriever, "passages": passages}
    if repair or append:
        from dprkit.embeddings import append_and_repair
        from dprkit.embeddings.shard_contents import contents_of

        if repair:
            damaged = wanted(directory, "embeddings", settings, inputs, run, unused=unused)
            append_and_repair.repair(damaged, contents_of(settings, run).files)
        if append:
            append_and_repair.check(directory, settings)
    with shared_draft(directory, "embeddings", settings, inputs, run, unused) as work:
        if work.done:
            return _report(work.done.counts, directory)
        return _Encoding(settings, run, append).into(work, part)


def _report(counts: Mapping[str, Any], directory: Path, reused: int = 0) -> EncodeReport:
    """What a finished artifact counts."""
    shards = counts["shards"]
    of = (counts["passages"], counts["dim"], shards, shards, reused)
    tokens, cut = dict(counts).get("tokens"), dict(counts).get("cut", 0)
    return EncodeReport(*of, outputs=[str(directory)], tokens=tokens, cut=cut)


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
    """Passages on their way: those of which nothing is known have token ids."""

    first: int
    """The row of the first one in the corpus."""
    passages: list[Passage]
    digests: np.ndarray
    known: np.ndarray
    """(N,) bool: of which `before` has what is kept."""
    before: Any
    ids: Ids
    cut: list[bool]
    """Of those with ids: whether they are longer than what the retriever reads."""


class _Encoding:
    """One process's part in encoding a corpus."""

    def __init__(self, settings: EncodeSettings, run: Run, append: bool) -> None:
        from dprkit.data.corpus_by_row import PassageFile
        from dprkit.embeddings.shard_contents import contents_of

        self.settings, self.run, self.append = settings, run, append
        self.contents: Contents = contents_of(settings, run)
        self.corpus = PassageFile(str(settings.passages), run.progress.note)
        self.total = -(-len(self.corpus) // settings.shard_size)
        self.previous: PreviousVectors | None = None
        """What was there before, where its vectors may be taken over."""
        self.reused = self.tokens = self.cut = 0
        self.begin = time.perf_counter()

    def into(self, work: Draft, part: tuple[int, int]) -> EncodeReport:
        """Make the shards that fall to this process, and the artifact if they were the last."""
        from dprkit.embeddings.local_processes import helpers

        mine = range(part[0], self.total, part[1])
        claims = (name for n in range(self.total) for name in self.contents.files(n))
        progress = self.run.progress
        with Parts(work, self.total, claims) as parts:
            before = set(mine) & parts.whole()
            self._check_room(work.directory, set(mine) - before)
            progress.start("encoding", self._count(mine), "passages", self._count(before))
            size = self.settings.num_processes
            if self.settings.engine == "ray":
                from dprkit.embeddings.ray_tasks import on_ray

                on_ray(self._alone(part), size, self.run)
                size = 1  # there is nothing left to help with
            with helpers(self._alone(part), size, progress.warn):
                for number, to_make in parts.shared_out(mine):
                    if to_make:
                        self._make(work, number)
                        parts.done(number, self.contents.files(number))
                    elif number not in before:  # another process has made it
                        progress.advance(len(self._rows(number)))
            progress.finish()
            whole = sorted(parts.whole())
            manifest = parts.finish(lambda: self._counts(work, range(self.total)))
            counts = manifest.counts if manifest else self._counts(work, whole)
        report = _report(counts, work.directory, self.reused)
        report.of_shards = self.total
        self._tell_cut(report)
        self._tell_size(report)
        return report

    def _counts(self, work: Draft, whole: Sequence[int]) -> dict[str, Any]:
        """What the manifest counts, of shards that are whole."""
        counts = {"passages": len(self.corpus), "dim": 0, "shards": len(whole)}
        return counts | self.contents.counts(work.directory, whole)

    def _check_room(self, directory: Path, numbers: set[int]) -> None:
        """Raise OutputError where the disk has no room for these shards of token vectors."""
        from dprkit.embeddings.token_bytes import sample_of

        if not numbers or not self.contents.large:
            return
        needed = self._count(numbers) * self.contents.bytes_a_passage(sample_of(self.corpus))
        begun = 0
        for path in directory.glob(f"{TEMPORARY}*"):
            with suppress(FileNotFoundError):  # another process has just moved it into place
                begun += path.stat().st_size
        check_room(directory, round(needed - begun))

    def _tell_cut(self, report: EncodeReport) -> None:
        from dprkit.models.config import load_config

        report.cut = report.cut or self.cut
        if report.cut:
            longest = load_config(str(self.settings.retriever)).passage_max_length
            report.notes.append(
                f"cut at {longest} tokens: {report.cut:,} of {report.passages:,} passages; "
                "split long passages"
            )
            self.run.progress.note(report.notes[-1])

    def _tell_size(self, report: EncodeReport) -> None:
        """Say where the vectors are cut to a size that the retriever was not trained for."""
        from dprkit.models.config import bi_encoder_config
        from dprkit.models.nested_sizes import untrained

        if size := self.settings.truncate_dim:
            retriever = str(self.settings.retriever)
            config = bi_encoder_config(retriever, "--truncate-dim")
            if told := untrained([size], config, retriever):
                report.notes.append(told)
                self.run.progress.warn(told)

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

    def _count(self, numbers: Iterable[int]) -> int:
        """The passages of these shards."""
        return sum(len(self._rows(number)) for number in numbers)

    def _make(self, work: Draft, number: int) -> None:
        rows, contents = self._rows(number), self.contents
        with contents.growing(work, number, len(rows)) as write:
            for window in _ahead(self._windows(work, number)):
                made = contents.encode(window.ids)
                if unfit := contents.unfit(made):
                    raise self._refused(window, *unfit)
                kept = contents.whole(window.known, window.before, made, window.cut)
                write(kept, [p.id for p in window.passages], window.digests)
                self._tell(window)

    def _refused(self, window: _Window, bad: int, problem: str) -> FormatError:
        """The error for passage `bad` of those of a window that were encoded."""
        at = [place for place, there in enumerate(window.known.tolist()) if not there][bad]
        where, id_ = self.corpus.where(window.first + at), window.passages[at].id
        return FormatError(self.corpus.path, where, f"the vector of passage {id_!r} {problem}")

    def _tell(self, window: _Window) -> None:
        self.reused += int(window.known.sum())
        self.cut += sum(window.cut)
        self.tokens += sum(map(len, window.ids))
        speed = self.tokens / (time.perf_counter() - self.begin)
        self.run.progress.advance(len(window.passages), {"tokens/s": speed})

    def _windows(self, work: Draft, number: int) -> Iterator[_Window]:
        """A shard's passages, tokenised, with what an earlier artifact has of them."""
        import numpy as np

        from dprkit.embeddings import append_and_repair

        rows, contents = self._rows(number), self.contents
        if self.append and self.previous is None:
            self.previous = append_and_repair.previous_vectors(work)
        passages = self.corpus.passages(rows.start, rows.stop)
        first = rows.start
        while window := list(islice(passages, contents.window)):
            digests = append_and_repair.digests(window)
            known: np.ndarray = np.zeros(len(window), bool)
            before = None
            if self.previous:
                known, parts = self.previous.found(window, contents.files)
                before = contents.taken_over(self.previous.directory, parts) if parts else None
            new = [p for p, there in zip(window, known.tolist(), strict=True) if not there]
            ids, cut = contents.retriever.tokens.passages_and_cuts(new)
            yield _Window(first, window, digests, known, before, ids, cut)
            first += len(window)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """`items`, each of which is made in a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
