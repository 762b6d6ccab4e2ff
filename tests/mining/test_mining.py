"""mine-negatives: what is taken, and what every rule leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dprkit import has_answer
from dprkit.data.examples import read_examples
from dprkit.errors import InputError, SettingsError
from dprkit.indexes.build import index
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.mining import mine
from dprkit.mining.mine import mine_negatives
from dprkit.mining.rows import Asked
from dprkit.mining.rules import Gold, _log_weights, in_order, near
from dprkit.mining.same_texts import TextSet
from dprkit.mining.united_hits import Found, united
from dprkit.progress import Progress, Run
from dprkit.search.open_index import open_index
from dprkit.settings import IndexSettings, MineSettings
from dprkit.store.begin_or_resume import OUT_OF_DATE, UP_TO_DATE, Previewed, draft
from dprkit.store.manifests import PASSAGE_SIDE_OF, read_manifest
from tests.conftest import killed_at_the_end, words_of


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_passages):
    """A BM25 index of the shipped passages."""
    folder = tmp_path_factory.mktemp("mining") / "words"
    index(IndexSettings(type="bm25", passages=str(tiny_passages), output_dir=str(folder)))
    return str(folder)


@pytest.fixture(scope="module")
def few(tmp_path_factory, tiny_examples):
    """40 of the shipped examples, a row a line."""
    path = tmp_path_factory.mktemp("mining") / "few.jsonl"
    write(path, json.loads(tiny_examples.read_text())[:40])
    return str(path)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def mined(folder, **settings):
    """The report, and the rows of train.jsonl."""
    report = mine_negatives(MineSettings(output_dir=str(folder), **settings))
    return report, rows_of(folder)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def ids(row, pool="hard_negative_ctxs"):
    return [passage["passage_id"] for passage in row[pool]]


def same(text):
    return " ".join(text.casefold().split())


# --- what is taken --------------------------------------------------------------------------------


def test_negatives_are_the_best_of_the_ranks_that_no_rule_leaves_out(words, few, tmp_path):
    """By search's own rankings and has_answer."""
    settings = {"from_rank": 3, "to_rank": 30, "num": 4, "relative_margin": 0.7, "merge": False}
    report, rows = mined(tmp_path, train_file=(few,), index=(words,), **settings)
    examples = list(read_examples(few))
    everyones = {}
    for example in examples:
        everyones.setdefault(same(example.question), []).extend(example.positives)
    rankings = open_index(words).search([e.question for e in examples], 30)
    dropped = {"answer": 0, "relative_margin": 0}
    for example, ranking, row in zip(examples, rankings, rows, strict=True):
        known = everyones[same(example.question)]
        names = {p.id for p in known} | {same(p.text) for p in known}
        scores = {hit.id: hit.score for hit in ranking.hits}
        limit = 0.3 * scores[example.positives[0].id]
        left = []
        for hit in ranking.hits[2:]:
            if len(left) == 4:
                break
            if hit.id in names or same(hit.text) in names:
                continue
            if has_answer(example.answers, hit.text):
                dropped["answer"] += 1
            elif hit.score > limit:
                dropped["relative_margin"] += 1
            else:
                left.append(hit)
        assert ids(row) == [hit.id for hit in left]
        assert [p["score"] for p in row["hard_negative_ctxs"]] == [h.score for h in left]
        assert row["positive_ctxs"][0]["passage_id"] == example.positives[0].id
    assert {name: report.dropped.get(name, 0) for name in dropped} == dropped
    assert min(dropped.values()) > 0
    assert report.mined == sum(len(row["hard_negative_ctxs"]) for row in rows)
    assert report.candidates == sum(len(ranking.hits[2:]) for ranking in rankings)


