"""Mining: a batch of questions in, their lines of train.jsonl out.

questions -> hits of each index        Engine.search
hits -> what was found, united         united_hits.py
... -> what is left, in order          mining_rules.py
... -> lines, counts, scores, sample   mining_rows.py, mining_tally.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dprkit.answer_scores import exact_match
from dprkit.data.answer_matching import has_answer
from dprkit.indexes.indexed_passages import IndexedPassages
from dprkit.models.best_spans import best_spans
from dprkit.records import Candidate, Passage
from dprkit.search.engine import Engine
from dprkit.search.mining_rows import Asked, line_of
from dprkit.search.mining_rules import (
    KEPT,
    LEFT,
    NOT_ASKED,
    RELABELLED,
    RULES,
    Beside,
    Gold,
    familiar,
    gold_of,
    in_order,
    inside,
    sift,
)
from dprkit.search.mining_tally import SCORE, Tally, order_of
from dprkit.search.rerank import PAIRS, Reranker
from dprkit.search.same_texts import TextSet
from dprkit.search.united_hits import Found, scores_of, united
from dprkit.settings import MineSettings, ReadSettings

if TYPE_CHECKING:
    from dprkit.models.reading import Reader


@dataclass
class _Question:
    """One question on its way."""

    asked: Asked
    found: Found
    passages: list[Passage]
    """Of what was found."""
    gold: Gold
    outcomes: list[str]
    """Of each passage."""
    queue: Iterator[int] = field(default_factory=lambda: iter(()))
    """Places of what is left, in the order in which they are taken."""
    seen: TextSet = field(default_factory=TextSet)
    taken: list[int] = field(default_factory=list)

    def next(self, count: int) -> list[int]:
        """The next places, up to `count`, whose texts were not there before."""
        places: list[int] = []
        while len(places) < count and (place := next(self.queue, None)) is not None:
            if self.seen.add(self.passages[place].text):
                places.append(place)
            else:
                self.outcomes[place] = "repeated_text"
        return places

    def at(self, outcome: str) -> list[int]:
        """The places of an outcome."""
        return [i for i, one in enumerate(self.outcomes) if one == outcome]


class Miner:
    """Mines with opened indexes."""

    def __init__(
        self,
        engines: Sequence[Engine],
        passages: IndexedPassages,
        settings: MineSettings,
        teacher: Reranker | None = None,
        reader: Reader | None = None,
    ) -> None:
        """`reader`: for --relabel reader."""
        self.engines, self.passages, self.settings = engines, passages, settings
        self.teacher, self.reader = teacher, reader

    def mine(self, batch: Sequence[Asked], tally: Tally) -> tuple[bytes, bytes]:
        """The lines of a batch of questions, and its scores as SCORE; what is counted is added."""
        there = [asked for asked in batch if asked.positives]
        tally.gold_missing += len(batch) - len(there)
        if not there:
            return b"", b""
        questions = self._sifted(there)
        self._confirm(questions)
        self._take(questions)
        lines, scores = [], []
        for one in questions:
            lines.append(self._finish(one, tally))
            scores.append(_scores(one))
        return b"".join(lines), np.concatenate(scores).tobytes()

    def _sifted(self, batch: Sequence[Asked]) -> list[_Question]:
        """The questions with what was found for them and its outcomes."""
        texts = [asked.question for asked in batch]
        found = united([engine.search(texts, self.settings.to_rank) for engine in self.engines])
        rows = np.unique(np.concatenate([one.rows for one in found])).tolist()
        by_row = dict(zip(rows, self.passages.at(rows), strict=True))
        beside = [Beside.of(asked, self.settings.merge) for asked in batch]
        known, by_id = familiar(beside, by_row), self._rows_of(batch)
        golds = [
            gold_of(by_id, asked, one.rows.tolist(), by_row, known)
            for asked, one in zip(batch, found, strict=True)
        ]
        scores = scores_of(self.engines, texts, np.array([gold.row for gold in golds]), found)
        questions = []
        for asked, one, names, gold, own in zip(batch, found, beside, golds, scores, strict=True):
            rows = one.rows.tolist()
            passages, gold = [by_row[row] for row in rows], gold._replace(scores=own)
            rules = {i: names.rule(by_row[r], known[r]) for i, r in enumerate(rows) if r in known}
            rules = {place: rule for place, rule in rules.items() if rule != LEFT}
            outcomes = sift(asked, one, passages, gold, rules, self.settings)
            questions.append(_Question(asked, one, passages, gold, outcomes))
        return questions

    def _rows_of(self, batch: Sequence[Asked]) -> dict[str, int]:
        """id -> row of the positives that the corpus has with the same text."""
        positives = {p.id: p for asked in reversed(batch) for p in reversed(asked.positives)}
        rows = self.passages.rows_of(positives)
        there = zip(rows.items(), self.passages.at(list(rows.values())), strict=True)
        return {id_: row for (id_, row), p in there if p.text in TextSet([positives[id_].text])}

    def _confirm(self, questions: Sequence[_Question]) -> None:
        """Leave a passage relabelled only if the reader's best answer in it is an answer."""
        relabelled = [(one, place) for one in questions for place in one.at(RELABELLED)]
        for begin in range(0, len(relabelled) if self.reader else 0, PAIRS):
            part = relabelled[begin : begin + PAIRS]
            passages = [one.passages[place] for one, place in part]
            best = _best_answers(self.reader, [one.asked.question for one, _ in part], passages)
            for (one, place), answer in zip(part, best, strict=True):
                if not self._is_answer(answer, one.asked.answers):
                    is_asked_for = inside(one.found, self.settings)[place]
                    one.outcomes[place] = "answer" if is_asked_for else NOT_ASKED

    def _is_answer(self, text: str, answers: Sequence[str]) -> bool:
        if self.settings.match == "regex":
            return has_answer(answers, text, "regex")
        return exact_match(text, answers)

    def _take(self, questions: Sequence[_Question]) -> None:
        """Take as many as are asked for of what is left, and what the teacher does not refuse."""
        for one in questions:
            left = np.array(one.at(LEFT), np.int64)
            order = in_order(one.asked, left, one.found, one.gold, self.settings)
            one.queue = iter(order.tolist())
        bars = self._bars(questions)
        open_ = list(range(len(questions)))
        while open_:
            next_ = {
                q: questions[q].next(self.settings.num - len(questions[q].taken)) for q in open_
            }
            open_ = [q for q in open_ if next_[q]]
            refused = self._refused(questions, {q: next_[q] for q in open_}, bars)
            for q in open_:
                for place in next_[q]:
                    if (q, place) in refused:
                        questions[q].outcomes[place] = "teacher"
                    else:
                        questions[q].taken.append(place)
                        questions[q].outcomes[place] = KEPT
            open_ = [q for q in open_ if len(questions[q].taken) < self.settings.num]

    def _bars(self, questions: Sequence[_Question]) -> np.ndarray:
        """(Q,) what the teacher may give at most; infinite where it does not know the positive."""
        bars = np.full(len(questions), np.inf)
        if self.teacher:
            rows = np.array([one.gold.row for one in questions])
            scores = self.teacher.scores([one.asked.question for one in questions], rows[:, None])
            bars[rows >= 0] = scores[rows >= 0, 0] + self.settings.teacher_margin
        return bars

    def _refused(
        self, questions: Sequence[_Question], next_: Mapping[int, list[int]], bars: np.ndarray
    ) -> set[tuple[int, int]]:
        """Those of the next places of each question that the teacher gives too much."""
        asked = [q for q in next_ if np.isfinite(bars[q])]
        if not self.teacher or not asked:
            return set()
        rows = np.full((len(asked), max(len(next_[q]) for q in asked)), -1, np.int64)
        for line, q in zip(rows, asked, strict=True):
            line[: len(next_[q])] = questions[q].found.rows[next_[q]]
        scores = self.teacher.scores([questions[q].asked.question for q in asked], rows)
        return {
            (q, place)
            for q, line in zip(asked, scores, strict=True)
            for place, score in zip(next_[q], line.tolist(), strict=False)
            if score > bars[q]
        }

    # --- what comes of it -------------------------------------------------------------------------

    def _finish(self, one: _Question, tally: Tally) -> bytes:
        """Count what became of a question's passages, and its line."""
        one.taken.sort()
        relabelled = one.at(RELABELLED)
        line, merged = line_of(
            one.asked,
            [_candidate(one, place) for place in one.taken],
            [_candidate(one, place) for place in relabelled],
            self.settings.merge,
        )
        for outcome, count in Counter(one.outcomes).items():
            if outcome in RULES:
                tally.dropped[outcome] = tally.dropped.get(outcome, 0) + count
        tally.candidates += int(inside(one.found, self.settings).sum())
        tally.mined += len(one.taken)
        tally.relabelled += len(relabelled)
        tally.merged += merged
        tally.short += len(one.taken) < self.settings.num
        tally.none += not one.taken
        tally.without_answers += not one.asked.answers
        tally.unscored += bool(np.isnan(one.gold.scores).all())
        self._sample(one, tally)
        tally.questions += 1
        return line

    def _sample(self, one: _Question, tally: Tally) -> None:
        """Offer one decision of each outcome to the sample."""
        size = self.settings.audit
        for outcome in dict.fromkeys(one.outcomes):
            if outcome in ("", LEFT) or not size:
                continue
            order = order_of(self.settings.seed, one.asked.question, outcome)
            if tally.wants(outcome, order, size):
                places = one.at(outcome)
                decision = _decision(one, places[order % len(places)], outcome)
                tally.offer(outcome, order, decision, size)


