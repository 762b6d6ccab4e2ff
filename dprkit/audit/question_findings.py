"""What `audit` finds out about questions without the corpus: their answers, and their twins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from dprkit.audit.answer_search import answer_key
from dprkit.audit.question_overlap import QuestionOverlap, Twin
from dprkit.data.answer_matching import has_token, tokens_of
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.qrels import read_qrels
from dprkit.data.questions import read_questions
from dprkit.data.selection import normalise
from dprkit.errors import InputError
from dprkit.progress import Note, Progress
from dprkit.records import Question
from dprkit.settings.audit import AuditSettings

Findings = dict[str, list[int]]
"""Name of a figure -> the numbers of the questions that it counts."""


def questions_of(settings: AuditSettings, note: Note) -> list[Question]:
    """The questions; with --qrels those that it judges, with their gold passages.

    Raises InputError for an id twice.
    """
    path = str(settings.questions)
    questions = list(read_questions(path))
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise InputError(
                f"{path}: two questions have the id {question.id!r}; give each an id of its own"
            )
        seen.add(question.id)
    if settings.qrels is None:
        return questions
    qrels = read_qrels(settings.qrels)
    if not seen & qrels.grades.keys():
        raise InputError(f"{settings.qrels}: judges none of the questions of {path}; check both")
    judged = [question for question in questions if question.id in qrels.grades]
    if len(judged) < len(questions):
        note(f"questions without judgement, left out: {len(questions) - len(judged):,}")
    return [replace(question, gold=qrels.relevant(question.id)) for question in judged]


def findings_of_answers(questions: Sequence[Question], match: str) -> Findings:
    """The questions with answers that say little, or nothing."""
    stop_words = _stop_words()

    def says_nothing(answer: str) -> bool:
        return has_token(answer) and stop_words.issuperset(tokens_of(answer))

    def is_bad(answer: str) -> bool:
        return has_token(answer) and answer_key(answer, match) is None

    def with_answer(which: Callable[[str], bool]) -> list[int]:
        return [number for number, q in enumerate(questions) if any(map(which, q.answers))]

    found = {
        "empty_answer": with_answer(lambda answer: not has_token(answer)),
        "without_answers": [number for number, q in enumerate(questions) if not q.answers],
    }
    if match != "string":
        found["unmatchable_answer"] = with_answer(is_bad)
    if match != "regex":
        found["stop_word_answer"] = with_answer(says_nothing)
    return found


def _stop_words() -> frozenset[str]:
    """English words that say nothing, and all signs."""
    from bm25s.stopwords import STOPWORDS_EN

    signs = (chr(n) for n in range(33, 127) if not chr(n).isalnum())
    return frozenset([*STOPWORDS_EN, *signs])


def without_gold(questions: Sequence[Question], corpus: PassageFile) -> list[int]:
    """The questions of which a gold passage is not in the corpus."""
    there = corpus.rows_of({id_ for question in questions for id_ in question.gold})
    return [n for n, question in enumerate(questions) if not there.keys() >= set(question.gold)]


def repeated(questions: Sequence[Question]) -> list[int]:
    """The questions that an earlier one is the same as, but for letter case and punctuation."""
    seen: set[str] = set()
    found = []
    for number, question in enumerate(questions):
        text = normalise(question.question)
        if text in seen:
            found.append(number)
        if text:
            seen.add(text)
    return found


def twins_of(
    questions: Sequence[Question], settings: AuditSettings, progress: Progress
) -> dict[int, Twin]:
    """Number of a question -> the training question that is most like it."""
    overlap = QuestionOverlap([question.question for question in questions], settings.near)
    progress.start("comparing with training questions", None, "questions")
    for path in settings.train_file:
        for question in read_questions(path):
            overlap.add(question.question)
            progress.advance(1)
    progress.finish()
    return overlap.twins