def test_what_is_known_beside_a_question_is_no_negative(tmp_path):
    """Each rule by hand: five passages of words that the question has."""
    texts = {
        "a": "Red apples grow",
        "b": "red  APPLES grow",  # the text of the positive, but for case and space
        "c": "Red apples fall",  # a positive of another row that asks the same
        "d": "Red apples rot in May",
        "e": "Red apples shine",  # there already
        "f": "Red apples smell",
        "g": "red apples SMELL",
    }
    words_of(tmp_path, texts)
    asked = {"question": "red apples", "answers": ["may"]}
    rows = [
        asked
        | {
            "positive_ctxs": [{"passage_id": "a", "text": texts["a"]}],
            "hard_negative_ctxs": [{"passage_id": "e", "text": texts["e"], "extra": 7}] * 2,
            "mark": [1, 2],
        }
    ]
    other = asked | {"question": "Red  apples"}
    other["positive_ctxs"] = [{"passage_id": "zz", "text": "red apples FALL"}]
    given = {
        "train_file": (write(tmp_path / "1.jsonl", rows), write(tmp_path / "2.jsonl", [other])),
        "index": (str(tmp_path / "words"),),
    }
    report, (first, second) = mined(tmp_path / "mined", **given)
    assert ids(first) == ["e", "f"]
    assert first["hard_negative_ctxs"][0] == {"passage_id": "e", "text": texts["e"], "extra": 7}
    assert first["mark"] == [1, 2]
    assert ids(second) == ["e", "f"]  # a and b answer the question in the other file
    assert report.dropped == {
        "same_id": 1,
        "same_text": 2,
        "other_positive": 3,
        "answer": 2,
        "already_there": 1,
        "repeated_text": 2,
    }
    assert (report.merged, report.mined, report.short, report.none) == (1, 3, 2, 0)
    _, (first, _) = mined(tmp_path / "replaced", merge=False, **given)
    assert ids(first) == ["e", "f"]
    assert "extra" not in first["hard_negative_ctxs"][0]
    _, (first, _) = mined(tmp_path / "all", match="none", **given)
    assert "d" in ids(first)


@pytest.fixture(scope="module")
def apples(tmp_path_factory):
    """An index of five passages, and a question whose gold passage ranks third."""
    folder = tmp_path_factory.mktemp("apples")
    texts = {
        "x": "red apples tree red apples tree may",
        "y": "red apples tree june",
        "gold": "red apples wait long for may and the harvest",
        "v": "red may be the colour of very many other things here",
        "w": "red in june as all of these many other things are",
    }
    words_of(folder, texts)
    row = {"question": "red apples tree", "answers": ["May"], "passage_ids": ["gold"]}
    (ranking,) = open_index(folder / "words").search([row["question"]])
    assert [hit.id for hit in ranking.hits] == ["x", "y", "gold", "w", "v"]
    return {"questions": write(folder / "q.jsonl", [row]), "index": (str(folder / "words"),)}


@pytest.mark.parametrize("first", [1, 2])
def test_relabelled_passages_rank_above_the_positive_and_hold_an_answer(apples, first, tmp_path):
    """Above the ranks that negatives are taken from as well."""
    report, (row,) = mined(tmp_path, relabel="answers", from_rank=first, **apples)
    assert ids(row, "positive_ctxs") == ["gold", "x"]
    assert ids(row) == ["y", "w"]
    assert (report.relabelled, report.dropped) == (1, {"same_id": 1, "answer": 1})


def test_without_relabelling_what_holds_an_answer_is_left_out(apples, tmp_path):
    report, (row,) = mined(tmp_path, **apples)
    assert (ids(row, "positive_ctxs"), ids(row)) == (["gold"], ["y", "w"])
    assert report.dropped == {"same_id": 1, "answer": 2}


def test_what_is_drawn_depends_on_neither_order_nor_batches(words, few, tmp_path):
    rows = [json.loads(line) for line in Path(few).read_text().splitlines()]
    turned = write(tmp_path / "turned.jsonl", rows[::-1])
    for pick in ("random", "around"):
        how = {"index": (words,), "num": 3, "pick": pick, "audit": 4}
        _, one = mined(tmp_path / f"{pick}-1", train_file=(few,), batch_size=40, **how)
        _, other = mined(tmp_path / f"{pick}-2", train_file=(turned,), batch_size=1, **how)
        assert [ids(row) for row in one] == [ids(row) for row in other[::-1]]
        _, third = mined(tmp_path / f"{pick}-3", train_file=(few,), seed=1, **how)
        assert [ids(row) for row in one] != [ids(row) for row in third]
        sampled = [
            {line[:200] for line in (tmp_path / f"{pick}-{n}/audit.jsonl").read_text().splitlines()}
            for n in (1, 2)
        ]
        assert sampled[0] == sampled[1]


