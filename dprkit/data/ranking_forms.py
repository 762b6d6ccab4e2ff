"""The forms in which rankings are written, and what each can hold.

Strings of scores and the order of keys are as DPR and Pyserini write them; DPR's rows have an id
too, which its readers pass over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec
from msgspec.structs import replace

from dprkit.data.examples import context_of
from dprkit.data.rankings import write_ranking
from dprkit.data.trec import falling, write_trec
from dprkit.records import Candidate, Hit, Ranking

PARTS: dict[str, Callable[[Ranking], object]] = {
    "question texts": lambda ranking: ranking.question.question,
    "answers": lambda ranking: ranking.question.answers,
    "gold passages": lambda ranking: ranking.question.gold,
    "data sets": lambda ranking: ranking.question.dataset,
    "tags": lambda ranking: ranking.question.tags,
    "texts": lambda ranking: any(hit.text for hit in ranking.hits),
    "titles": lambda ranking: any(hit.title for hit in ranking.hits),
    "has_answer": lambda ranking: any(hit.has_answer is not None for hit in ranking.hits),
    "teacher's scores": lambda ranking: any(hit.teacher_score is not None for hit in ranking.hits),
    "empty rankings": lambda ranking: not ranking.hits,
}
"""What a ranking may have that not every form holds, and whether one has it."""
_DPR = frozenset(PARTS) - {"gold passages", "data sets", "tags", "teacher's scores"}


class Form(NamedTuple):
    """How rankings are written: what stands before, between and behind them, and each one."""

    write: Callable[[Ranking, BinaryIO], None]
    keeps: frozenset[str]
    """What it can hold, of PARTS."""
    begin: bytes = b""
    between: bytes = b""
    end: bytes = b""


class RankingWriter:
    """A file of rankings in one form."""

    def __init__(self, form: str, file: BinaryIO, texts: bool = True) -> None:
        self.form, self.file, self.texts = FORMS[form], file, texts
        self.lost: list[str] = []
        """What the rankings had and the form cannot hold, of PARTS."""
        self._before = self.form.begin

    def write(self, ranking: Ranking) -> None:
        """Write a ranking behind those before it."""
        if not self.texts:
            ranking = _without_texts(ranking)
        for part, there in PARTS.items():
            if part not in self.form.keeps and part not in self.lost and there(ranking):
                self.lost.append(part)
        self.file.write(self._before)
        self.form.write(ranking, self.file)
        self._before = self.form.between

    def finish(self) -> None:
        """Write what stands behind all rankings."""
        self.file.write((self._before if self._before == self.form.begin else b"") + self.form.end)


def _without_texts(ranking: Ranking) -> Ranking:
    return replace(ranking, hits=tuple(replace(hit, text="") for hit in ranking.hits))


# --- the forms ------------------------------------------------------------------------------------


def _flag(hit: Hit) -> dict[str, bool]:
    return {} if hit.has_answer is None else {"has_answer": hit.has_answer}


def _write_dpr(ranking: Ranking, file: BinaryIO) -> None:
    question = ranking.question
    ctxs = [
        {"id": h.id, "title": h.title, "text": h.text, "score": repr(h.score)} | _flag(h)
        for h in ranking.hits
    ]
    row: dict[str, Any] = {"question": question.question, "answers": question.answers}
    file.write(msgspec.json.encode(row | {"ctxs": ctxs, "id": question.id}))


def _write_pyserini(ranking: Ranking, file: BinaryIO) -> None:
    question = ranking.question
    contexts = [
        {"docid": h.id, "score": repr(h.score)} | _contents(h) | _flag(h) for h in ranking.hits
    ]
    row = {"question": question.question, "answers": question.answers, "contexts": contexts}
    file.write(msgspec.json.encode(question.id) + b": " + msgspec.json.encode(row))


def _contents(hit: Hit) -> dict[str, str]:
    """Title and text as Pyserini's index of Wikipedia has them: the title in quotes on a line."""
    if not (hit.title or hit.text):
        return {}
    return {"text": f'"{" ".join(hit.title.splitlines())}"\n{hit.text}'}


def _write_run_dict(ranking: Ranking, file: BinaryIO) -> None:
    scores = dict(zip([h.id for h in ranking.hits], _kept_or_falling(ranking), strict=True))
    file.write(msgspec.json.encode(ranking.question.id) + b": " + msgspec.json.encode(scores))


def _kept_or_falling(ranking: Ranking) -> list[float]:
    """The scores; as float32 and lowered where the order would not be found in them again."""
    import numpy as np

    scores = [hit.score for hit in ranking.hits]
    lowered = falling(scores)
    same = np.array_equal(np.asarray(scores, "<f4"), np.asarray(lowered, "<f4"))
    return scores if same else lowered


def _write_examples(ranking: Ranking, file: BinaryIO) -> None:
    """A training example: gold passages, or else those that hold an answer, are its positives.

    What else holds an answer is no negative, and is left out.
    """
    question, gold = ranking.question, frozenset(ranking.question.gold)
    positives = [hit for hit in ranking.hits if hit.id in gold]
    positives = positives or [hit for hit in ranking.hits if hit.has_answer]
    others = [hit for hit in ranking.hits if not hit.has_answer and hit not in positives]
    row: dict[str, Any] = {"id": question.id, "question": question.question}
    row |= {"answers": question.answers}
    row |= {"dataset": question.dataset} if question.dataset else {}
    row |= {"tags": question.tags} if question.tags else {}
    row |= {"positive_ctxs": _contexts(positives), "negative_ctxs": []}
    row |= {"hard_negative_ctxs": _contexts(others)}
    file.write(msgspec.json.encode(row) + b"\n")


def _contexts(hits: Sequence[Hit]) -> list[msgspec.Struct]:
    return [
        context_of(Candidate(hit.id, hit.text, hit.title, hit.score, hit.teacher_score))
        for hit in hits
    ]


FORMS = {
    "jsonl": Form(write_ranking, frozenset(PARTS)),
    "dpr": Form(_write_dpr, _DPR, b"[\n", b",\n", b"\n]\n"),
    "trec": Form(write_trec, frozenset()),
    "pyserini": Form(_write_pyserini, _DPR, b"{\n", b",\n", b"\n}\n"),
    "examples": Form(_write_examples, frozenset(PARTS) - {"gold passages", "has_answer"}),
    "run-dict": Form(_write_run_dict, frozenset({"empty rankings"}), b"{\n", b",\n", b"\n}\n"),
}
