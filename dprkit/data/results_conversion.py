"""convert-results: rankings of any form -> rankings of another, with texts that they lack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import msgspec
from msgspec.structs import replace

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.questions import read_questions
from dprkit.data.ranking_forms import RankingWriter
from dprkit.data.rankings import read_results
from dprkit.errors import InputError
from dprkit.progress import Run
from dprkit.records import Hit, Passage, Question, Ranking, same_question
from dprkit.settings import ConvertResultsSettings, required
from dprkit.store.atomic_files import write_file

BATCH = 1000
"""Rankings whose passages are looked for in the corpus together."""

Rankings = Iterator[Ranking]


class ConvertResultsReport(msgspec.Struct):
    """What was written. `notes`: what the new form cannot hold, and ids that were not found."""

    questions: int
    passages: int
    to: str
    outputs: list[str]
    notes: list[str] = []


def convert_results(settings: ConvertResultsSettings, run: Run = Run()) -> ConvertResultsReport:
    """Write the rankings of `settings.results` in the form `settings.to`, one after the other.

    Raises FormatError for rankings that read_results refuses, and InputError where no id of the
    rankings is in the corpus or among the questions, or where a question has another text there.
    """
    path = required(settings.results, "--results", "file of rankings")
    report = ConvertResultsReport(0, 0, settings.to, [settings.output])
    sources: list[_Source] = []
    sources += [_Questions(settings.questions)] if settings.questions else []
    sources += [_Passages(settings.passages, run)] if settings.passages else []
    rankings = read_results(path, run.progress.warn)
    for source in sources:
        rankings = source.filled(rankings)
    run.progress.start("converting", None, "questions")
    with write_file(settings.output) as file:
        writer = RankingWriter(settings.to, file, settings.texts)
        for ranking in rankings:
            writer.write(ranking)
            report.questions += 1
            report.passages += len(ranking.hits)
            run.progress.advance(1)
        writer.finish()
        absent = [note for source in sources if (note := source.note())]
    run.progress.finish()
    if writer.lost:
        report.notes.append(f"{settings.to} cannot hold {', '.join(writer.lost)}; left out")
        run.progress.note(report.notes[-1])
    for note in absent:
        run.progress.warn(note)
    report.notes += absent
    return report


# --- what rankings lack ---------------------------------------------------------------------------


class _Source:
    """A file in which what rankings lack is looked for by its ids."""

    what = ""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found, self.absent = 0, set[str]()

    def filled(self, rankings: Rankings) -> Rankings:
        """The rankings with what the file has for them."""
        raise NotImplementedError

    def note(self) -> str:
        """What to say of ids that the file lacks, or "". Raises InputError where it lacks all."""
        if not self.absent:
            return ""
        note = f"{self.path}: {self.what} that it lacks: {len(self.absent):,}"
        note += f", such as {min(self.absent)!r}"
        if not self.found:
            raise InputError(f"{note}, which are all; name the {self.what} of these rankings")
        return note


class _Questions(_Source):
    """The questions of a file."""

    what = "questions"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.known: dict[str, Question] = {}
        for question in read_questions(path):
            if question.id in self.known:
                raise InputError(f"{path}: two questions have the id {question.id!r}")
            self.known[question.id] = question

    def filled(self, rankings: Rankings) -> Rankings:
        for ranking in rankings:
            if known := self.known.get(ranking.question.id):
                self.found += 1
                ranking = replace(ranking, question=self._merged(ranking.question, known))
            else:
                self.absent.add(ranking.question.id)
            yield ranking

    def _merged(self, ranked: Question, known: Question) -> Question:
        """The question of the file, and what only the ranking tells of it."""
        if ranked.question and same_question(ranked.question) != same_question(known.question):
            raise InputError(
                f"{self.path}: question {known.id!r} is {known.question!r}, and in the rankings "
                f"{ranked.question!r}; name the questions that were asked"
            )
        return replace(
            known,
            answers=known.answers or ranked.answers,
            gold=known.gold or ranked.gold,
            dataset=known.dataset or ranked.dataset,
            tags=known.tags or ranked.tags,
        )


class _Passages(_Source):
    """The passages of a corpus, for hits that have no text."""

    what = "passages"

    def __init__(self, path: str, run: Run) -> None:
        super().__init__(path)
        self.corpus = PassageFile(path, run.progress.note)

    def filled(self, rankings: Rankings) -> Rankings:
        while batch := list(islice(rankings, BATCH)):
            wanted = {hit.id for ranking in batch for hit in ranking.hits if not hit.text}
            rows = self.corpus.rows_of(wanted)
            passages = dict(zip(rows, self.corpus.at(list(rows.values())), strict=True))
            self.found += len(passages)
            self.absent |= wanted - rows.keys()
            for ranking in batch:
                yield replace(ranking, hits=tuple(_with_text(h, passages) for h in ranking.hits))


def _with_text(hit: Hit, passages: Mapping[str, Passage]) -> Hit:
    passage = None if hit.text else passages.get(hit.id)
    return replace(hit, title=passage.title, text=passage.text) if passage else hit