def test_several_indexes_give_their_best_in_turn_and_each_scores_the_positive(
    words, few, small_index, tmp_path
):
    _, rows = mined(
        tmp_path / "both", train_file=(few,), index=(words, str(small_index)), num=6, match="none"
    )
    questions = [row["question"] for row in rows]
    each = [open_index(path).search(questions, 100) for path in (words, small_index)]
    for row, *rankings in zip(rows, *each, strict=True):
        ranks = {}
        for number, ranking in enumerate(rankings):
            for rank, hit in enumerate(ranking.hits):
                ranks[hit.id] = min(ranks.get(hit.id, (99, 9)), (rank, number))
        mine_ = ids(row)[-6:]
        assert [ranks[id_] for id_ in mine_] == sorted(ranks[id_] for id_ in mine_)
    report = read_manifest(tmp_path / "both").counts
    assert [s["positive"]["count"] for s in report["scores"]] == [40, 40]


def test_a_positive_that_is_not_found_is_scored_by_its_index(few, small_index, tmp_path):
    """The dense index looks at 3 passages; the positives' scores are the vectors' products."""
    from dprkit.models.retriever import load_retriever

    report, rows = mined(tmp_path, train_file=(few,), index=(str(small_index),), to_rank=3)
    retriever = load_retriever(open_index(small_index).engine.retriever_path)
    golds = [example.positives[0] for example in read_examples(few)]
    scores = retriever.scores([row["question"] for row in rows], golds)
    (told,) = report.scores
    assert told["positive"]["count"] == 40
    np.testing.assert_allclose(told["positive"]["mean"], scores.mean(), rtol=1e-5)
    np.testing.assert_allclose(told["positive"]["median"], np.median(scores), rtol=1e-5)


# --- rules by hand --------------------------------------------------------------------------------


def found(*scores):
    """Found by one index each: lines of scores, NaN for what it did not find."""
    table = np.array(scores, np.float32)
    count = table.shape[1]
    sources = np.argmax(~np.isnan(table), axis=0)
    return Found(np.arange(count), np.arange(1, count + 1), sources, table)


def too_near(settings, positive, *scores):
    gold = Gold(0, 0, np.array(positive, np.float32))
    return {name: flags.tolist() for name, flags in near(found(*scores), gold, settings)}


def test_margins_lie_below_the_positive_for_negative_scores_too():
    """max_positive - |max_positive| * margin, as mine_hard_negatives has it since #3819."""
    relative = MineSettings(relative_margin=0.1)
    assert too_near(relative, [10.0], [9.1, 9.0, 8.9]) == {"relative_margin": [True, False, False]}
    assert too_near(relative, [-10.0], [-9, -10.5, -11.5]) == {
        "relative_margin": [True, True, False]
    }
    absolute = MineSettings(absolute_margin=0.5)
    assert too_near(absolute, [2.0], [1.6, 1.5, 1.0]) == {"absolute_margin": [True, False, False]}
    assert too_near(relative, [np.nan], [9.0]) == {"relative_margin": [False]}
    both = too_near(absolute, [2.0, 20.0], [1.0, 1.0, np.nan], [19.0, 19.9, 3.0])
    assert both == {"absolute_margin": [False, True, False]}


def test_what_several_indexes_found_is_united_by_the_best_rank():
    one = Hits(np.array([[5, 3, 7]]), np.array([[9.0, 8.0, 7.0]], np.float32))
    two = Hits(np.array([[3, 1, -1]]), np.array([[0.9, 0.8, -np.inf]], np.float32))
    (both,) = united([one, two])
    assert both.rows.tolist() == [5, 3, 1, 7]
    assert both.ranks.tolist() == [1, 1, 2, 3]
    assert both.sources.tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(both.scores, [9, 0.9, 0.8, 7])
    np.testing.assert_allclose(
        both.all_scores, [[9, 8, np.nan, 7], [np.nan, 0.9, 0.8, np.nan]], rtol=1e-6
    )


