import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dprkit.audit.answer_search import SAMPLED, answer_key, open_search
from dprkit.audit.audit import audit
from dprkit.audit.corpus_scan import Plan, facts_of
from dprkit.audit.duplicates import Bands, near_repeats, repeats
from dprkit.audit.question_overlap import QuestionOverlap
from dprkit.data.answer_matching import has_answer, has_token, tokens_of
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.selection import normalise
from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.models.config import load_config
from dprkit.progress import SILENT
from dprkit.settings import AuditSettings
from tests.conftest import call

# --- answers in passages --------------------------------------------------------------------------

TEXTS = st.text("aAbé\u0301ΣσςİſK0.-_ \n\u00a0\u200b京", max_size=12)


@pytest.mark.parametrize("match", ["string", "kilt"])
@given(answers=st.lists(TEXTS.filter(has_token), min_size=1, max_size=6), text=TEXTS)
def test_all_answers_at_once_are_found_as_each_alone_is(match, answers, text):
    known = {answer: key for answer in answers if (key := answer_key(answer, match))}
    keys = sorted(set(known.values()))
    found = {keys[number] for number in open_search(keys, match).found_in(text, 0)}
    for answer in answers:
        assert has_answer([answer], text, match) == (known.get(answer) in found)


def test_an_answer_is_found_as_whole_tokens_only():
    answers = ["10", "u.s.", "café", "the end"]
    search = open_search([answer_key(answer, "string") for answer in answers], "string")
    assert set(search.found_in("In 2010 the U. S. Army; cafe\u0301", 0)) == {1, 2}
    assert set(search.found_in("THE\nEND of 10, cafe", 0)) == {0, 3}
    assert list(search.found_in("", 0)) == []


def test_an_answer_of_no_token_and_a_broken_pattern_are_not_looked_for():
    assert answer_key(" ", "string") is None
    assert answer_key("(", "regex") is None
    assert answer_key("(", "string") == " ( "
    assert list(open_search([], "string").found_in("a text", 0)) == []


def test_patterns_are_all_found_where_they_occur_first():
    patterns = [r"b\w+n", r"^x", "é", "absent"]
    texts = ["A Broken", "no\nX", "cafe\u0301"] + ["broken x"] * SAMPLED
    search, found, counted = open_search(patterns, "regex"), set(), [0] * len(patterns)
    for row, text in enumerate(texts):
        held = list(search.found_in(text, row))
        found.update(held)
        for number in held if search.counts_at(row) else ():
            counted[number] += 1
    assert found == {
        n for n, p in enumerate(patterns) if any(has_answer([p], t, "regex") for t in texts)
    }
    in_sample = texts[::SAMPLED]
    assert counted == [sum(has_answer([p], t, "regex") for t in in_sample) for p in patterns]


# --- questions that are alike ---------------------------------------------------------------------


def _jaccard(one, other):
    return len(one & other) / len(one | other) if one | other else 0.0


@pytest.mark.parametrize("near", [0.5, 0.8, 1.0])
def test_every_near_question_is_found_and_no_other(near):
    dice = random.Random(0)
    vocabulary = [f"w{n}" for n in range(40)]
    weights = [1 / (n + 1) for n in range(40)]

    def draw(count):
        lengths = [dice.randint(0, 9) for _ in range(count)]
        return [" ".join(dice.choices(vocabulary, weights, k=length)) for length in lengths]

    asked, trained = draw(150), draw(300)
    overlap = QuestionOverlap(asked, near)
    for question in trained:
        overlap.add(question)
    for number, question in enumerate(asked):
        words = set(question.split())
        best = max(_jaccard(words, set(other.split())) for other in trained)
        twin = overlap.twins.get(number)
        assert (twin is not None) == (bool(words) and best >= near)
        if twin:
            assert twin.similarity == best
            same = {other for other in trained if normalise(other) == normalise(question)}
            assert twin.same == bool(same)


def test_a_question_without_words_is_like_none():
    overlap = QuestionOverlap(["???", "Who is it?"], 0.8)
    for question in ("!!", "who IS  it"):
        overlap.add(question)
    assert {n: (twin.question, twin.same) for n, twin in overlap.twins.items()} == {
        1: ("who IS  it", True)
    }


# --- passages that are alike ----------------------------------------------------------------------


