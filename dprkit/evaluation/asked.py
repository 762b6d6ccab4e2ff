"""Rankings with what is asked of them: the questions, and the judgements of their passages.

rankings of an index or of a file -> the same, each with its question as --questions has it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dprkit.data.qrels import Qrels, read_qrels
from dprkit.data.questions import read_questions
from dprkit.data.rankings import read_results
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.evaluation.judging import refuse_empty_answer
from dprkit.evaluation.measures import FIRST_RANK_DEPTHS, parse
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.records import Question, Ranking, same_question
from dprkit.settings import EvaluateSettings


class Asked(NamedTuple):
    """What rankings are judged by."""

    questions: dict[str, Question] | None
    """By id; None: those that the rankings have."""
    qrels: Qrels | None
    with_pages: bool = False
    """Whether KILT's pages are looked for."""

    def is_judged(self, question: Question) -> bool:
        """Whether there is anything to look for."""
        graded = question.gold if self.qrels is None else question.id in self.qrels.grades
        return bool(question.answers or graded or (self.with_pages and question.pages))

    @property
    def kind(self) -> str:
        """What the passages to find are called."""
        return "gold" if self.qrels is None else "relevant"

    def relevant(self, question: Question) -> Sequence[str]:
        """The passages to find."""
        return question.gold if self.qrels is None else self.qrels.relevant(question.id)

    def absent_from(self, found: set[str]) -> Iterator[Question]:
        """The judged questions that are not among those found."""
        if self.questions is not None:
            known = iter(self.questions.values())
        else:
            ids = () if self.qrels is None else self.qrels.grades
            known = (Question(id_, "") for id_ in ids)
        return (one for one in known if one.id not in found and self.is_judged(one))


def read_asked(settings: EvaluateSettings) -> Asked:
    """The questions and judgements of the settings. Raises FormatError, InputError."""
    qrels = None if settings.qrels is None else read_qrels(settings.qrels)
    if settings.questions is None:
        if settings.pages:
            raise SettingsError("--pages: KILT's questions name the pages; give --questions")
        return Asked(None, qrels, settings.pages)
    path, questions = settings.questions, dict[str, Question]()
    for question in read_questions(path):
        refuse_empty_answer(question, path)
        if question.id in questions:
            raise InputError(f"{path}: two questions have the id {question.id!r}; ids must differ")
        questions[question.id] = question
    if settings.pages and not any(question.pages for question in questions.values()):
        raise InputError(f"{path}: no question names pages, as provenance in KILT's files does")
    return Asked(questions, qrels, settings.pages)


# --- rankings -------------------------------------------------------------------------------------


def rankings_of_file(settings: EvaluateSettings, asked: Asked, run: Run) -> Iterator[Ranking]:
    """The rankings that are there, of the questions that are asked."""
    left_out = 0
    for ranking in read_results(str(settings.results), run.progress.warn):
        if wanted := asked_for(ranking, asked, settings):
            yield wanted
        else:
            left_out += 1
    tell_left_out(left_out, settings, run)


def asked_for(ranking: Ranking, asked: Asked, settings: EvaluateSettings) -> Ranking | None:
    """A ranking with the question as it is asked; None: nobody asks it."""
    if asked.questions is None:
        refuse_empty_answer(ranking.question, str(settings.results))
        return ranking
    if known := asked.questions.get(ranking.question.id):
        check_text(ranking.question, known, str(settings.questions), str(settings.results))
        return Ranking(known, ranking.hits)
    return None


def tell_left_out(count: int, settings: EvaluateSettings, run: Run) -> None:
    """Warn of rankings of questions that nobody asked for."""
    if count:
        run.progress.warn(
            f"{count:,} rankings of {settings.results} are of questions that are not in "
            f"{settings.questions}, and are left out"
        )


def check_text(found: Question, known: Question, questions: str, results: str) -> None:
    """Refuse what `results` has of another question. TREC runs have no texts of questions."""
    if found.question and same_question(found.question) != same_question(known.question):
        raise MismatchError(
            f"question {known.id!r} is {known.question!r} in {questions} and "
            f"{found.question!r} in {results}; give both the same questions"
        )


def search_depth(settings: EvaluateSettings) -> int:
    """How many passages an index is searched for: enough for mrr@10 and nDCG@10 too."""
    named = parse(settings.metrics) if settings.metrics is not None else ()
    least = min(FIRST_RANK_DEPTHS[0], settings.rerank_depth or FIRST_RANK_DEPTHS[0])
    return max(*settings.topk, *(measure.cut for measure in named), least)


def rankings_of_index(
    settings: EvaluateSettings, folder: IndexFolder, asked: Asked, depth: int, run: Run
) -> Iterator[Ranking]:
    """The best `depth` passages for each question that is judged, searched for."""
    from dprkit.search.open_index import open_engines
    from dprkit.search.open_reranker import batch_size, reranked
    from dprkit.search.searcher import BATCH, Searcher

    questions = judged_questions(settings, asked, run)
    depths = {"candidates": settings.candidates}
    (engine,), passages = open_engines([folder], depths, run.progress.note, settings.prompt)
    engine = reranked(engine, settings, folder, passages, run.progress.note)
    searcher = Searcher(engine, passages)
    run.progress.note(f"searching with {len(questions)} questions")
    if absent := searcher.absent({id_ for one in questions for id_ in asked.relevant(one)}):
        run.progress.warn(
            f"{len(absent)} {asked.kind} passages are not in the corpus and count as misses, "
            f"such as {min(absent)}"
        )
    yield from searcher.rankings(questions, depth, batch_size(settings, BATCH))


def judged_questions(settings: EvaluateSettings, asked: Asked, run: Run = Run()) -> list[Question]:
    """The questions to search with: with qrels, those that are judged.

    BEIR's queries.jsonl has the questions of all its splits. Raises InputError where none is
    judged.
    """
    questions = list((asked.questions or {}).values())
    judged = [question for question in questions if asked.is_judged(question)]
    if not judged:
        if asked.qrels is not None:
            raise InputError(f"{no_common_question(settings, questions[0].id, asked.qrels)}")
        raise InputError(
            f"{settings.questions}: no question has an answer or a gold passage to look for; add "
            "answers or passage_ids to it, or give --qrels (docs/formats.md tells how)"
        )
    if asked.qrels is None:
        return questions
    if len(judged) < len(questions):
        run.progress.note(
            f"questions that nothing judges, not searched for: {len(questions) - len(judged):,}"
        )
    return judged


def no_common_question(settings: EvaluateSettings, id_: str, qrels: Qrels) -> str:
    """The message for judgements of other questions, one of which has the id."""
    path = settings.results or settings.questions
    return (
        f"{settings.qrels} judges no question of {path}: their first ids are "
        f"{next(iter(qrels.grades))!r} and {id_!r}; give the qrels of these questions"
    )