def test_around_draws_with_the_weights_of_simans():
    """The first of many draws, one a question, follows exp(-a (s - s_positive - b)^2)."""
    scores, gold = [3.0, 2.0, 1.0, 0.0], Gold(9, -1, np.array([2.0], np.float32))
    settings = MineSettings(pick="around", sharpness=0.7, shift=-0.5)
    weights = np.exp([-0.7 * (s - 2 + 0.5) ** 2 for s in scores])
    logs = _log_weights(np.arange(4), found(scores), gold, settings)
    np.testing.assert_allclose(np.exp(logs), weights)
    draws = [
        in_order(asked(f"question {n}"), np.arange(4), found(scores), gold, settings)[0]
        for n in range(2000)
    ]
    shares = np.bincount(draws, minlength=4) / 2000
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.04)
    # Of themselves, the weights do not depend on the scale of the scores.
    free, own = MineSettings(pick="around"), []
    for k in (1.0, 1000.0):
        scaled = gold._replace(scores=gold.scores * k)
        own.append(_log_weights(np.arange(4), found(np.array(scores) * k), scaled, free))
    np.testing.assert_allclose(own[0], own[1], rtol=1e-5)


def asked(question):
    return Asked(question, (), (), frozenset(), frozenset(), (), {})


def test_texts_are_the_same_but_for_case_and_space():
    texts = TextSet(["The quick  brown fox", "Straße"])
    assert "the QUICK brown\tfox " in texts
    assert "STRASSE" in texts
    assert "The quick brown fox jumps" not in texts
    assert texts.add("the quick brown dog")
    assert not texts.add("The quick brown dog")


# --- going on, and what is refused ----------------------------------------------------------------


class Stopped(Progress):
    """A run that is stopped after some batches."""

    def __init__(self, batches):
        self.left = batches

    def advance(self, count, facts=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("batches", [1, 3])
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    batches, words, few, tmp_path, monkeypatch
):
    monkeypatch.setattr(mine, "SAVED_EVERY", 0.0)
    settings = {"train_file": (few,), "index": (words,), "batch_size": 8, "audit": 3}
    whole, _ = mined(tmp_path / "whole", **settings)
    stopped = MineSettings(output_dir=str(tmp_path / "stopped"), **settings)
    with pytest.raises(KeyboardInterrupt):
        mine_negatives(stopped, Run(Stopped(batches)))
    report = mine_negatives(stopped)
    for name in ("train.jsonl", "audit.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes()
    assert (report.mined, report.scores) == (whole.mined, whole.scores)
    assert sorted(p.name for p in (tmp_path / "stopped").iterdir()) == [
        "audit.jsonl",
        "manifest.json",
        "train.jsonl",
    ]


def test_a_run_that_was_killed_before_its_manifest_ends_with_the_same_bytes(
    words, few, tmp_path, monkeypatch
):
    whole, rows = mined(tmp_path / "whole", train_file=(few,), index=(words,))
    killed_at_the_end(
        monkeypatch, lambda: mined(tmp_path / "killed", train_file=(few,), index=(words,))
    )
    report, again = mined(tmp_path / "killed", train_file=(few,), index=(words,))
    assert (again, report.scores) == (rows, whole.scores)


def test_another_hub_teacher_or_retriever_that_asks_makes_the_negatives_out_of_date(
    words, few, tmp_path
):
    given = {"train_file": (few,), "index": (words,), "output_dir": str(tmp_path / "mined")}
    mine_negatives(MineSettings(**given))

    def state(**more):
        with pytest.raises(Previewed) as told:
            mine_negatives(MineSettings(**given, **more), Run(only_preview=True))
        return told.value.state, told.value.why

    assert state() == (UP_TO_DATE, "")
    assert state(teacher="hub/model") == (OUT_OF_DATE, 'teacher was null and is "hub/model"')
    asking = tmp_path / "asking"
    with draft(asking, "retriever", {}, {}, Run()) as work:
        made = work.finish({PASSAGE_SIDE_OF: ["retriever:of the index"]})
    why = f"retriever was absent and is {asking} ({made.identity[:23]})"
    assert state(retriever=str(asking)) == (OUT_OF_DATE, why)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"index": ()}, "no index given; name one with --index"),
        ({"train_file": ()}, "--train-file .* or with --questions, one of the two"),
        ({"from_rank": 9, "to_rank": 8}, "--from 9 --to 8: no rank lies between"),
        ({"hybrid": "c", "index": ("a", "b")}, "--hybrid combines its index"),
        ({"weights": (1.0, 1.0)}, "--weights: there is one index only"),
        ({"shift": 1.0}, "--sharpness and --shift are for --pick around"),
        ({"relabel": "answers", "match": "none"}, "--relabel: nobody looks for answers"),
        ({"relabel": "reader"}, "--relabel reader: no reader given"),
        ({"reader": "r"}, "--reader is for --relabel reader"),
        ({"teacher_margin": 1.0}, "--teacher-margin: no teacher given"),
        ({"precision": "bf16"}, "--precision: no model scores passages"),
        ({"train_file": ("-",)}, "-: stdin cannot be read again"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, problem):
    given = {"train_file": ("a",), "index": ("b",), "output_dir": "c"} | settings
    with pytest.raises(SettingsError, match=problem):
        mine.files_of(MineSettings(**given))