def _changed(words, count, dice):
    words = list(words)
    for place in dice.sample(range(len(words)), count):
        words[place] = f"new{dice.random()}"
    return words


def _shingles(text):
    words = tokens_of(text)
    return {tuple(words[n : n + 3]) for n in range(len(words) - 2)} or set(words)


def write_corpus(path, texts):
    rows = [{"id": f"p{n}", "text": text} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_near_passages_are_found_with_their_true_similarity(tmp_path):
    dice = random.Random(1)
    texts = []
    for _ in range(60):
        words = [f"v{dice.randint(0, 3000)}" for _ in range(80)]
        texts += [" ".join(_changed(words, count, dice)) for count in (0, 1, 2, 3, 20)]
    texts += ["", "", "two words", "Two words."]
    dice.shuffle(texts)
    corpus = PassageFile(write_corpus(tmp_path / "p.jsonl", texts))
    found = {repeat.row: repeat for repeat in near_repeats(corpus, Bands(0.8).keys(texts), 0.8)}
    sets = [_shingles(text) for text in texts]
    true = {}
    for row, one in enumerate(sets):
        others = [(_jaccard(one, sets[other]), other) for other in range(row)]
        if others and max(others)[0] >= 0.8:
            true[row] = max(others)[0]
    assert found.keys() <= true.keys()
    assert len(found) > 0.97 * len(true) > 80
    for row, repeat in found.items():
        assert repeat.earlier < row
        exact = _jaccard(sets[row], sets[repeat.earlier])
        assert repeat.similarity == pytest.approx(exact)


@pytest.mark.parametrize("near", [0.3, 0.6, 0.9])
def test_bands_find_nearly_all_pairs_of_the_similarity_asked_for(near):
    bands = Bands(near)
    assert 1 - (1 - near**bands.rows) ** bands.count >= 0.97
    assert bands.keys(["a b c", ""]).shape == (bands.count, 2)


def test_repeats_name_the_first_passage_and_pass_over_empty_ones():
    keys = np.array([7, 0, 3, 7, 0, 3, 3], np.uint64)
    assert [(r.row, r.earlier) for r in repeats(keys)] == [(3, 0), (5, 2), (6, 2)]


# --- the whole ------------------------------------------------------------------------------------

PASSAGES = [
    ("a", "Paris is the capital of France."),
    ("b", "PARIS is  the capital of France."),
    ("c", "In 2010 it rained the whole day, and nobody of the village went out to the fields"),
    ("d", "In 2010 it rained the whole day, and nobody of the village went out to the sea"),
    ("e", ""),
]
QUESTIONS = [
    {"id": "q0", "question": "capital of France?", "answers": ["paris"], "passage_id": "a"},
    {"id": "q1", "question": "which year?", "answers": ["10", "201"], "passage_ids": ["c", "z"]},
    {"id": "q2", "question": "Capital of FRANCE", "answers": ["the"], "passage_id": "b"},
    {"id": "q3", "question": "what fell down", "answers": [" ", "rained"]},
    {"id": "q4", "question": "no answer here"},
]
TRAIN = [
    {"question": "which YEAR", "positive_ctxs": []},
    {"question": "so what fell down", "positive_ctxs": []},
]
TAGGED = {
    "q0": ["common-answer"],
    "q1": ["no-answer-in-corpus", "gold-missing", "in-train"],
    "q2": ["common-answer", "stop-word-answer", "repeated-question"],
    "q3": ["common-answer", "empty-answer", "near-train"],
    "q4": ["without-answers"],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tsv = ["id\ttext\ttitle", *(f"{id_}\t{text}\t" for id_, text in PASSAGES)]
    Path("p.tsv").write_text("\n".join(tsv) + "\n")
    for name, rows in (("q.jsonl", QUESTIONS), ("train.jsonl", TRAIN)):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


COMMAND = ["audit", "--passages", "p.tsv", "--questions", "q.jsonl", "--output-dir", "out"]
WHOLE = [*COMMAND, "--train-file", "train.jsonl", "--near-duplicates", "--near", "0.75"]
WHOLE += ["--common-share", "0.3"]


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_an_audit_finds_what_a_hand_counts(here):
    told = json.loads(call(*WHOLE, "--json").stdout)
    figures = {name: (one["count"], one["of"]) for name, one in told["figures"].items()}
    assert figures == {
        "no_answer": (1, 4),
        "gold_missing": (1, 3),
        "common_answer": (3, 4),
        "stop_word_answer": (1, 4),
        "empty_answer": (1, 4),
        "without_answers": (1, 5),
        "repeated_question": (1, 5),
        "in_train": (1, 5),
        "near_train": (1, 5),
        "empty_passage": (1, 5),
        "duplicate_passage": (1, 5),
        "near_duplicate_passage": (1, 5),
    }
    assert told["ceiling"] == 0.75
    assert set(told["not_measured"]) == {"question_cut", "passage_cut"}
    assert told["figures"]["common_answer"]["examples"][0] == "'the' in 80.0% of the passages"
    tags = lines_of("out/tags.jsonl")
    assert {line["id"]: line["tags"] for line in tags} == TAGGED
    assert tags[3]["train_question"] == "so what fell down"
    assert tags[3]["similarity"] == 0.75
    assert lines_of("out/duplicates.jsonl") == [
        {"id": "b", "repeats": "a", "similarity": 1.0},
        {"id": "d", "repeats": "c", "similarity": pytest.approx(15 / 17, abs=1e-4)},
    ]
    written = json.loads(Path("out/audit.json").read_text())
    assert written["figures"] == told["figures"]


def test_a_second_audit_is_up_to_date_and_tells_the_same(here):
    first = call(*WHOLE)
    again = call(*WHOLE, "--fail-if", "in_train:1")
    assert again.exit_code == 0
    assert "answer recall can reach 0.7500 at most" in again.stdout
    assert again.stdout == first.stdout
    told = json.loads(call(*WHOLE, "--json").stdout)
    assert told["up_to_date"]
    assert not json.loads(call(*COMMAND, "--json").stdout)["up_to_date"]


def test_a_gate_fails_after_the_figures_are_shown(here):
    failed = call(*WHOLE, "--fail-if", "no_answer:0.1,in_train:0.2,passage_cut", "--csv")
    assert failed.exit_code == 3
    assert "no_answer,1,4,0.25" in failed.stdout
    assert "--fail-if no_answer: 0.2500 (1 of 4) is above 0.1" in failed.stderr
    assert "--fail-if passage_cut: is not measured: give --retriever" in failed.stderr
    assert "in_train:" not in failed.stderr


def test_gates_of_which_each_has_its_own_flag_all_count(here):
    failed = call(*WHOLE, "--fail-if", "no_answer:0.1", "--fail-if", "empty_passage:1")
    assert failed.exit_code == 3
    assert "--fail-if no_answer: 0.2500 (1 of 4) is above 0.1" in failed.stderr


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("no_answers:0.1", "did you mean 'no_answer'?"),
        ("no_answer:often", "'no_answer:often' is not valid: a share is from 0 to 1"),
        ("no_answer:5", "a share is from 0 to 1"),
    ],
)
def test_a_gate_that_cannot_be_is_refused_at_once(here, given, problem):
    refused = call(*COMMAND, "--fail-if", given)
    assert refused.exit_code == 1
    assert problem in refused.stderr
    assert not Path("out").exists()


