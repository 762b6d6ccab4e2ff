"""Files of benchmarks one by one: what is read equals what a few plain lines read."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dprkit.data.ids import content_id
from dprkit.errors import FormatError
from dprkit.imports import field_files, kilt, squad, trec_topics, triples
from dprkit.imports.items import Judgement, Tally, fault_of
from dprkit.records import Passage, Question
from dprkit.settings import ImportSettings

SHARED = Path(__file__).parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


def save(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(reader: Any, path: Path, tally: Tally | None = None) -> list[Any]:
    return list(reader(path, ImportSettings(), tally or Tally()))


# --- SQuAD ----------------------------------------------------------------------------------------

ARTICLES = [
    {
        "title": "Rivers",
        "paragraphs": [
            {
                "context": 'The "Rhine" {flows} to [the] sea.',
                "qas": [
                    {
                        "id": "a1",
                        "question": "Where does it flow?",
                        "answers": [{"text": "sea", "answer_start": 1}, {"text": "sea"}],
                    },
                    {"id": "a2", "question": "Who?", "answers": [], "is_impossible": True},
                ],
            },
            {"context": "Étang.", "qas": []},
        ],
    },
    {
        "title": "Hills",
        "paragraphs": [
            {
                "context": "High.",
                "qas": [
                    {"id": "b1", "question": "How?", "answers": [{"text": "high"}, {"text": "up"}]},
                    {
                        "id": "b2",
                        "question": "Why?",
                        "is_impossible": True,
                        "answers": [],
                        "plausible_answers": [{"text": "because"}],
                    },
                ],
            }
        ],
    },
]


def plain_squad(path: Path) -> tuple[list[Passage], list[Question], int]:
    passages, questions, unanswerable = [], [], 0
    for a, article in enumerate(json.loads(path.read_text())["data"], start=1):
        for p, paragraph in enumerate(article["paragraphs"], start=1):
            id_ = f"{path.name.partition('.json')[0]}:{a}#{p}"
            passages.append(Passage(id_, paragraph["context"], article["title"]))
            for asked in paragraph["qas"]:
                answers = list(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                if not answers:
                    unanswerable += 1
                else:
                    question = Question(asked["id"], asked["question"], tuple(answers), (id_,))
                    questions.append(question)
    return passages, questions, unanswerable


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("last", [True, False], ids=["version behind", "version before"])
def test_paragraphs_of_squad_are_passages_and_the_gold_ones_of_their_questions(
    tmp_path: Path, indent: int | None, last: bool
) -> None:
    version = {"version": "v2.0"}
    whole = {"data": ARTICLES} | version if last else version | {"data": ARTICLES}
    path = save(tmp_path, "dev-v2.0.json", json.dumps(whole, indent=indent))
    tally = Tally()
    assert squad.fits(path)
    items = read(squad.items, path, tally)
    passages, questions, unanswerable = plain_squad(path)
    assert [item for item in items if isinstance(item, Passage)] == passages
    assert [item for item in items if isinstance(item, Question)] == questions
    dropped = tally.dropped["unanswerable question"]
    assert (dropped.count, unanswerable) == (2, 2)
    assert "(question a2)" in dropped.first


def test_a_file_of_squad_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "train.json", json.dumps({"data": ARTICLES})[:-200])
    with pytest.raises(FormatError, match=r"train.json:byte \d+: the JSON array is cut off"):
        read(squad.items, path)


# --- KILT -----------------------------------------------------------------------------------------


def test_provenance_of_kilt_names_the_paragraphs_of_its_pages(tmp_path: Path) -> None:
    page = {
        "wikipedia_id": "12",
        "wikipedia_title": "Rhine",
        "text": ["Rhine\n", "It flows.\n", "Section::::Course.\n", "\n", "To the sea.\n"],
    }
    provenance = [
        {"wikipedia_id": "12", "start_paragraph_id": 1, "end_paragraph_id": 2},
        {"wikipedia_id": "7", "start_paragraph_id": 0, "end_paragraph_id": 0},
    ]
    outputs = [
        {"answer": "the sea", "provenance": provenance},
        {"answer": "the sea"},
        {"provenance": [{"wikipedia_id": "12", "start_paragraph_id": 4}]},
    ]
    asked = [
        {"id": "q1", "input": "where", "output": outputs, "meta": {}},
        {"id": "q2", "input": "a claim"},
    ]
    pages = save(tmp_path, "kilt_knowledgesource.json", json.dumps(page) + "\n")
    path = save(tmp_path, "nq-dev-kilt.jsonl", "\n".join(map(json.dumps, asked)))
    assert kilt.fits(pages) and kilt.fits(path)
    tally = Tally()
    assert read(kilt.items, pages, tally) == [
        Passage("12-0", "Rhine", "Rhine"),
        Passage("12-1", "It flows.", "Rhine"),
        Passage("12-4", "To the sea.", "Rhine"),
    ]
    assert {reason: d.count for reason, d in tally.dropped.items()} == {
        "heading of a section": 1,
        "empty paragraph": 1,
    }
    gold, pages_of_q1 = ("12-1", "12-2", "7-0", "12-4"), (("12", "7"), ("12",))
    assert read(kilt.items, path) == [
        Question("q1", "where", ("the sea",), gold, pages=pages_of_q1),
        Question("q2", "a claim"),
    ]


# --- TREC -----------------------------------------------------------------------------------------

TOPICS = """
<top>

