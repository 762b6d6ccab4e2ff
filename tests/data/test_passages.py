"""Foreign files, against what their formats say and against csv of the standard library.

What is expected is written out by hand or read by another reader, never by the one under test.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dprkit.data.examples import read_examples
from dprkit.data.passages import PASSAGES_HEADER, passage_line, read_passages
from dprkit.data.questions import read_questions, write_question
from dprkit.data.rankings import read_results, write_ranking
from dprkit.errors import FormatError
from dprkit.records import Candidate, Example, Hit, Passage, Question, Ranking

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")

Reader = Callable[[Path], Iterator[Any]]


def save(folder: Path, data: bytes | str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path, read: Reader) -> FormatError:
    """The error that reading ends in: one line that begins with the path and a place."""
    with pytest.raises(FormatError) as caught:
        list(read(path))
    assert re.match(rf"{re.escape(str(path))}:(\d+|byte \d+): .+$", str(caught.value))
    return caught.value


# --- examples -------------------------------------------------------------------------------------

NQ = """[
{
"dataset": "nq_dev_psgs_w100",
"question": "who wrote it",
"answers": ["Ann \\u00c9. Author", "A. Author"],
"positive_ctxs": [
{"title": "It", "text": "\\"It\\" is a book.", "score": 1000, "title_score": 1, "passage_id": "12"},
{"title": "It (film)", "text": "a film", "score": 8.25, "title_score": 0, "passage_id": "13"}
],
"negative_ctxs": [{"title": "Tea", "text": "a drink", "score": 0, "passage_id": "99"}],
"hard_negative_ctxs": [{"title": "They", "text": "a word", "score": 7.5, "passage_id": "14",
"teacher_score": -2.5}]
},
{"question": "next", "positive_ctxs": []}
]"""


def test_a_dpr_file_is_read_field_by_field(tmp_path: Path) -> None:
    expected = [
        Example(
            "who wrote it",
            ("Ann É. Author", "A. Author"),
            (
                Candidate("12", '"It" is a book.', "It", 1000),
                Candidate("13", "a film", "It (film)", 8.25),
            ),
            hard_negatives=(Candidate("14", "a word", "They", 7.5, teacher_score=-2.5),),
            negatives=(Candidate("99", "a drink", "Tea", 0),),
        ),
        Example("next", (), ()),
    ]
    assert list(read_examples(save(tmp_path, NQ))) == expected
    lines = "\n".join(map(json.dumps, json.loads(NQ)))
    assert list(read_examples(save(tmp_path, lines))) == expected


def example_with(**context: object) -> str:
    return json.dumps({"question": "q", "positive_ctxs": [{"text": "x", **context}]})


@pytest.mark.parametrize(
    ("context", "candidate"),
    [
        ({"psg_id": "7", "title": "T"}, Candidate("7", "x", "T")),  # SQuAD's spelling
        ({"psg_id": 7}, Candidate("7", "x")),
        ({"passage_id": 0}, Candidate("0", "x")),
        ({"id": "a", "title": None}, Candidate("a", "x")),
        (
            {"id": "b", "score": "1.5", "title_score": None, "extra": [{}]},
            Candidate("b", "x", score=1.5),
        ),
    ],
)
def test_ids_and_titles_come_in_every_spelling(
    tmp_path: Path, context: dict[str, object], candidate: Candidate
) -> None:
    [example] = read_examples(save(tmp_path, example_with(**context)))
    assert example.positives == (candidate,)


def test_a_passage_without_an_id_gets_one_from_its_title_and_text(tmp_path: Path) -> None:
    lines = [
        example_with(),
        example_with(passage_id=""),
        example_with(title="T"),
        example_with(text="y"),
    ]
    found = read_examples(save(tmp_path, "\n".join(lines)))
    first, again, titled, other = (example.positives[0].id for example in found)
    assert first == again
    assert len({first, titled, other, ""}) == 4


DEEP = '{"question": "q", "positive_ctxs": [], "x": ' + "[" * 9999 + "]" * 9999 + "}"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"positive_ctxs": []}', "lacks the field question"),
        ('{"question": "q"}', "lacks the field positive_ctxs"),
        (
            '{"question": 5, "positive_ctxs": []}',
            "the field question is a whole number; it has to be text",
        ),
        ('{"question": null, "positive_ctxs": []}', "question is null; it has to be text"),
        ('{"question": "q", "positive_ctxs": {}}', "is an object; it has to be a list"),
        (
            '{"question": "q", "positive_ctxs": ["text"]}',
            r"positive_ctxs\[0\] is text; it has to be an object",
        ),
        ('{"question": "q", "positive_ctxs": [{"title": "t"}]}', "lacks the field text"),
        ('{"question": "q", "positive_ctxs": [{"text": 1}]}', r"positive_ctxs\[0\]\.text"),
        (
            '{"question": "q", "positive_ctxs": [], "answers": "a"}',
            "the field answers is text; it has to be a list",
        ),
        (
            '{"question": "q", "positive_ctxs": [], "answers": [1]}',
            r"answers\[0\] is a whole number; it has to be text",
        ),
        ('{"question": "q", "positive_ctxs": [}', "not JSON"),
        ('{"question": "q"} x', "lacks the field positive_ctxs"),
        (DEEP, "nested too deeply"),
        ('{"question": "\\ud800", "positive_ctxs": []}', "not JSON"),  # half a surrogate pair
    ],
)
def test_a_row_that_is_no_example_is_refused_with_its_place(
    tmp_path: Path, row: str, problem: str
) -> None:
    good = '{"question": "q", "positive_ctxs": []}'
    error = refusal(save(tmp_path, f"{good}\n\n{row}\n"), read_examples)
    assert error.where == 3
    assert re.search(problem, error.problem), error.problem
    error = refusal(save(tmp_path, f"[{good}, {row}]"), read_examples)
    assert error.where == f"byte {len(good) + 3}" or row.endswith("[}")


# --- passages -------------------------------------------------------------------------------------

TSV = (
    "id\ttext\ttitle\n"
    '1\t"Aaron (; ""Ahärôn"") is a prophet."\tAaron\n'
    "2\tbare, with a ' and an inner \" too\tT\n"
    '3\t"two\nlines, a\ttab\n\n \r\nmore"\t"A ""quoted"" title"\n'
    '4\t""\t\n'
)
PASSAGES = [
    Passage("1", 'Aaron (; "Ahärôn") is a prophet.', "Aaron"),
    Passage("2", "bare, with a ' and an inner \" too", "T"),
    Passage("3", "two\nlines, a\ttab\n\n \r\nmore", 'A "quoted" title'),
    Passage("4", "", ""),
]


def test_a_dpr_tsv_is_read_as_csv_says(tmp_path: Path) -> None:
    assert list(read_passages(save(tmp_path, TSV))) == PASSAGES
    assert list(read_passages(save(tmp_path, gzip.compress(TSV.encode())))) == PASSAGES
    without_header = TSV.split("\n", 1)[1]
    assert list(read_passages(save(tmp_path, without_header))) == PASSAGES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title\tid\ttext\nT\t1\tx\n", [Passage("1", "x", "T")]),
        ("id\ttext\n1\tx\n", [Passage("1", "x")]),
        ('\ufeffid\ttext\ttitle\r\n1\t"x"\tT\r\n\r\n2\ty\t', [("1", "x", "T"), ("2", "y", "")]),
        ("id\ttext\ttitle\n\n \n1\tx\tT\n\t\n\n", [Passage("1", "x", "T")]),
        ("id\ttext\ttitle\n", []),
    ],
    ids=["another order", "no titles", "a mark and CRLF", "blank lines", "only a header"],
)
def test_headers_and_line_ends_may_differ(tmp_path: Path, text: str, expected: list[Any]) -> None:
    passages = [p if isinstance(p, Passage) else Passage(*p) for p in expected]
    assert list(read_passages(save(tmp_path, text))) == passages


SIGNS = "ab\"'\t\n\r\\ ,{[\u2028\x85\x0b\x0c\x1c\x00\ufeffé😀"
HOSTILE = st.text(SIGNS) | st.text('\n\r\t "') | st.text(st.characters(codec="utf-8"))


@given(st.lists(st.builds(Passage, HOSTILE.filter(bool), HOSTILE, HOSTILE), max_size=4))
def test_written_passages_are_read_back_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, passages: list[Passage]
) -> None:
    data = PASSAGES_HEADER + b"".join(map(passage_line, passages))
    path = save(tmp_path_factory.getbasetemp(), data, "passages.tsv")
    assert list(read_passages(path)) == passages
    rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter="\t")
    assert list(rows)[1:] == [[p.id, p.text, p.title] for p in passages]


def looks_like_rows(cells: tuple[str, ...]) -> bool:
    """A passage of several lines, each of which has three columns by itself."""
    lines = [line for line in "\t".join(cells).split("\n") if line.strip()]
    return len(lines) > 1 and all(line.count("\t") == 2 for line in lines)


@given(st.lists(st.tuples(HOSTILE.filter(str.strip), HOSTILE, HOSTILE), max_size=4))
def test_passages_that_csv_wrote_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]]
) -> None:
    assume(not any(map(looks_like_rows, cells)))
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter="\t")
    writer.writerows([("id", "text", "title"), *cells])
    path = save(tmp_path_factory.getbasetemp(), file.getvalue(), "passages.tsv")
    assert list(read_passages(path)) == [Passage(*three) for three in cells]


def test_a_passage_is_written_as_dpr_writes_it() -> None:
    assert passage_line(PASSAGES[0]) == '1\t"Aaron (; ""Ahärôn"") is a prophet."\tAaron\n'.encode()


def test_jsonl_and_beir_passages_are_read(tmp_path: Path) -> None:
    lines = (
        '{"id": 5, "text": "x", "title": "T"}\n'
        '{"_id": "MED-10", "title": "", "text": "y", "metadata": {"url": "u"}}\n'
        '{"id": "c", "text": "z", "title": null}\n'
    )
    assert list(read_passages(save(tmp_path, lines))) == [
        Passage("5", "x", "T"),
        Passage("MED-10", "y"),
        Passage("c", "z"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("1 2\tx\n", 1, "two columns, of which the first .'1 2'. is no id; begin the file with"),
        ("1\n", 1, "1 tab-separated columns where there should be 3"),
        ("1\tx\tT\n2\ty\tT\tmore\n", 2, "4 tab-separated columns"),
        ("id\ttext\n1\tx\tT\n", 2, r"should be 2 \(id, text\)"),
        ('1\t"x\n\ny"\tT\n\nalone\n', 5, "1 tab-separated columns"),
        ("1\tx\tT\n\ty\tT\n", 2, "the id is empty"),
        ('1\t"x"\tT\n2\t"y" z\tT\n', 2, "broken quotes"),
        ('1\t"x"\tT\n2\t"y\tT\n3\tz\tT\n', 2, "broken quotes"),
        ('{"id": "1", "text": "x"}\n{"text": "y"}\n', 2, "lacks the field id"),
        ('{"id": "1", "text": "x"}\n{"id": "2"}\n', 2, "lacks the field text"),
    ],
)
def test_what_is_no_passage_is_refused_with_the_line_it_begins_on(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    error = refusal(save(tmp_path, text), read_passages)
    assert error.where == line
    assert re.search(problem, error.problem), error.problem


def test_passages_in_latin_1_are_refused(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, "1\tx\tT\n2\té\tT\n".encode("latin-1")), read_passages)
    assert (error.where, "0xe9" in error.problem) == (2, True)


# --- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "question", "answers"),
    [
        ("who?\t['Ann']", "who?", ("Ann",)),
        ("who?\t['Ann', \"it's\"]", "who?", ("Ann", "it's")),
        ("who?\t\"['a ''b''', \"\"it's\"\"]\"", "who?", ("a b", "it's")),
        ("who?\t['\\u00c9', '\\'q\\'', 'a\\\\b', 'x\\ty']", "who?", ("É", "'q'", "a\\b", "x\ty")),
        ("wer? 東京\t['拳闘', '🚁']", "wer? 東京", ("拳闘", "🚁")),
        ('"say ""hi"""\t()', 'say "hi"', ()),
        ("who?\t[]", "who?", ()),
        ("who?\t['\\d+\\s?m']", "who?", (r"\d+\s?m",)),  # no escape of Python's, and no warning
        ("just a line ", "just a line", ()),
        ('"Who" said it?', '"Who" said it?', ()),
    ],
)
def test_a_line_of_a_qa_csv_is_a_question_and_a_list(
    tmp_path: Path, line: str, question: str, answers: tuple[str, ...]
) -> None:
    expected = [Question("0", question, answers), Question("1", "next", ("x",))]
    assert list(read_questions(save(tmp_path, f"{line}\n\nnext\t['x']\n"))) == expected


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('touch {target}')",
        "[__import__('os').system('touch {target}')]",
        "[open('{target}', 'w').name]",
        "[x for x in 'ab']",
        "['a'] + ['b']",
        "'a'",
        "[1]",
        "{{'a': 'b'}}",
        "[b'a']",
        "['a'",
        "['a']['b']",
        "",
        "[" * 5000,
    ],
)
def test_answers_that_are_code_are_refused_and_not_run(tmp_path: Path, code: str) -> None:
    target = tmp_path / "target"
    path = save(tmp_path, "who?\t['a']\nwhat?\t" + code.format(target=target) + "\n")
    error = refusal(path, read_questions)
    assert error.where == 2
    assert "no Python list of strings" in error.problem
    assert not target.exists()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": 3, "question": "q", "answers": ["a"]}, Question("3", "q", ("a",))),
        ({"question": "q"}, Question("0", "q")),
        ({"_id": "PLAIN-2", "text": "q", "metadata": {}}, Question("PLAIN-2", "q")),  # BEIR
        (  # KILT
            {"id": "k", "input": "q", "output": [{"answer": "a"}, {"provenance": []}]},
            Question("k", "q", ("a",)),
        ),
        ({"question": "q", "answer": ["a", "b"]}, Question("0", "q", ("a", "b"))),  # NQ open
        ({"question": "q", "answer": "a"}, Question("0", "q", ("a",))),
        ({"question": "q", "passage_id": 5}, Question("0", "q", (), ("5",))),
        ({"question": "q", "passage_ids": ["5", 6]}, Question("0", "q", (), ("5", "6"))),
        (  # a training example
            {"question": "q", "positive_ctxs": [{"text": "x", "psg_id": "8"}, {"text": "y"}]},
            Question("0", "q", (), ("8",)),
        ),
    ],
)
def test_questions_come_in_every_spelling(
    tmp_path: Path, row: dict[str, object], expected: Question
) -> None:
    assert list(read_questions(save(tmp_path, json.dumps(row)))) == [expected]
    assert list(read_questions(save(tmp_path, json.dumps([row], indent=1)))) == [expected]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("q\t['a']\tmore\n", 1, "3 tab-separated columns"),
        ("q\n\t['a']\n", 2, "lacks a question"),
        ('q\n"q\t[]\n', 2, "broken quotes"),
        ('{"id": "1"}\n', 1, "lacks a question"),
        ('{"question": "q"}\n{"question": " "}\n', 2, "lacks a question"),
        ('{"question": ["q"]}\n', 1, "question is a list; it has to be text or null"),
    ],
)
def test_what_is_no_question_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    error = refusal(save(tmp_path, text), read_questions)
    assert error.where == line
    assert re.search(problem, error.problem), error.problem


