"""explain: a question and a passage -> which tokens make their score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.models.config import ColbertConfig, load_config
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import ExplainSettings, required
from dprkit.store.atomic_files import write_file
from dprkit.store.integrity import Verifier

if TYPE_CHECKING:
    from dprkit.models.explanation import Explanation


class TokenMatch(msgspec.Struct):
    """A token of the question, and the token of the passage that is most similar to it.

    `question_place` and `passage_place`: [begin, end] of each in its text, in characters; null for
    a token that was put to the text, such as [CLS].
    """

    question_token: str
    passage_token: str
    similarity: float
    question_place: tuple[int, int] | None
    passage_place: tuple[int, int] | None


class ExplainReport(msgspec.Struct):
    """The score of a question and a passage, which is the sum of the similarities of `matches`.

    `question` and `passage`: the texts as the model reads them.
    """

    score: float
    question: str
    passage: str
    matches: list[TokenMatch]
    outputs: list[str]
    notes: list[str] = []


def explain(settings: ExplainSettings, run: Run = Run()) -> ExplainReport:
    """Score a question and a passage, and tell what each token of the question adds to the score.

    Raises MismatchError for a retriever that compares no tokens.
    """
    question = required(settings.question, "--question", "question").strip()
    if not question:
        raise SettingsError("--question: is empty; give the text of a question")
    retriever = required(settings.retriever, "--retriever", "retriever")
    if not isinstance(load_config(retriever), ColbertConfig):
        raise MismatchError(
            f"{retriever}: is a bi-encoder, which compares whole texts and no tokens; name a "
            "ColBERT model with --retriever"
        )
    passage = _passage(settings, run)
    Verifier(run.progress.note).artifact(retriever, "retriever")
    explained = _explained(retriever, question, passage)
    report = ExplainReport(
        explained.score,
        explained.question.text,
        explained.passage.text,
        _matches(explained),
        [settings.output] if settings.output else [],
    )
    for what, side in (("question", explained.question), ("passage", explained.passage)):
        if rest := side.text[side.read :].strip():
            report.notes.append(
                f"the model reads {len(side.tokens)} tokens of the {what}; it is cut at "
                f"{rest[:30]!r}"
            )
            run.progress.warn(report.notes[-1])
    if settings.output:
        from dprkit.search.explanation_page import page

        with write_file(settings.output) as file:
            file.write(page(explained, retriever).encode())
    return report


def _explained(retriever: str, question: str, passage: Passage) -> Explanation:
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.retriever import load_retriever

    late = load_retriever(retriever)
    assert isinstance(late, LateRetriever)  # by its config
    return late.explanation(question, passage)


def _passage(settings: ExplainSettings, run: Run) -> Passage:
    """The passage that the settings name: by its text, or by its id in a corpus."""
    if settings.id is None:
        text = required(settings.passage, "--passage", "passage")
        return Passage("", text, settings.title or "")
    if settings.passage is not None or settings.title:
        raise SettingsError("--id and --passage both name a passage; give one of them")
    from dprkit.data.corpus_by_row import PassageFile

    corpus = PassageFile(required(settings.passages, "--passages", "corpus"), run.progress.note)
    rows = corpus.rows_of([settings.id])
    if not rows:
        raise InputError(f"{corpus.path}: no passage has the id {settings.id!r}; check --id")
    return corpus.at([rows[settings.id]])[0]


def _matches(explained: Explanation) -> list[TokenMatch]:
    return [
        TokenMatch(
            match.question_token,
            match.passage_token,
            match.similarity,
            explained.question.places[match.question_place],
            explained.passage.places[match.passage_place],
        )
        for match in explained.matches
    ]