def test_regular_expressions_are_matched_as_evaluate_does(here):
    rows = [("x", r"^paris"), ("y", r"20\d\d"), ("z", "19.."), ("w", "(")]
    text = "".join(f"{name}\t{[answer]!r}\n" for name, answer in rows)
    Path("q.csv").write_text(text)
    command = ["audit", "--passages", "p.tsv", "--questions", "q.csv", "--output-dir", "out"]
    told = json.loads(call(*command, "--match", "regex", "--json").stdout)
    assert told["figures"]["no_answer"]["count"] == 2
    assert told["figures"]["unmatchable_answer"]["examples"] == ["w ['(']"]
    assert "stop_word_answer" not in told["figures"]
    assert [line["tags"][:1] for line in lines_of("out/tags.jsonl")] == (
        [["common-answer"], [], ["no-answer-in-corpus"], ["no-answer-in-corpus"]]
    )


def test_judgements_name_the_gold_passages(here):
    Path("qrels.tsv").write_text("q0\ta\t1\nq0\tnot-there\t0\nq3\tnot-there\t2\n")
    result = call(*COMMAND, "--qrels", "qrels.tsv", "--json")
    assert "questions without judgement, left out: 3" in result.stderr
    told = json.loads(result.stdout)
    assert told["figures"]["gold_missing"] == {
        "count": 1,
        "of": 2,
        "share": 0.5,
        "examples": ["what fell down"],
    }
    Path("qrels.tsv").write_text("other\ta\t1\n")
    refused = call(*COMMAND, "--qrels", "qrels.tsv")
    assert "qrels.tsv: judges none of the questions of q.jsonl" in refused.stderr