def test_mining_that_finds_nothing_says_what_left_nothing(words, few, tmp_path):
    given = {"train_file": (few,), "index": (words,), "to_rank": 1}
    with pytest.raises(InputError, match=r"no negative was found for any of 40 questions: of 40"):
        mined(tmp_path / "out", **given, absolute_margin=100)
    assert not (tmp_path / "out").exists()
    mined(tmp_path / "out", **given | {"to_rank": 20}, absolute_margin=-100)


def test_hard_negatives_of_a_row_that_are_positives_of_the_question_become_none(tmp_path):
    """By another row of the question, or as they are relabelled."""
    texts = {
        "p1": "Paris is the capital and most populous city of France.",
        "p2": "The capital city of France is Paris, on the river Seine.",
        "p3": "The capital of France: what is the capital of France? It is Paris.",
        "p4": "Berlin is the capital of Germany.",
        "p5": "Lyon is a city in France, and not the capital.",
    }
    words_of(tmp_path, texts)
    known = {id_: {"passage_id": id_, "text": text} for id_, text in texts.items()}
    asked = {"question": "what is the capital of France", "answers": ["Paris"]}
    rows = [
        asked
        | {
            "positive_ctxs": [known["p1"]],
            "hard_negative_ctxs": [known["p3"], known["p4"], known["p2"]],
        },
        asked | {"positive_ctxs": [known["p2"]]},
    ]
    given = {
        "train_file": (write(tmp_path / "rows.jsonl", rows),),
        "index": (str(tmp_path / "words"),),
    }
    report, (first, second) = mined(tmp_path / "plain", **given)
    assert ids(first) == ["p3", "p4", "p5"]
    assert (report.merged, report.merged_positives) == (2, 1)
    report, (first, second) = mined(tmp_path / "relabelled", **given, relabel="answers")
    assert [[p["passage_id"] for p in row["positive_ctxs"]] for row in (first, second)] == [
        ["p1", "p3"],
        ["p2", "p3"],
    ]
    assert ids(first) == ids(second)[::-1] == ["p4", "p5"]
    assert (report.relabelled, report.merged, report.merged_positives) == (2, 1, 2)


def test_questions_without_answers_are_refused_where_answers_count(words, tmp_path):
    row = {"question": "who", "positive_ctxs": [{"text": "a b", "id": "1"}]}
    path = write(tmp_path / "train.jsonl", [row])
    with pytest.raises(InputError, match=r"no question has answers.*--match none"):
        mined(tmp_path / "out", train_file=(path,), index=(words,))


def test_gold_passages_come_from_the_corpus_and_questions_without_them_are_counted(
    words, few, tmp_path
):
    examples = list(read_examples(few))[:6]
    rows = [
        {"question": e.question, "answers": e.answers, "passage_ids": [e.positives[0].id]}
        for e in examples
    ]
    rows[1]["passage_ids"] = ["no such id"]
    del rows[2]["passage_ids"]
    path = write(tmp_path / "q.jsonl", rows)
    report, made = mined(tmp_path / "out", questions=path, index=(words,), num=3)
    assert report.left_out == {"no_positive": 1, "gold_missing": 1}
    assert [row["id"] for row in made] == ["0", "3", "4", "5"]
    for row, example in zip(made, [examples[i] for i in (0, 3, 4, 5)], strict=True):
        assert row["positive_ctxs"][0]["text"] == example.positives[0].text
        assert not any(has_answer(row["answers"], p["text"]) for p in row["hard_negative_ctxs"])
    path = write(tmp_path / "none.jsonl", [rows[2]])
    with pytest.raises(InputError, match="no question names a gold passage"):
        mined(tmp_path / "none", questions=path, index=(words,))
    path = write(tmp_path / "lost.jsonl", [rows[1]])
    with pytest.raises(InputError, match="no gold passage of any of the 1 questions"):
        mined(tmp_path / "lost", questions=path, index=(words,))