<num> Number: 051
<dom> Domain: International Economics
<title> Topic:  Airbus <Industrie> &amp; Subsidies

<desc> Description:
How large is x < y?

<narr> Narrative:
Long.
</top>
<top>
<num> Number: MB02</num>
<title>
second
 topic</title>
</top>
"""
COVID = """<?xml version="1.0"?>
<topics task="COVIDSearch">
  <topic number="1">
    <query>coronavirus origin</query>
    <question>what is the origin of COVID-19</question>
  </topic>
</topics>
"""


def test_topics_of_trec_are_questions_by_their_titles(tmp_path: Path) -> None:
    topics, covid = save(tmp_path, "topics.51-100", TOPICS), save(tmp_path, "covid.xml", COVID)
    assert trec_topics.fits(topics) and trec_topics.fits(covid)
    assert read(trec_topics.items, topics) == [
        Question("51", "Airbus"),
        Question("MB02", "second topic"),
    ]
    assert read(trec_topics.items, covid) == [Question("1", "coronavirus origin")]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("<top>\n<num> 1\n<title> a\n", 1, "a topic without its end"),
        ("\n<top>\n<num> 1\n<top>\n", 2, "does not end before the next begins"),
        ("<top>\n<title> a\n</top>", 1, "a topic without a number"),
        ("<p>\ntext", 1, "holds no <top>"),
    ],
)
def test_broken_topics_are_refused_with_their_line(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    with pytest.raises(FormatError, match=problem) as caught:
        read(trec_topics.items, save(tmp_path, "topics", text))
    assert caught.value.where == line


# --- MS MARCO -------------------------------------------------------------------------------------


def test_triples_of_ids_are_judgements_and_those_of_texts_are_examples(tmp_path: Path) -> None:
    ids = save(tmp_path, "ids.tsv", "1\t10\t70\n1\t10\t71\n2\t3\t9001\n")
    assert triples.fits(ids)
    pairs = [("1", "10", 1), ("1", "70", 0), ("1", "10", 1), ("1", "71", 0)]
    wanted = [Judgement(*pair) for pair in [*pairs, ("2", "3", 1), ("2", "9001", 0)]]
    assert read(triples.items, ids) == wanted
    texts = save(tmp_path, "texts.tsv", 'who is he\the is "x"\tshe is y\n')
    assert triples.fits(texts)
    (example,) = read(triples.items, texts)
    (positive,), (negative,) = example.positives, example.hard_negatives
    assert (example.question, positive.text, negative.text) == (
        "who is he",
        'he is "x"',
        "she is y",
    )
    assert positive.id == content_id("", 'he is "x"')
    with pytest.raises(FormatError, match=r":2: 2 columns; a triple is a question"):
        read(triples.items, save(tmp_path, "bad.tsv", "1\t2\t300\n1\t2\n"))


# --- what a file is -------------------------------------------------------------------------------

LONG = "A passage of MS MARCO is a few sentences long. " * 5
FORMS = [
    ("passages", "collection.tsv", "0\tshort\n1\tshort too\n"),
    ("passages", "part-1.tsv", f"0\t{LONG}\n1\t{LONG}\n"),
    ("questions", "part-1.tsv", "2\twho was he\n1185869\twhat is paula deen's brother\n"),
    ("questions", "queries.dev.tsv", f"1\t{LONG}\n2\t{LONG}\n"),
    ("questions", "topics.dl20.txt", "1030303\twho is aziz hashim\n"),
    ("passages", "psgs.tsv", 'id\ttext\ttitle\n1\t"Aaron ""x"""\tAaron\n'),
    ("passages", "psgs.tsv", '1\t"Aaron is ""a name"""\tAaron\n'),
    ("passages", "corpus.jsonl", '{"_id": "4", "title": "", "text": "x", "metadata": {}}\n'),
    ("passages", "nano.jsonl", json.dumps({"_id": "4", "text": LONG})),
    ("questions", "nano.jsonl", '{"_id": "4", "text": "who"}\n'),
    ("questions", "nq-open.jsonl", '{"question": "who", "answer": ["x"]}\n'),
    ("questions", "nq-dev.qa.csv", "who was it\t['a', 'b']\nwhen\t[\"it's\"]\n"),
    ("qrels", "qrels.dev.tsv", "1\t0\t7067032\t1\n2\t0\t7\t1\n"),
    ("qrels", "qrels.robust", "301 0 FBIS3-10082 1\n301 0 FBIS3-10169 -2\n"),
    ("qrels", "test.tsv", "query-id\tcorpus-id\tscore\n1\t31715818\t1\n"),
    ("qrels", "test.jsonl", '{"query-id": "1", "corpus-id": "3"}\n'),
    ("triples", "qidpidtriples.tsv", "1\t2\t300\n1\t3\t5\n"),
    ("triples", "triples.tsv", f"what is it\t{LONG}\t{LONG}\n"),
    ("triples", "triples.train.tsv", f"what\t{LONG}\t{LONG}\nwhat is it\t{LONG}\tone\n" * 2),
    ("triples", "t.tsv", f"what is it\t{LONG}\t{LONG}\n" * 19 + f"what\t{LONG}\t{LONG}\n"),
    ("", "t.tsv", f"what\t{LONG}\t{LONG}\nwhat is it\t{LONG}\t{LONG}\n"),
    ("qrels", "qrels.txt", "301 0 FR1 1\n301 0 FR2 rel\n"),
    ("", "notes.txt", "Chapter one 1\nIt was a dark night, and\nnobody was there.\n"),
    ("examples", "nq.json", '[{"question": "q", "answers": [], "positive_ctxs": []}]'),
    ("squad", "train.json", json.dumps({"data": ARTICLES})),
    ("kilt", "kilt.jsonl", '{"id": "1", "input": "who", "output": [{"answer": "x"}]}\n'),
    ("trec-topics", "topics", TOPICS),
    ("", "pairs.csv", "question,positive\nwho,he\n"),
    ("", "rows.jsonl", '{"query": "q", "pos": ["x"], "neg": ["y"]}\n'),
    ("", "faq.jsonl", '{"question": "q", "answer": "x", "context": "y"}\n'),
    ("", "table.tsv", "question\tpositive\tnegative\nwho was\the was\tshe was\n"),
    ("", "empty", ""),
    ("", "binary", "\x00\x01\x02\n"),
]
FITS = {
    "squad": squad.fits,
    "kilt": kilt.fits,
    "trec-topics": trec_topics.fits,
    "examples": field_files.is_examples,
    "triples": triples.fits,
    "qrels": field_files.is_qrels,
    "passages": field_files.is_passages,
    "questions": field_files.is_questions,
}