def _best_answers(
    reader: Reader | None, questions: Sequence[str], passages: Sequence[Passage]
) -> Iterator[str]:
    """The reader's best answer in each passage for its question; "" where it has none."""
    assert reader
    logits = reader.logits(questions, passages)
    for passage, read in zip(passages, logits, strict=True):
        pair = read.start, read.end
        spans = best_spans(pair, read.offsets, passage.text, ReadSettings().max_answer_length)
        yield passage.text[spans[0].start : spans[0].end] if spans else ""


def _candidate(one: _Question, place: int) -> Candidate:
    passage = one.passages[place]
    score = float(one.found.scores[place])
    return Candidate(passage.id, passage.text, passage.title, score)


def _scores(one: _Question) -> np.ndarray:
    """SCORE of a question: its positive by each index, and each of its negatives."""
    known = np.flatnonzero(~np.isnan(one.gold.scores))
    lines = np.zeros(len(known) + len(one.taken), SCORE)
    own, pairs = np.split(lines, [len(known)])
    own["index"], own["positive"], own["negative"] = known, one.gold.scores[known], np.nan
    pairs["index"] = one.found.sources[one.taken]
    pairs["positive"] = one.gold.scores[pairs["index"]]
    pairs["negative"] = one.found.scores[one.taken]
    return lines


def _decision(one: _Question, place: int, outcome: str) -> dict[str, Any]:
    """What a person needs to judge what became of a passage."""
    found, gold = one.found, one.gold
    source = int(found.sources[place])
    positive = next(iter(one.asked.positives))
    return {
        "outcome": outcome,
        "question": one.asked.question,
        "answers": list(one.asked.answers),
        "passage": _shown(one.passages[place]),
        "rank": int(found.ranks[place]),
        "score": float(found.scores[place]),
        "index": source,
        "positive": _shown(positive),
        "positive_rank": int(found.ranks[gold.place]) if gold.place >= 0 else None,
        "positive_score": _number(gold.scores[source]),
    }


def _shown(passage: Passage) -> dict[str, str]:
    return {"id": passage.id, "title": passage.title, "text": passage.text}


def _number(score: Any) -> float | None:
    return None if np.isnan(score) else float(score)
