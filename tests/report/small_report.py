"""A small report whose figures are known: three systems, 60 questions, scripts in all texts.

The first passage with an answer to question i is at rank i % 30 + 1 under A, 7 * i % 30 + 1 under
B, where the 25 passages of a ranking reach so far; C ranks the first 40 questions, as A does. The
gold passage is the one after it.
"""

from __future__ import annotations

import numpy as np

from dprkit.report.blocks import columns_block, json_block, summary_element
from dprkit.report.page import frame

QUESTIONS, HITS, RANKED_BY_C = 60, 25, 40
NAMES = ["dense", "bm25 <i>", "hybrid"]
EVIL = "<script>window.bad = 1</script><img src=x onerror='window.bad = 2'>"
KS = [1, 5, 20]


def place(system, question):
    """The rank of the first answer, or 0."""
    rank = (7 * question if system == 1 else question) % 30 + 1
    return rank if rank <= HITS else 0


def ranks(system):
    last = RANKED_BY_C if system == 2 else QUESTIONS
    return [place(system, q) if q < last else 65535 for q in range(QUESTIONS)]


def report(parts=("systems", "tuning", "runs"), whole=True):
    """The bytes of the page; not `whole`: cut off before the rankings."""
    summary = {
        "format": 1,
        "title": f"a report {EVIL}",
        "made": "2026-11-26 10:31 UTC",
        "version": "1.2.3",
        "command": "dprkit report a b c -o report.html",
    }
    early, late = [], []
    if "systems" in parts:
        summary |= _systems()
        early, late = _early_blocks(), _late_blocks()
    if "tuning" in parts:
        summary["tuning"] = [_tuning()]
    if "runs" in parts:
        summary["runs"] = [_run("first", 0.0), _run("second", 0.1)]
    page = frame(summary["title"])
    blocks = [*early, page.middle, *(late if whole else [])]
    return page.head + summary_element(summary) + b"".join(blocks) + page.tail


def _systems():
    def system(number):
        judged = [rank for rank in ranks(number) if rank != 65535]
        shares = {str(k): sum(1 <= rank <= k for rank in judged) / len(judged) for k in KS}
        return {
            "name": NAMES[number],
            "metrics": {"answer_recall": shares, "AP": {"": None}},
            "intervals": {"answer_recall": {k: [v - 0.05, v + 0.05] for k, v in shares.items()}},
            "counts": {"answer_recall": len(judged)},
            "missing": {"answer_recall": {"1": 2}},
            "tied": {"answer_recall": {"5": 3}},
            "command": [f"dprkit evaluate --index {number}", "dprkit 'second line'"],
            "provenance": [["index", f"index:{number}abc"]],
            "notes": [f"a note {EVIL}"],
            "ranks": {"answer": True, "gold": True},
            "hits": HITS,
            "texts": True,
        }

    curve = {"values": [0.1, 0.3, 0.7], "low": [0, 0.2, 0.6], "high": [0.2, 0.4, 0.8]}
    kinds = {"miss": "miss at k", "near": "near miss", "flipped": "flipped against B"}
    kinds |= {"gained": "only A finds it", "lost": "only B finds it"}
    filters = [{"id": k, "label": v, "about": v, "kind": k} for k, v in kinds.items()]
    filters.append({"id": "long", "label": "long question", "about": "", "kind": "words", "min": 9})
    filters.append({"id": "tag:seen", "label": "seen", "about": "", "kind": "tag", "tag": 0})
    return {
        "questions": {"count": QUESTIONS, "block": 50, "blocks": 2},
        "passages": {"count": 1500, "texts": 1500, "block": 100, "blocks": 15, "depth": HITS},
        "systems": [system(number) for number in range(3)],
        "measures": [{"id": "answer_recall@5", "name": "answer_recall", "depth": 5}],
        "rank": "answer",
        "depths": KS,
        "curves": [
            {
                "id": "answer_recall",
                "label": "Answer recall@k",
                "about": "share of the questions with an answer among the best k",
                "k": KS,
                "systems": [curve, curve, None],
            }
        ],
        "filters": filters,
        "tags": ["seen"],
        "datasets": ["nq"],
    }