@given(
    st.lists(
        st.builds(
            Question,
            id=st.just(""),
            question=HOSTILE.map(lambda text: f"q{text}"),
            answers=st.lists(HOSTILE, max_size=3).map(tuple),
        ),
        max_size=4,
    )
)
def test_written_questions_are_read_back_in_both_forms(
    tmp_path_factory: pytest.TempPathFactory, questions: list[Question]
) -> None:
    numbered = [Question(str(i), q.question, q.answers) for i, q in enumerate(questions)]
    for name in ("questions.jsonl", "questions.csv"):
        path = tmp_path_factory.getbasetemp() / name
        with path.open("wb") as file:
            for question in numbered:
                write_question(question, path, file)
        if not questions:
            continue
        found = list(read_questions(path))
        if name.endswith(".csv"):  # where a question is a line
            flat = [Question(q.id, q.question.replace("\n", " "), q.answers) for q in numbered]
            assert found == flat
            with path.open(newline="") as file:
                rows = list(csv.reader(file, delimiter="\t"))
            assert [(row[0], tuple(ast.literal_eval(row[1]))) for row in rows] == [
                (q.question, q.answers) for q in flat
            ]
        else:
            assert found == numbered


def test_the_form_of_written_questions_goes_by_the_name(tmp_path: Path) -> None:
    question = Question("7", "who?", ("Ann", "it's"), gold=("12",))
    for name in ("q.csv", "q.tsv", "q.csv.gz", "q.qa.csv.zst"):
        file = io.BytesIO()
        write_question(question, name, file)
        assert file.getvalue() == b'who?\t"[\'Ann\', ""it\'s""]"\n'
    for name in ("q.jsonl", "-", "q.jsonl.gz"):
        file = io.BytesIO()
        write_question(question, name, file)
        assert json.loads(file.getvalue()) == {
            "id": "7",
            "question": "who?",
            "answers": ["Ann", "it's"],
            "passage_ids": ["12"],
        }


