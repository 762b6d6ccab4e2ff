"""read: answers by the rule written out slowly, one passage at a time; streams, and stops."""

from __future__ import annotations

import json
from math import exp, log
from typing import NamedTuple

import numpy as np
import pytest

from dprkit.data.answers import read_answers
from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.models.best_spans import Span, best_spans
from dprkit.models.reading import PassageLogits, load_reader
from dprkit.progress import Progress, Run
from dprkit.records import Passage
from dprkit.search import read as reading
from dprkit.search.answer_choice import Reading, choose, distinct, readings
from dprkit.search.read import files_of, read
from dprkit.search.rerank_by_answers import AnswersFirst
from dprkit.settings import ReadSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call, killed_at_the_end, write_reader

QUESTIONS = ["how tall is it", "who painted the mona lisa", "a river in africa", "who was it"]
TEXTS = [
    "Mount Kilimanjaro is 5,895 m tall, the highest of Africa.",
    "Leonardo painted the Mona Lisa in Florence; others say in Rome.",
    "The Nile is a river in north-eastern Africa, 6,650 km long.",
    "",
    "It was café-owner Émile “Le Grand” Dupont who said so.",
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory, tiny_examples):
    return write_reader(tmp_path_factory.mktemp("reader") / "model", tiny_examples)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Rankings of five, five, three and no passages."""
    path = tmp_path_factory.mktemp("results") / "results.jsonl"
    rows = []
    for number, (question, depth) in enumerate(zip(QUESTIONS, (5, 5, 3, 0), strict=True)):
        order = np.roll(np.arange(5), number)[:depth].tolist()
        ctxs = [
            {"id": f"p{n}", "title": f"title {n}", "text": TEXTS[n], "score": 9 - rank}
            for rank, n in enumerate(order)
        ]
        answers = ["the Nile"] if number == 2 else []
        rows.append({"id": f"q{number}", "question": question, "answers": answers, "ctxs": ctxs})
    rows[1]["dataset"] = "art"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the rule -------------------------------------------------------------------------------------


def slow_answer(reader, question, hits, weight):
    """The text and the rank of the best span: every span of every passage, one by one."""
    said = [reader.logits([question], [Passage(h["id"], h["text"], h["title"])])[0] for h in hits]
    spans = []
    for rank, (one, hit) in enumerate(zip(said, hits, strict=True), start=1):
        log_passage = one.relevance - log(sum(exp(other.relevance) for other in said))
        for start, end, score in best_spans((one.start, one.end), one.offsets, hit["text"], 10, 9):
            value = (1 - weight) * (score - one.log_total) + 2 * weight * log_passage
            key = value if weight else (one.relevance, score)
            spans.append((key, -rank, hit["text"][start:end]))
    _, rank, text = max(spans)
    return text, -rank


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.8])
def test_answers_are_those_of_the_slow_rule_at_every_depth(reader, results, tmp_path, weight):
    output = tmp_path / "answers.jsonl"
    depths = (2, 5, 3)
    how = {"reader": str(reader), "results": str(results), "depths": depths, "batch_size": 3}
    report = read(ReadSettings(output=str(output), passage_weight=weight, **how))
    loaded = load_reader(reader)
    for line, row in zip(lines(output), lines(results), strict=True):
        assert [one["depth"] for one in line["predictions"]] == [2, 3, 5]
        for one in line["predictions"]:
            hits = row["ctxs"][: one["depth"]]
            if not hits:
                assert (one["text"], one["rank"], one["score"]) == ("", None, None)
                continue
            assert (one["text"], one["rank"]) == slow_answer(loaded, row["question"], hits, weight)
            hit = hits[one["rank"] - 1]
            assert (one["passage_id"], one["title"]) == (hit["id"], hit["title"])
            assert hit["text"][one["start"] : one["end"]] == one["text"]
        if row["ctxs"]:
            assert line["best"][0]["text"] == line["predictions"][-1]["text"]
            assert len({one["text"] for one in line["best"]}) == len(line["best"])
    assert (report.questions, report.pairs, report.longest, report.short) == (4, 13, 5, 2)
    assert lines(output)[1]["dataset"] == "art"
    assert report.unread == 1


def test_passages_without_a_text_are_counted(reader, results, tmp_path):
    """The fixture has three, one in each of the long rankings."""
    rows = lines(results)
    rows[0]["ctxs"][1]["text"] = rows[1]["ctxs"][0]["text"] = ""
    path = tmp_path / "holes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = call("read", "--reader", reader, "--results", path, "--output-dir", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    assert "Warning: passages without a text, which have no answer: 5" in ran.stderr


def test_probabilities_are_of_the_tokens_of_the_text(reader):
    (one,) = load_reader(reader).logits([QUESTIONS[0]], [("Kilimanjaro", TEXTS[0])])
    starts, ends = np.exp(one.start).sum(), np.exp(one.end).sum()
    assert one.log_total == pytest.approx(np.log(starts) + np.log(ends))


def reading_of(relevance, *spans):
    return Reading(relevance, [Span(*span) for span in spans], 0.0)


def test_weights_move_the_choice_from_spans_to_passages():
    read = [reading_of(2.0, (0, 1, -9.0)), reading_of(0.0, (2, 3, -1.0), (4, 5, -8.7))]
    assert [chosen.place for chosen in choose(read)] == [0, 1]
    assert [chosen.span.start for chosen in choose(read, 0.1)] == [2, 0, 4]
    assert [chosen.place for chosen in choose(read, 1.0)] == [0, 1, 1]
    log_p = -log(1 + exp(2.0))  # of the second passage
    assert choose(read, 0.25)[0].score == pytest.approx(0.75 * -1 + 0.5 * log_p)


def test_of_equal_passages_the_first_one_counts():
    read = [reading_of(1.0), reading_of(1.0, (0, 1, 5.0)), reading_of(1.0, (2, 3, 5.0))]
    assert [chosen.place for chosen in choose(read)] == [1, 2]
    assert [chosen.place for chosen in choose(read, 0.5)] == [1, 2]
    assert choose([]) == choose([], 0.5) == []


def test_distinct_answers_differ_as_exact_match_compares_them():
    texts = ["The Nile. the nile", "Nile", "Congo"]
    read = [
        reading_of(3.0, (0, 9, 1.0)),
        reading_of(2.0, (0, 4, 1.0)),
        reading_of(1.0, (0, 5, 1.0)),
    ]
    assert [one.text for one in distinct(texts, choose(read))] == ["The Nile.", "Congo"]
    assert [one.text for one in distinct(texts, choose(read), 1)] == ["The Nile."]


# --- the stage ------------------------------------------------------------------------------------


class Killed(Exception):
    pass


class StopsAfter(Progress):
    """A display that stops the stage after some questions."""

    def __init__(self, count):
        self.left = count

    def advance(self, count, facts=None):
        self.left -= count
        if self.left <= 0:
            raise Killed


def test_a_stopped_read_goes_on_and_ends_with_the_same_bytes(reader, results, tmp_path):
    how = {"reader": str(reader), "results": str(results), "depths": (2, 4), "batch_size": 1}
    whole = read(ReadSettings(output_dir=str(tmp_path / "whole"), **how))
    again = ReadSettings(output_dir=str(tmp_path / "again"), **how)
    with pytest.raises(Killed):
        read(again, Run(StopsAfter(2)))
    with pytest.raises(MismatchError, match="half done with other settings"):
        read(ReadSettings(output_dir=str(tmp_path / "again"), **how | {"depths": (3,)}))
    report = read(again)
    assert report.questions == whole.questions == 4
    assert report.shown == whole.shown
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [
        "answers.jsonl",
        "manifest.json",
    ]
    made = [read_manifest(tmp_path / name, "answers") for name in ("whole", "again")]
    assert made[0].identity == made[1].identity
    assert made[0].counts == made[1].counts
    assert len([*read_answers(tmp_path / "again")]) == 4


def test_a_read_that_was_killed_before_its_manifest_ends_with_the_same_bytes(
    reader, results, tmp_path, monkeypatch
):
    how = {"reader": str(reader), "results": str(results), "depths": (2,)}
    read(ReadSettings(output_dir=str(tmp_path / "whole"), **how))
    killed = ReadSettings(output_dir=str(tmp_path / "killed"), **how)
    killed_at_the_end(monkeypatch, lambda: read(killed))
    assert read(killed).questions == 4
    made = [(tmp_path / name / "answers.jsonl").read_bytes() for name in ("whole", "killed")]
    assert made[0] == made[1]


def test_the_same_pair_is_read_once_in_a_batch(reader, results, tmp_path, monkeypatch):
    twice = tmp_path / "twice.jsonl"
    rows = lines(results)[:1]
    twice.write_text(
        "".join(json.dumps(row | {"id": str(n)}) + "\n" for n in (1, 2) for row in rows)
    )
    report = read(ReadSettings(reader=str(reader), results=str(twice), output=str(tmp_path / "o")))
    assert (report.questions, report.pairs) == (2, 5)


def test_a_search_can_be_read_through_pipes(reader, tiny_passages, tmp_path):
    index = ("--type", "bm25", "--passages", tiny_passages, "--output-dir", tmp_path / "index")
    assert call("index", *index).exit_code == 0
    searched = ("search", "--index", tmp_path / "index", "--questions", "-", "--topk", "4")
    found = call(*searched, input="who wrote hamlet\nwho painted the mona lisa\n")
    answered = call(
        "read", "--reader", reader, "--results", "-", "--depths", "1,4", input=found.stdout
    )
    assert answered.exit_code == 0, answered.stderr
    first = json.loads(answered.stdout.splitlines()[0])
    assert first["question"] == "who wrote hamlet"
    assert [one["depth"] for one in first["predictions"]] == [1, 4]
    assert "2 questions answered from 8 passages" in answered.stderr
    (tmp_path / "answers.jsonl").write_text(answered.stdout)
    given = tmp_path / "questions.jsonl"
    row = {"id": "0", "question": "who wrote hamlet", "answers": [first["predictions"][0]["text"]]}
    given.write_text(json.dumps(row))
    measured = call(
        "evaluate", "--answers", tmp_path / "answers.jsonl", "--questions", given, "--json"
    )
    assert json.loads(measured.stdout)["metrics"]["exact_match"]["1"] == 1.0
    for flag, problem in (
        ("--json", "--json and --output both write to stdout; give --output a file"),
        ("--output-dir", "--output-dir: stdin cannot be read again to go on with a folder"),
    ):
        more = (flag, tmp_path / "folder")[: 1 + (flag == "--output-dir")]
        refused = call("read", "--reader", reader, "--results", "-", *more, input=found.stdout)
        assert refused.exit_code == 1
        assert problem in refused.stderr
    bare = call(*searched, "--no-texts", input="who wrote hamlet\n")
    (tmp_path / "bare.jsonl").write_text(bare.stdout)
    refused = call("read", "--reader", reader, "--results", tmp_path / "bare.jsonl")
    assert refused.exit_code == 1
    assert "bare.jsonl:1: the passages of question '0' have no texts" in refused.stderr


def test_a_table_shows_the_first_answers_beside_a_folder(reader, results, tmp_path):
    shown = call("read", "--reader", reader, "--results", results, "--output-dir", tmp_path / "a")
    head, first, *_ = shown.stdout.splitlines()
    assert head.split() == ["question", "answer", "passage", "rank", "score"]
    assert first.startswith(QUESTIONS[0])
    assert "from the best 50: exact match" in shown.stderr
    assert "rankings of fewer than 50 passages: 4 (the longest has 5)" in shown.stderr


class Broken(NamedTuple):
    """A reader whose training has diverged."""

    def logits(self, questions, passages):
        bad = np.full(2, np.nan, np.float32)
        place = np.array([[0, 1], [1, 2]])
        return [PassageLogits(bad, bad, 0.0, place, place[:, 0], 0.0) for _ in questions]


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match=r"logits for 'q' are no numbers .* training has diverged"):
        readings(Broken(), ["q"], [Passage("1", "ab")], 10)


def test_what_cannot_be_read_is_refused(reader, results, small_retriever, tmp_path):
    how = {"results": str(results), "output": str(tmp_path / "o")}
    with pytest.raises(SettingsError, match="no reader given; name it with --reader"):
        files_of(ReadSettings(**how))
    with pytest.raises(SettingsError, match="no rankings given; name it with --results"):
        files_of(ReadSettings(reader=str(reader)))
    with pytest.raises((InputError, MismatchError), match=str(small_retriever)):
        read(ReadSettings(reader=str(small_retriever), **how))
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 p1 1 3.5 x\n")
    with pytest.raises(FormatError, match=r"run.trec:1: the passages of question 'q1' have no t"):
        read(ReadSettings(reader=str(reader), results=str(run), output=str(tmp_path / "o")))
    assert not (tmp_path / "o").exists()
    assert files_of(ReadSettings(reader="r", results="-", output_dir="d")).writes == ("-",)
    assert reading.files_of(ReadSettings(reader="r", results="f", output_dir="d")).folder == "d"


# --- reranking ------------------------------------------------------------------------------------


class Corpus:
    """Passages by their rows."""

    def __init__(self, texts):
        self.texts = texts

    def at(self, rows):
        return [Passage(str(row), self.texts[row], f"title {row}") for row in rows]


class First:
    """An engine that finds rows in a fixed order, and less for a second question."""

    count = 6

    def search(self, questions, topk, allowed=None):
        rows = np.array([[3, 1, 5, 0, 4, 2], [2, 0, -1, -1, -1, -1]])[: len(questions), :topk]
        return Hits(rows, np.where(rows >= 0, 0.5, -np.inf).astype(np.float32))


class Knows(NamedTuple):
    """A reader that takes a word of a text for the answer, in the order of relevance given."""

    word: str

    def logits(self, questions, passages):
        said = []
        for passage in passages:
            at = passage.text.find(self.word)
            place = np.array([[max(at, 0), max(at, 0) + len(self.word)]])
            logit = np.array([1.0], np.float32)
            relevance = 1.0 if at >= 0 else 0.0
            said.append(PassageLogits(logit, logit, relevance, place, place[:, 0], 0.0))
        return said


def test_passages_with_the_readers_answers_come_first_and_keep_their_order():
    texts = ["a Nile", "the Congo", "b nile", "a lake", "Nilesong", "no"]
    corpus = Corpus([*texts[:5], "of the NILE, long"])
    engine = AnswersFirst(First(), Knows("Nile"), corpus, depth=4, answers=1)
    rows, scores = engine.search(["q", "p"], 5)
    assert rows[0].tolist() == [5, 0, 3, 1, 4]  # 4 has it in a part of a word alone
    assert scores[0].tolist() == [np.float32(1 / rank) for rank in (1, 2, 3, 4, 5)]
    assert rows[1].tolist() == [2, 0, -1, -1, -1]
    assert scores[1, 2:].tolist() == [-np.inf] * 3
    few = AnswersFirst(First(), Knows("Congo"), corpus, depth=1, answers=1)
    assert few.search(["q"], 6)[0][0].tolist() == [3, 1, 5, 0, 4, 2]  # 3 alone was read


def test_a_reader_reranks_by_relevance_and_by_answers_at_the_command_line(
    reader, tiny_passages, tmp_path
):
    index = tmp_path / "index"
    call("index", "--type", "bm25", "--passages", tiny_passages, "--output-dir", index)
    asked = ("search", "--index", index, "--questions", "-", "--topk", "5")

    def found(*more):
        done = call(*asked, *more, input="who wrote hamlet\n")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)["ctxs"]

    hits = found()
    by_relevance = found("--rerank", reader, "--rerank-depth", "5")
    loaded = load_reader(reader)
    passages = [Passage(hit["id"], hit["text"], hit["title"]) for hit in hits]
    scores = loaded.scores(["who wrote hamlet"] * 5, passages)
    wanted = [passages[n].id for n in np.argsort(-scores, kind="stable")]
    assert [hit["id"] for hit in by_relevance] == wanted
    by_answers = found("--rerank", reader, "--rerank-by", "answers", "--rerank-depth", "2")
    assert {hit["id"] for hit in by_answers} == {hit["id"] for hit in hits}
    assert [hit["score"] for hit in by_answers][:2] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ("--rerank-by", "answers"),
            "--rerank-by: nothing is reranked; name a model with --rerank",
        ),
        (("--rerank", "reader", "--rerank-answers", "3"), "is for --rerank-by answers"),
        (
            ("--rerank", "reader", "--rerank-by", "answers", "--rerank-weight", "0.5"),
            "--rerank-by answers gives no scores to weigh",
        ),
    ],
)
def test_settings_of_answers_are_refused_where_they_do_nothing(flags, problem, tmp_path):
    refused = call("search", "--index", tmp_path, "--questions", "-", *flags, input="a\n")
    assert refused.exit_code == 1
    assert problem in refused.stderr


def test_a_retriever_has_no_answers_to_rerank_by(small_retriever, tiny_passages, tmp_path):
    index = tmp_path / "index"
    call("index", "--type", "bm25", "--passages", tiny_passages, "--output-dir", index)
    flags = ("--rerank", small_retriever, "--rerank-by", "answers")
    refused = call("search", "--index", index, "--questions", "-", *flags, input="a\n")
    assert "is no reader, and only a reader has answers" in refused.stderr