@pytest.mark.parametrize(("kind", "name", "text"), FORMS)
def test_a_file_is_told_by_what_is_in_it(tmp_path: Path, kind: str, name: str, text: str) -> None:
    path = save(tmp_path, name, text)
    assert [name for name, fits in FITS.items() if fits(path)] == [kind][: bool(kind)]


def test_questions_without_ids_have_those_of_their_file(tmp_path: Path) -> None:
    open_nq = save(tmp_path, "nq-open.dev.jsonl", '{"question": "who", "answer": ["x", "y"]}\n')
    pairs = save(tmp_path, "a.qa.csv", "who\t['x']\nwhen\t['y']\n")
    queries = save(tmp_path, "queries.tsv", "7\twho\n")
    got = [read(field_files.question_items, path) for path in (open_nq, pairs, queries)]
    assert [[question.id for question in of] for of in got] == [
        ["nq-open.dev:0"],
        ["a:0", "a:1"],
        ["7"],
    ]
    assert got[0][0].answers == ("x", "y")


# --- real files -----------------------------------------------------------------------------------


@with_shared
def test_published_files_are_told_and_read_as_plain_readers_read_them(tmp_path: Path) -> None:
    qa = shutil.copy(SHARED / "qas/curatedtrec-test.qa.csv", tmp_path)
    with open(qa, newline="") as file:
        rows = [(q, tuple(ast.literal_eval(a))) for q, a in csv.reader(file, delimiter="\t")]
    assert field_files.is_questions(Path(qa))
    questions = read(field_files.question_items, Path(qa))
    assert [(question.question, question.answers) for question in questions] == rows

    psgs = Path(shutil.copy(SHARED / "nq_tiny/nq3_tiny.passages.tsv.gz", tmp_path))
    with gzip.open(psgs, "rt", newline="") as file:
        lines = [row for row in csv.reader(file, delimiter="\t") if row[0] != "id"]
    assert field_files.is_passages(psgs)
    passages = read(field_files.passage_items, psgs)
    assert [[p.id, p.text, p.title] for p in passages] == lines

    qrels = Path(shutil.copy(SHARED / "eval_fixtures/trec_eval/qrels.rel_level", tmp_path))
    judged = [line.split() for line in qrels.read_text().splitlines()]
    assert field_files.is_qrels(qrels)
    assert read(field_files.qrels_items, qrels) == [
        Judgement(q, p, int(grade)) for q, _, p, grade in judged
    ]

    examples = Path(shutil.copy(SHARED / "nq_tiny/squad1_tiny.json.gz", tmp_path))
    assert field_files.is_examples(examples)
    with gzip.open(examples) as file:
        contexts = [[c["psg_id"] for c in row["positive_ctxs"]] for row in json.load(file)]
    found = read(field_files.example_items, examples)
    assert [[p.id for p in example.positives] for example in found] == contexts


def test_a_judgement_that_a_tsv_cannot_hold_is_left_out_with_the_reason() -> None:
    assert fault_of(Judgement("q", "a b", 1)) == ""
    assert fault_of(Judgement("q", "a\tb", 1)) == "a tab or line break in an id"
    assert fault_of(Judgement("", "b", 1)) == "a judgement without an id"