# --- results --------------------------------------------------------------------------------------

RANKINGS = [
    Ranking(
        Question("0", "who?", ("Ann",)),
        (Hit("12", 81.25, "It", "a book", True), Hit("13", -1.0, "", "a film", False)),
    )
]


def test_results_of_dpr_are_read_with_scores_as_strings_and_its_prefix(tmp_path: Path) -> None:
    ctxs = [
        {"id": "wiki:12", "title": "It", "text": "a book", "score": "81.25", "has_answer": True},
        {"id": "wiki:13", "title": "", "text": "a film", "score": "-1", "has_answer": False},
    ]
    dpr = json.dumps([{"question": "who?", "answers": ["Ann"], "ctxs": ctxs}], indent=4)
    assert list(read_results(save(tmp_path, dpr))) == RANKINGS


def test_written_results_are_read_back(tmp_path: Path) -> None:
    full = Ranking(
        Question("a b", 'w"\n', ("x",), gold=("3",)),
        (Hit("p 1", 0.1 + 0.2, "T", "\u2028"), Hit("p2", 1e-9)),
    )
    for ranking in (*RANKINGS, full):
        file = io.BytesIO()
        write_ranking(ranking, file)
        assert list(read_results(save(tmp_path, file.getvalue()))) == [ranking]
        row = json.loads(file.getvalue())
        assert [ctx["score"] for ctx in row["ctxs"]] == [hit.score for hit in ranking.hits]


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    line = '{"question": "q", "ctxs": [{"id": "1", "score": "high"}]}'
    error = refusal(save(tmp_path, line), read_results)
    assert (error.where, error.problem) == (1, "the score 'high' at rank 1 is not a finite number")


