"""Mining: a batch of questions in, their lines of train.jsonl out.

questions -> hits of each index        Engine.search
hits -> what was found, united         united_hits.py
... -> what is left, in order          rules.py
... -> lines, counts, scores, sample   rows.py, tally.py
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dprkit.answer_scores import exact_match
from dprkit.data.answer_matching import has_answer
from dprkit.indexes.indexed_passages import IndexedPassages
from dprkit.mining.rows import Asked, line_of
from dprkit.mining.rules import (
    ALREADY_THERE,
    KEPT,
    LEFT,
    RELABELLED,
    RULES,
    Beside,
    Gold,
    holding,
    in_order,
    inside,
    near,
)
from dprkit.mining.same_texts import TextSet
from dprkit.mining.tally import SCORE, Tally, order_of
from dprkit.mining.united_hits import Found, scores_of, united
from dprkit.models.best_spans import best_spans
from dprkit.records import Candidate, Passage, same_question
from dprkit.search.engine import Engine
from dprkit.search.rerank import PAIRS, Reranker, refuse_nan
from dprkit.settings import MineSettings, ReadSettings

if TYPE_CHECKING:
    from dprkit.models.reading import Reader


NO_GOLD = Gold()


@dataclass(eq=False)
class _Question:
    """One question on its way."""

    asked: Asked
    found: Found
    beside: Beside
    gold: Gold = NO_GOLD
    passages: dict[int, Passage] = field(default_factory=dict)
    """place -> what was read of what was found."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """place -> what became of what was looked at."""
    queue: list[int] = field(default_factory=list)
    """Places that were not looked at, the next one last."""
    near: list[tuple[str, np.ndarray]] = field(default_factory=list)
    """What each margin leaves out."""
    seen: TextSet = field(default_factory=TextSet)
    """Of what is taken."""
    bar: float = math.inf
    """What the teacher may give at most."""
    taken: int = 0
    """Negatives so far."""

    def at(self, outcome: str) -> list[int]:
        """The places of an outcome, ascending."""
        return sorted(place for place, one in self.outcomes.items() if one == outcome)


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
        self._by_row: dict[int, Passage] = {}
        """What was read for the questions of a batch."""

    def mine(self, batch: Sequence[Asked], tally: Tally) -> tuple[bytes, bytes]:
        """The lines of a batch of questions, and its scores as SCORE; what is counted is added."""
        there = [asked for asked in batch if asked.positives]
        tally.gold_missing += len(batch) - len(there)
        if not there:
            return b"", b""
        self._by_row.clear()
        questions = self._searched(there)
        self._find_golds(questions)
        if self.settings.relabel:
            self._relabel(questions)
        self._take(questions)
        lines, scores = [], []
        for one in questions:
            lines.append(self._finish(one, tally))
            scores.append(_scores(one))
        return b"".join(lines), np.concatenate(scores).tobytes()

    def _searched(self, batch: Sequence[Asked]) -> list[_Question]:
        texts = [asked.question for asked in batch]
        found = united([engine.search(texts, self.settings.to_rank) for engine in self.engines])
        return [
            _Question(asked, one, Beside.of(asked, self.settings.merge))
            for asked, one in zip(batch, found, strict=True)
        ]

    def _read(self, wanted: Iterable[tuple[_Question, Iterable[int]]]) -> None:
        """Read the passages at some places of questions."""
        left = [(one, [p for p in places if p not in one.passages]) for one, places in wanted]
        rows = [one.found.rows[places].tolist() for one, places in left]
        missing = list({row for own in rows for row in own if row not in self._by_row})
        self._by_row.update(zip(missing, self.passages.at(missing), strict=True))
        for (one, places), own in zip(left, rows, strict=True):
            one.passages.update(zip(places, map(self._by_row.__getitem__, own), strict=True))

    # --- the positive -----------------------------------------------------------------------------

    def _find_golds(self, questions: Sequence[_Question]) -> None:
        """Find the positive of each question: by its id, or else by its text among what was found;
        and its scores."""
        by_id = self._rows_of(questions)
        for one in questions:
            rows = (by_id.get(positive.id, -1) for positive in one.asked.positives)
            if (row := next((row for row in rows if row >= 0), -1)) >= 0:
                places = np.flatnonzero(one.found.rows == row).tolist()
                one.gold = Gold(row, places[0] if places else -1)
        for begin, end in pairwise((0, 10, 50, self.settings.to_rank * len(self.engines))):
            lost = [one for one in questions if one.gold.row < 0]
            self._read((one, range(begin, min(end, len(one.found.rows)))) for one in lost)
            for one in lost:
                for place in range(begin, min(end, len(one.found.rows))):
                    if one.passages[place].text in one.beside.texts:
                        one.gold = Gold(int(one.found.rows[place]), place)
                        break
        gold_rows = np.array([one.gold.row for one in questions])
        texts = [one.asked.question for one in questions]
        scores = scores_of(self.engines, texts, gold_rows, [one.found for one in questions])
        for one, own in zip(questions, scores, strict=True):
            one.gold = one.gold._replace(scores=own)

    def _rows_of(self, questions: Sequence[_Question]) -> dict[str, int]:
        """id -> row of the positives that the corpus has with the same text."""
        texts = {p.id: p.text for one in questions[::-1] for p in one.asked.positives[::-1]}
        rows = self.passages.rows_of(texts)
        there = zip(rows.items(), self.passages.at(list(rows.values())), strict=True)
        return {
            id_: row
            for (id_, row), p in there
            if same_question(p.text) == same_question(texts[id_])
        }

    # --- relabelled -------------------------------------------------------------------------------

    def _relabel(self, questions: Sequence[_Question]) -> None:
        """Make positives of what ranks above the positive and holds an answer.

        A hard negative of the row does so too, and is none from then on.
        """
        above = [(one, range(one.gold.above(one.found))) for one in questions]
        self._read(above)
        holders = []
        for one, places in above:
            rules = {place: one.beside.rule(one.passages[place]) for place in places}
            left = [place for place in places if rules[place] in (LEFT, ALREADY_THERE)]
            flags = holding(
                one.asked, [one.passages[place].text for place in left], self.settings.match
            )
            holders += [(one, place) for place, flag in zip(left, flags, strict=True) if flag]
        for one, place in self._confirmed(holders):
            if one.seen.add(one.passages[place].text):
                one.outcomes[place] = RELABELLED

    def _confirmed(
        self, holders: Sequence[tuple[_Question, int]]
    ) -> Iterator[tuple[_Question, int]]:
        """Those in which the reader finds an answer, if there is a reader."""
        if self.reader is None:
            yield from holders
            return
        for begin in range(0, len(holders), PAIRS):
            part = holders[begin : begin + PAIRS]
            passages = [one.passages[place] for one, place in part]
            best = _best_answers(self.reader, [one.asked.question for one, _ in part], passages)
            for (one, place), answer in zip(part, best, strict=True):
                if self._is_answer(answer, one.asked.answers):
                    yield one, place

    def _is_answer(self, text: str, answers: Sequence[str]) -> bool:
        if self.settings.match == "regex":
            return has_answer(answers, text, "regex")
        return exact_match(text, answers)

    # --- taken ------------------------------------------------------------------------------------

    def _take(self, questions: Sequence[_Question]) -> None:
        """Look at passages in their order until as many are taken as are asked for."""
        for one in questions:
            rows = inside(one.found, self.settings)
            order = in_order(one.asked, rows, one.found, one.gold, self.settings).tolist()
            one.queue = [place for place in order[::-1] if place not in one.outcomes]
            one.near = near(one.found, one.gold, self.settings)
        self._ask_teacher_of_golds(questions)
        left = list(questions)
        while left:
            looks = [(one, one.queue[-self._lacking(one) :][::-1]) for one in left]
            self._read(looks)
            for one, places in looks:
                del one.queue[len(one.queue) - len(places) :]
                self._judge(one, places)
            self._ask_teacher(looks)
            left = [one for one in left if one.queue and self._lacking(one) > 0]

    def _lacking(self, one: _Question) -> int:
        return self.settings.num - one.taken

    def _judge(self, one: _Question, places: Sequence[int]) -> None:
        """What becomes of passages, by all rules but the teacher's."""
        outcomes = {place: one.beside.rule(one.passages[place]) for place in places}
        left = [place for place in places if outcomes[place] == LEFT]
        texts = [one.passages[place].text for place in left]
        for place, holds in zip(left, holding(one.asked, texts, self.settings.match), strict=True):
            rules = ["answer"] if holds else [name for name, flags in one.near if flags[place]]
            if rules:
                outcomes[place] = rules[0]
            else:
                is_new = one.seen.add(one.passages[place].text)
                outcomes[place] = KEPT if is_new else "repeated_text"
                one.taken += is_new
        one.outcomes |= outcomes

    def _ask_teacher_of_golds(self, questions: Sequence[_Question]) -> None:
        if self.teacher:
            scores = self._scores(questions, np.array([[one.gold.row] for one in questions]))
            for one, score in zip(questions, scores[:, 0].tolist(), strict=True):
                if one.gold.row >= 0:
                    one.bar = score + self.settings.teacher_margin

    def _ask_teacher(self, looks: Sequence[tuple[_Question, Sequence[int]]]) -> None:
        """Leave out those that were just taken and that the teacher gives too much."""
        if not self.teacher:
            return
        new = [(one, [p for p in places if one.outcomes[p] == KEPT]) for one, places in looks]
        new = [(one, places) for one, places in new if places and one.bar < math.inf]
        rows = np.full((len(new), max((len(p) for _, p in new), default=0)), -1, np.int64)
        for line, (one, places) in zip(rows, new, strict=True):
            line[: len(places)] = one.found.rows[places]
        scores = self._scores([one for one, _ in new], rows)
        for line, (one, places) in zip(scores.tolist(), new, strict=True):
            for place, score in zip(places, line, strict=False):
                if score > one.bar:
                    one.outcomes[place] = "teacher"
                    one.taken -= 1

    def _scores(self, questions: Sequence[_Question], rows: np.ndarray) -> np.ndarray:
        """The teacher's scores (Q, C) of (Q, C) rows; of row -1: -inf."""
        assert self.teacher
        texts = [one.asked.question for one in questions]
        scores = self.teacher.scores(texts, rows)
        refuse_nan(scores, texts, "teacher", "--teacher")
        return scores

    # --- what comes of it -------------------------------------------------------------------------

    def _finish(self, one: _Question, tally: Tally) -> bytes:
        """Count what became of a question's passages, and its line."""
        taken, relabelled = one.at(KEPT), one.at(RELABELLED)
        made = [_candidate(one, place) for place in relabelled]
        ids, texts = {passage.id for passage in made}, TextSet(passage.text for passage in made)
        line, merged, positives = line_of(
            one.asked,
            [_candidate(one, place) for place in taken],
            made,
            self.settings.merge,
            lambda one_: one.beside.is_positive(one_) or one_.id in ids or one_.text in texts,
        )
        for outcome, count in Counter(one.outcomes.values()).items():
            if outcome in RULES:
                tally.dropped[outcome] = tally.dropped.get(outcome, 0) + count
        tally.candidates += len(inside(one.found, self.settings))
        tally.looked_at += len(one.outcomes)
        tally.mined += len(taken)
        tally.relabelled += len(relabelled)
        tally.merged += merged
        tally.merged_positives += positives
        tally.short += len(taken) < self.settings.num
        tally.none += not taken
        tally.without_answers += not one.asked.answers
        tally.unscored += bool(np.isnan(one.gold.scores).all())
        self._sample(one, tally)
        tally.questions += 1
        return line

    def _sample(self, one: _Question, tally: Tally) -> None:
        """Offer one decision of each outcome to the sample."""
        size = self.settings.audit
        for outcome in dict.fromkeys(one.outcomes.values()) if size else ():
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
    known, taken = np.flatnonzero(~np.isnan(one.gold.scores)), one.at(KEPT)
    lines = np.zeros(len(known) + len(taken), SCORE)
    own, pairs = np.split(lines, [len(known)])
    own["index"], own["positive"], own["negative"] = known, one.gold.scores[known], np.nan
    pairs["index"] = one.found.sources[taken]
    pairs["positive"] = one.gold.scores[pairs["index"]]
    pairs["negative"] = one.found.scores[taken]
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