def _early_blocks():
    questions, columns = [], {}
    for q in range(QUESTIONS):
        text = f"question number {q} of topic{q % 7}" + " and more words in it" * (q % 10 == 0)
        questions.append([f"q{q}", text + EVIL * (q == 3), [f"Answer{q}", "Émile"], [f"p{q}"]])
    for s in range(3):
        found = np.array(ranks(s), np.uint16)
        columns[f"answer_rank.{s}"] = found
        columns[f"gold_rank.{s}"] = np.where(found % 65535, found + 1, found).astype(np.uint16)
        hit = np.where(found == 65535, np.nan, (found >= 1) & (found <= 5))
        columns[f"value.{s}.0"] = hit.astype(np.float32)
    columns["words"] = np.array([len(q[1].split()) for q in questions], np.uint16)
    columns["tag.0"] = np.array([q % 4 == 0 for q in range(QUESTIONS)], np.uint8)
    columns["dataset"] = np.zeros(QUESTIONS, np.uint16)
    return [columns_block("columns", columns), json_block("questions", questions)]


def _late_blocks():
    rankings, texts = [], []
    for q in range(QUESTIONS):
        first = 25 * q
        texts += [
            [f"p{n}", f"Title {n} {EVIL}", f"😀 {EVIL} " + "words " * 60]
            for n in range(first, first + 25)
        ]
        texts[first][2] += f"Answer{q} " + "words " * 40
        per_system = []
        for s in range(3):
            if s == 2 and q >= RANKED_BY_C:
                per_system.append(None)
                continue
            numbers, at = list(range(first + 1, first + 25)), place(s, q)
            numbers.insert(at - 1 if at else 24, first)
            start = len(texts[first][2][: texts[first][2].index("Answer")]) + 1  # the emoji is two
            marks = {str(at - 1): [[start, start + len(f"Answer{q}")]]} if at else {}
            per_system.append(
                {
                    "n": numbers,
                    "s": [90.5 - i for i in range(HITS)],
                    "m": marks,
                    "g": [at + 1 if at and at < HITS else None],
                }
            )
        rankings.append(per_system)
    blocks = [json_block(f"r{b}", rankings[50 * b : 50 * b + 50]) for b in range(2)]
    return blocks + [json_block(f"t{b}", texts[100 * b : 100 * b + 100]) for b in range(15)]


def _tuning():
    point = {"depth": "nprobe 4", "p50_ms": 2.0, "bytes_per_passage": 400.0, "quality": 0.9}
    return {
        "name": "tuning",
        "command": ["dprkit tune-index"],
        "provenance": [],
        "quality": "recall",
        "target": 0.9,
        "passages": 100,
        "points": [
            {"name": "ivf-flat", **point, "recommended": True},
            {"name": "flat", **point, "depth": "", "p50_ms": 9.0, "recommended": False},
        ],
    }


def _run(name, more):
    def series(id_, group, kind, x, y):
        words = {"id": id_, "label": id_, "group": group, "unit": "", "kind": kind}
        return {**words, "x": x, "y": y}

    steps, checks = list(range(1, 201)), [0, 100, 200]
    return {
        "name": name,
        "command": [f"dprkit train --output-dir {name}"],
        "provenance": [],
        "finished": True,
        "best_step": 100,
        "best": "loss",
        "last_step": 200,
        "notes": [],
        "series": [
            series("loss", "loss", "train", steps, [3 / (1 + s / 50) + more for s in steps]),
            series("validation loss", "loss", "valid", checks, [3.0 + more, 1.5, 1.6]),
            series("learning rate", "lr", "train", steps, [2e-5] * 200),
        ],
    }