# --- the field's own files ------------------------------------------------------------------------


@with_shared
@pytest.mark.parametrize("name", ["nq3_tiny", "squad1_tiny"])
def test_dprs_own_samples_are_read_whole(name: str) -> None:
    folder = SHARED / "nq_tiny"
    examples = list(read_examples(folder / f"{name}.json.gz"))
    assert examples == list(read_examples(folder / f"{name}.jsonl.gz"))
    with gzip.open(folder / f"{name}.json.gz") as file:
        rows = json.load(file)
    assert [e.question for e in examples] == [row["question"] for row in rows]
    assert len(examples) == 10
    for example in examples:
        assert len(example.negatives) == 50
        assert len(example.positives) + len(example.hard_negatives) == 101
    corpus = {p.id: p for p in read_passages(folder / f"{name}.passages.tsv.gz")}
    for example in examples:
        for passage in (*example.positives, *example.hard_negatives, *example.negatives):
            own = corpus[passage.id]
            assert (passage.title, passage.text) == (own.title, own.text)
    questions = list(read_questions(folder / f"{name}.qa.csv"))
    assert [(q.question, q.answers) for q in questions] == [
        (e.question, e.answers) for e in examples
    ]


@with_shared
@pytest.mark.parametrize(
    ("name", "count"), [("trivia-dev", 8837), ("nq-dev", 8757), ("curatedtrec-test", 694)]
)
def test_dprs_own_questions_are_read_as_dpr_reads_them(name: str, count: int) -> None:
    path = SHARED / "qas" / f"{name}.qa.csv"
    with path.open(newline="") as file:
        rows = [(q, tuple(ast.literal_eval(a))) for q, a in csv.reader(file, delimiter="\t")]
    found = list(read_questions(path))
    assert len(found) == count
    assert [(q.question, q.answers) for q in found] == rows