def test_questions_without_answers_or_gold_say_what_is_not_measured(here):
    Path("q.jsonl").write_text("who is it\nwhat is it\n")
    shown = call(*COMMAND)
    assert "question has no answer" not in shown.stdout
    assert shown.exit_code == 0
    assert "not measured: no answer in the corpus, answer in very many" in shown.stdout
    assert "(no question has answers)" in shown.stdout
    assert "can reach" not in shown.stdout
    assert "q.jsonl: no question has an answer or a gold passage to look for" in shown.stderr
    assert json.loads(call(*COMMAND, "--json").stdout)["ceiling"] is None


@pytest.mark.parametrize("model", ["small_retriever", "small_colbert"])
def test_what_the_retriever_cuts_is_counted_by_its_own_tokenizer(here, model, request):
    folder = request.getfixturevalue(model)
    longest = load_config(folder).passage_max_length
    tokenizer = Tokenizer.from_file(str(folder / "question_encoder/tokenizer.json"))
    tokenizer.no_truncation()
    texts = ["word " * n for n in range(1, 400, 7)]
    Path("long.tsv").write_text("".join(f"{n}\t{text}\n" for n, text in enumerate(texts)))
    Path("q.jsonl").write_text("what " * 300 + "\nwhy\n")
    command = [word if word != "p.tsv" else "long.tsv" for word in COMMAND]
    told = call(*command, "--retriever", folder, "--json")
    figures = json.loads(told.stdout)["figures"]
    lengths = [len(tokenizer.encode(text.strip()).ids) for text in texts]
    too_long = sum(length > longest for length in lengths)
    assert 0 < figures["passage_cut"]["count"] == too_long < len(texts)
    assert figures["question_cut"]["count"] == 1


def test_processes_that_share_the_corpus_find_what_one_finds(tmp_path, monkeypatch):
    dice = random.Random(2)
    texts = [" ".join(dice.choices("abcdefgh", k=dice.randint(0, 5))) for _ in range(5000)]
    path = write_corpus(tmp_path / "p.jsonl", texts)
    keys = [answer_key(answer, "string") for answer in ("a", "b c", "a b c d", "h h h h h h")]
    facts = []
    for processes in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", processes)
        plan = Plan(str(path), keys, "string", None, None)
        facts.append(facts_of(plan, PassageFile(path), SILENT))
    counts = [sum(has_answer([key.strip()], text) for text in texts) for key in keys]
    for one in facts:
        assert (one.shares * 5000).tolist() == pytest.approx(counts)
        assert one.found.tolist() == [count > 0 for count in counts]
        assert one.empty == texts.count("")
        assert len(one.repeats) == sum(map(bool, texts)) - len(set(texts) - {""})
    assert facts[0].repeats == facts[1].repeats


# --- bad input ------------------------------------------------------------------------------------


def test_a_corpus_without_passages_or_with_an_id_twice_is_refused(here):
    for text, problem in (
        ("", "the file is empty"),
        ("id\ttext\ttitle\n", "holds no passage"),
        ("a\tone\t\na\ttwo\t\n", "the id 'a' is that of passage 1 too"),
    ):
        Path("p.tsv").write_text(text)
        with pytest.raises(FormatError, match=problem):
            audit(AuditSettings(passages="p.tsv", questions="q.jsonl", output_dir="out"))


def test_questions_with_an_id_twice_are_refused(here):
    Path("q.jsonl").write_text('{"id": "x", "question": "a"}\n{"id": "x", "question": "b"}\n')
    with pytest.raises(InputError, match="two questions have the id 'x'"):
        audit(AuditSettings(passages="p.tsv", questions="q.jsonl", output_dir="out"))


def test_stdin_is_refused_by_name(here):
    with pytest.raises(SettingsError, match="name a file"):
        audit(AuditSettings(passages="-", questions="q.jsonl", output_dir="out"))
