"""Files of questions in all their forms, against csv of the standard library."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from dprkit.data.ids import read_ids
from dprkit.data.questions import read_questions, write_question
from dprkit.errors import FormatError
from dprkit.records import Question


def save(folder: Path, data: bytes | str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path) -> FormatError:
    with pytest.raises(FormatError) as caught:
        list(read_questions(path))
    assert re.match(rf"{re.escape(str(path))}:(\d+|byte \d+): .+$", str(caught.value))
    return caught.value


# --- columns --------------------------------------------------------------------------------------

ROWS = [
    ("What kind of Parliament, exactly?", "bicameral"),
    ('Who said "no; never"?', "a, b"),
    ("two\nlines\tand a tab", ""),
    ("plain", 'with "quotes"'),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("header", [("question", "answer"), ("Query", "Answers")])
def test_a_comma_csv_of_questions_is_read_as_columns(
    tmp_path: Path, delimiter: str, quoting: int, header: tuple[str, ...]
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=quoting).writerows([header, *ROWS])
    assert list(read_questions(save(tmp_path, file.getvalue()))) == [
        Question(str(number), question, (answer,) if answer else ())
        for number, (question, answer) in enumerate(ROWS)
    ]


def test_columns_are_found_by_their_names_and_others_are_passed_over(tmp_path: Path) -> None:
    text = (
        "category,id,answers,question,passage_id\n"
        "geo,a7,\"['Paris', 'it''s']\",Where?,12\n"
        'art,b,[],"Who, then?",\n'
    )
    # Python joins strings that stand beside each other, as DPR's own reader does.
    assert list(read_questions(save(tmp_path, text))) == [
        Question("a7", "Where?", ("Paris", "its"), ("12",)),
        Question("b", "Who, then?"),
    ]


def test_a_header_alone_names_the_only_column(tmp_path: Path) -> None:
    path = save(tmp_path, 'question\nWho, when, and why?\n"Quoted, as pandas does"\nplain\n')
    assert [q.question for q in read_questions(path)] == [
        "Who, when, and why?",
        "Quoted, as pandas does",
        "plain",
    ]


@pytest.mark.parametrize("header", ["question\tanswers\n", "id\tquestion\tanswers\n", ""])
def test_dprs_list_is_read_with_a_header_and_without(tmp_path: Path, header: str) -> None:
    start = "7\t" if header.startswith("id") else ""
    text = f"{header}{start}who?\t\"['Ann', 'a ''b''']\"\n"
    id_ = "7" if header.startswith("id") else "0"
    assert list(read_questions(save(tmp_path, text))) == [Question(id_, "who?", ("Ann", "a b"))]


def test_an_id_and_a_question_without_a_header_are_ms_marcos(tmp_path: Path) -> None:
    lines = ["1048585\twhat is it", '2\t"Cats" are what', "3\t how, then?"]
    path = save(tmp_path, "\n".join(lines))
    assert list(read_questions(path)) == [Question(*line.split("\t")) for line in lines]


@pytest.mark.parametrize("id_", ["id", "_id", "qid", "question_id", "query_id"])
def test_one_answer_may_be_a_text_and_ids_and_questions_have_any_usual_name(tmp_path, id_):
    path = save(tmp_path, f'{{"{id_}": 7, "query": "who", "answers": "me"}}\n')
    assert list(read_questions(path)) == [Question("7", "who", ("me",))]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("question,answer\nwho,me\nwho,me,you\n", 3, "3 comma-separated columns where there"),
        ("question,answer\n,me\n", 2, "lacks a question"),
        ("question,answer,question\nwho,me,what\n", 1, "the header names question 2 times"),
        ("question,answers\nwho,\"[open('x')]\"\n", 2, "the answers are no Python list"),
        ("question,answers\nwho,\"['me' 'you']\"\n", 2, "the answers are no Python list"),
        ("question,answers\nwho,\"array(['me'], dtype=object)\"\n", 2, "no Python list"),
        ("question,answers\nwho,\"{'text': ['me']}\"\n", 2, "no Python list"),
        ("sep=;\nquestion;answer\nwho;me;you\n", 3, "3 semicolon-separated columns"),
        ("question,answer\n", 1, "holds no question"),
        ("[]", 1, "holds no question"),
        ('question,answer\n"who" x,me\n', 2, "broken quotes"),
        ("a b\tc d\te f\n", 1, "need a header such as id<tab>question<tab>answers"),
        ("who\tme\n", 1, "the answers are no Python list of strings: me"),
    ],
)
def test_a_row_that_does_not_fit_its_columns_is_refused(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    error = refusal(save(tmp_path, text))
    assert error.where == line
    assert problem in error.problem


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'What is it?,me\nwho, "then"?,you\n',
        "What is it?;me\n",
        "What is it?,\n",
        '"Who, then?",me\n',
        'who is it,"me, you"\n',
        "who is it,me\nwhat is it,you\nwhere is it,here\n",
        "1,who is it\n2,what is it\n3,where is it\n",
        "1;who is it;me\n2;what is it;you\n3;where is it;here\n",
        "q,a\nwho is it,me\nwhat is it,you\n",
    ],
)
def test_a_comma_csv_without_a_header_is_never_plain_lines(tmp_path: Path, text: str) -> None:
    problem = refusal(save(tmp_path, text)).problem
    assert problem == (
        "a row of a csv, not a question; begin the file with a header such as question,answer"
    )


@pytest.mark.parametrize(
    "line", ["q1 Q0 d1 1 3.5 tag", "1 0 d1 1", "1\t0\td1\t1", "q1  Q0 d 2 -0.5e3 t"]
)
def test_a_line_of_a_trec_run_or_of_judgements_is_no_question(tmp_path: Path, line: str) -> None:
    refusal(save(tmp_path, f"{line}\n"))


@pytest.mark.parametrize(
    "lines",
    [
        ["<b> is what in HTML?", "in 1 0 what 1 is it"],
        ["who wrote it, and when?", "who, then?", "where, when, why?"],
        ['"Who" said it?', 'what does "a, b" mean?', '"Hamlet", who wrote it?'],
        ["1,000 people or 2,000?", "who is a,b"],
        ["text, or not", "id?", "Question 5: who?"],
        ["who is it;", "a;b or c?"],
        ["who,me\t[]", "what,you\t[]", "when,now\t[]"],
    ],
)
def test_plain_lines_with_commas_and_quotes_stay_plain(tmp_path: Path, lines: list[str]) -> None:
    path = save(tmp_path, "\n".join(lines))
    asked = [question.question for question in read_questions(path)]
    assert asked == [line.removesuffix("\t[]") for line in lines]


@pytest.mark.parametrize("data", [b"who\rwhat\rwhen\r", b"who \0 it\n", b"ab\0\0\0cd\n"])
def test_lines_with_control_characters_are_no_questions(tmp_path: Path, data: bytes) -> None:
    refusal(save(tmp_path, data))


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (json.dumps({"question": "q", "answers": ["a"]}, indent=1), "jq -c . FILE > rows.jsonl"),
        ('{"question": "q", "answers": 1}', "the field answers is a whole number; it has to be"),
        (
            '{"id": 1.5, "question": "q"}',
            "id is a number; it has to be a whole number or text or",
        ),
        ('{"id": true, "question": "q"}', "the field id is true or false; it has to be"),
        ('[["q", "a"]]', "expected an object"),
        ('["q"]', "expected an object"),
    ],
)
def test_json_that_is_no_question_is_refused_in_plain_words(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert problem in refusal(save(tmp_path, text)).problem


# --- ids ------------------------------------------------------------------------------------------


def test_ids_are_one_a_line(tmp_path: Path) -> None:
    path = save(tmp_path, "\ufeff1\r\n a b \n\n[3\n4,5\n")
    assert read_ids(path) == {"1", "a b", "[3", "4,5"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1\ttext\n", "cut -f1 FILE > ids.txt"),
        ('["1", "2"]\n', "JSON; an id a line is needed"),
        ('[\n"1"\n]\n', "JSON; an id a line is needed"),
        ('{"_id": "1", "text": "x"}\n', "JSON; an id a line is needed"),
        ("1\r2\r", "a control character; name a file with an id a line"),
        ("PK\x03\x04", "a zip archive"),
    ],
)
def test_what_is_no_file_of_ids_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_ids(save(tmp_path, text))
    assert problem in caught.value.problem


def test_data_set_tags_and_pages_of_a_question_are_kept(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "dataset": "nq", "tags": ["long", "near-train", "long"]},
        {"question": "b", "dataset": None, "tags": "long"},
        {"question": "c", "pages": [["12", 7], ["3"]]},
    ]
    questions = list(read_questions(save(tmp_path, "\n".join(map(json.dumps, rows)))))
    assert questions == [
        Question("0", "a", (), (), "nq", ("long", "near-train")),
        Question("1", "b", (), (), "", ("long",)),
        Question("2", "c", pages=(("12", "7"), ("3",))),
    ]
    with (tmp_path / "again.jsonl").open("wb") as file:
        for question in questions:
            write_question(question, "again.jsonl", file)
    assert list(read_questions(tmp_path / "again.jsonl")) == questions
