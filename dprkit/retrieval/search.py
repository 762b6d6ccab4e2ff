"""search: questions -> rankings, from an index and what its manifests lead to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.data.formats import read_passages, read_questions, write_ranking, write_trec
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.files import write_file
from dprkit.manifests import Input, identify, is_artifact, read_manifest
from dprkit.progress import Run
from dprkit.records import Hit, Passage, Question, Ranking
from dprkit.settings import SearchSettings, required

if TYPE_CHECKING:
    import numpy as np

    from dprkit.models.retriever import Retriever

BATCH = 256


class SearchReport(msgspec.Struct):
    """What was searched and where the rankings are."""

    questions: int
    topk: int
    outputs: list[str]
    notes: list[str] = []


def search(settings: SearchSettings, run: Run = Run()) -> SearchReport:
    """Write a ranking for each of `settings.questions`, in their order."""
    path = required(settings.questions, "--questions", "questions")
    index = required(settings.index, "--index", "index")
    questions = list(read_questions(path))
    searcher = open_index(index, settings.retriever, settings.passages)
    write = write_ranking if settings.format == "results" else write_trec
    run.progress.start("searching", len(questions), "questions")
    with write_file(settings.output) as file:
        for ranking in searcher.rankings(questions, settings.topk):
            write(ranking, file)
            run.progress.advance(1)
    run.progress.finish()
    return SearchReport(len(questions), settings.topk, [settings.output])


def open_index(
    index: Path | str, retriever: Path | str | None = None, passages: Path | str | None = None
) -> Searcher:
    """The index in a folder, with the retriever and the corpus that its manifest names.

    `retriever` and `passages` say where those lie now, if they were moved. Raises InputError
    where one is missing and MismatchError where it is not the one the index was made from.
    """
    made_from = read_manifest(index, "index").inputs
    found_retriever = _same(index, made_from["retriever"], retriever, "--retriever")
    found_passages = _same(index, made_from["passages"], passages, "--passages")
    return Searcher(index, found_retriever, found_passages)


def _same(index: Path | str, wanted: Input, path: Path | str | None, flag: str) -> Path:
    """The path of an input of the index, checked to hold what it held when that was made."""
    here = Path(path or wanted.path)
    what = flag.removeprefix("--")
    if not here.exists():
        raise InputError(f"{index}: its {what} {here} is gone; say where it lies with {flag}")
    if wanted.identity.startswith("retriever:") and not is_artifact(here):
        read_manifest(here, "retriever")
    found = identify(here, wanted)
    if found.identity != wanted.identity:
        raise MismatchError(
            f"{index}: was made with the {what} {wanted.path} ({wanted.identity[:23]}), "
            f"but {here} holds {found.identity[:23]}; make the embeddings and the index again"
        )
    return here


class Searcher:
    """An opened index: questions in, rankings out."""

    def __init__(self, index: Path | str, retriever: Path, passages: Path) -> None:
        from dprkit.retrieval.faiss_index import FaissIndex

        self.index = FaissIndex(index)
        self.retriever_path, self.passages_path = retriever, passages

    @cached_property
    def retriever(self) -> Retriever:
        """The retriever, loaded when the first question comes."""
        from dprkit.models.retriever import load_retriever

        return load_retriever(self.retriever_path)

    def search(self, questions: Iterable[str], topk: int = 100) -> list[Ranking]:
        """The best `topk` passages for each question (fewer where the corpus is smaller)."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        asked = [Question(str(number), text) for number, text in enumerate(questions)]
        return list(self.rankings(asked, topk))

    def rankings(self, questions: Iterable[Question], topk: int) -> Iterator[Ranking]:
        """The rankings of `questions`, in their order.

        Memory: rows and scores of all questions, and the text of every passage that is in a
        ranking, which is read in one pass over the corpus.
        """
        if topk < 1:
            raise SettingsError(f"--topk: {topk} will not do: expected a number from 1 up")
        asked = list(questions)
        if not asked:
            return
        _refuse_duplicates(asked)
        rows, scores = self._search(asked, topk)  # (Q, K) each
        passages = _fetch(self.passages_path, rows)
        for question, own_rows, own_scores in zip(asked, rows, scores, strict=True):
            hits = [
                Hit(passages[row].id, score, passages[row].title, passages[row].text)
                for row, score in zip(own_rows.tolist(), own_scores.tolist(), strict=True)
            ]
            yield Ranking(question, tuple(hits))

    def absent(self, ids: set[str]) -> set[str]:
        """Those of `ids` that no passage of the corpus has; reads it until all are found."""
        left = set(ids)
        for passage in read_passages(self.passages_path):
            if not left:
                break
            left.discard(passage.id)
        return left

    def _search(self, questions: list[Question], topk: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        found = []
        waiting = iter(questions)
        while batch := list(islice(waiting, BATCH)):
            vectors = self.retriever.encode_questions([q.question for q in batch])
            found.append(self.index.search(vectors, topk))
        rows, scores = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(scores)


def _refuse_duplicates(questions: list[Question]) -> None:
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise InputError(f"two questions have the id {question.id!r}; ids must differ")
        seen.add(question.id)


def _fetch(path: Path, rows: np.ndarray) -> dict[int, Passage]:
    """The passages at `rows` of the corpus, read in one pass that stops at the last of them."""
    import numpy as np

    wanted = set(np.unique(rows).tolist())
    found: dict[int, Passage] = {}
    for row, passage in enumerate(read_passages(path)):
        if row in wanted:
            found[row] = passage
        if len(found) == len(wanted):
            break
    return found