@with_shared
def test_squad_is_read_whole() -> None:
    folder = SHARED / "squad"
    corpus = list(read_passages(folder / "passages.tsv.gz"))
    with gzip.open(folder / "passages.tsv.gz", "rt", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert [[p.id, p.text, p.title] for p in corpus] == rows[1:]
    assert len(corpus) == 1509
    assert len(list(read_examples(folder / "retriever-dev.json.gz"))) == 1280
    questions = list(read_questions(folder / "dev.questions.jsonl.gz"))
    assert len(questions) == 1280
    assert all(question.gold for question in questions)
    plain = [(q.question, q.answers) for q in read_questions(folder / "dev.qa.csv")]
    assert plain == [(q.question, q.answers) for q in questions]


@with_shared
def test_beirs_own_files_are_read_whole() -> None:
    assert len(list(read_passages(SHARED / "scifact/corpus.jsonl.gz"))) == 5183
    with (SHARED / "scifact/queries.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    found = list(read_questions(SHARED / "scifact/queries.jsonl"))
    assert [(q.id, q.question) for q in found] == [(row["_id"], row["text"]) for row in rows]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([None, None], [None, None]), ([1, "2.5"], [1, 2.5]), ([None, -3.0, ""], [None, -3.0, 0])],
)
@pytest.mark.parametrize("pool", ["positive_ctxs", "negative_ctxs", "hard_negative_ctxs"])
def test_the_scores_of_passages_may_be_numbers_or_texts_or_lack(
    tmp_path: Path, pool: str, scores: list[object], expected: list[float | None]
) -> None:
    contexts = [{"text": "x", "score": score} for score in scores]
    row = {"question": "q", "positive_ctxs": [], pool: contexts}
    [example] = read_examples(save(tmp_path, json.dumps(row).encode()))
    candidates = (*example.positives, *example.hard_negatives, *example.negatives)
    assert [candidate.score for candidate in candidates] == expected


def test_bytes_that_are_no_utf8_are_refused_even_where_nobody_reads_them(tmp_path):
    """In the name or the value of a field that no record has; msgspec passes over these."""
    for extra in (b'"k\xd5y": 1', b'"other": "\xed\xa0\x80"'):
        path = tmp_path / "q.jsonl"
        path.write_bytes(b'{"question": "a"}\n{"question": "b", ' + extra + b"}\n")
        with pytest.raises(FormatError, match=r"q\.jsonl:2: not UTF-8"):
            list(read_questions(path))
