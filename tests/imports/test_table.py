"""Tables and JSON rows: what is read equals what csv and json read."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json

import pytest

from dprkit.data.ids import content_id
from dprkit.errors import FormatError
from dprkit.imports import columns, table
from dprkit.imports.items import Judgement, Tally
from dprkit.records import Passage, Question
from dprkit.settings import ImportSettings, import_data

TEXTS = [
    ("a1", "plain", "Title"),
    ("b2", 'with "quotes", commas; tabs? | bars', "É. 'single'"),
    ("c3", "two\nlines", "日本語"),
    ("d4", '"wholly quoted"', ""),
]


def read(path, *sources, **settings):
    """The items of a file, and what was told beside them."""
    tally = Tally()
    settings = ImportSettings(sources=(str(path), *sources), **settings)
    return list(table.items(path, settings, tally)), tally


def save(folder, content, name="file"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(folder, *rows):
    return save(folder, "".join(json.dumps(row) + "\n" for row in rows))


def texts(candidates):
    return [(c.text, c.teacher_score) for c in candidates]


# --- dialects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(("end", "mark"), [("\n", b""), ("\r\n", b"\xef\xbb\xbf")])
def test_a_table_of_any_dialect_is_read_as_csv_reads_it(tmp_path, delimiter, quoting, end, mark):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([("docid", "contents", "Title"), *TEXTS])
    path = save(tmp_path, mark + file.getvalue().encode())
    with path.open(encoding="utf-8-sig", newline="") as again:
        expected = [
            Passage(row["docid"], row["contents"].replace("\r\n", "\n"), row["Title"])
            for row in csv.DictReader(again, delimiter=delimiter)
        ]
    assert read(path)[0] == expected


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ('"query", "pos"\n"who, me", "it, is"\n"b", "c ""x"" d"\n', 'c "x" d'),
        ('query,pos\n"who, me","it, is"\n"b","c \\"x\\" d"\n', 'c "x" d'),
        ('query;pos\n"who, me";"it, is"\nb;"c \\\\ \\"d\\""\n', 'c \\ "d"'),
        ('"query", "pos"\n"who, me", "it, is"\n"b", "c \\"x\\" d"\n', 'c "x" d'),
        ('sep=;\r\nquery;pos\r\n"who, me";it, is\r\nb;c\r\n', "c"),
        ('"sep=,"\n\nquery,pos\n"who, me","it, is"\nb,c\n', "c"),
    ],
)
def test_spaces_before_quotes_backslashes_and_excels_line_are_told(tmp_path, content, wanted):
    (first, second), _ = read(save(tmp_path, content))
    assert (first.question, first.positives[0].text) == ("who, me", "it, is")
    assert (second.question, second.positives[0].text) == ("b", wanted)


def test_excels_line_may_stand_before_rows_without_a_header(tmp_path):
    items, _ = read(save(tmp_path, "sep=;\nd1;some text\nd2;another one\n"))
    assert items == [Passage("d1", "some text", ""), Passage("d2", "another one", "")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_packed_table_is_read(tmp_path, pack):
    path = save(tmp_path, pack(b"query,answer\nwho,me\n"))
    assert read(path)[0] == [Question(content_id("", "who"), "who", ("me",))]


def test_a_table_without_a_header_is_read_by_the_numbers_of_its_columns(tmp_path):
    path = save(tmp_path, 'who?;skip;"it; was"\nwhat?;skip;that\n')
    (first, second), tally = read(path, columns={"question": 1, "positive": 3})
    assert (first.question, first.positives[0].text) == ("who?", "it; was")
    assert (second.question, second.positives[0].text) == ("what?", "that")
    assert tally.understood[str(path)] == "examples: question from 1, positive from 3; not read: 2"


def test_without_a_header_an_id_and_a_text_and_a_list_of_answers_are_told(tmp_path):
    passages = save(tmp_path, "7\tsome text\ta title\n8\tmore, text\t\n", "a")
    assert read(passages)[0] == [Passage("7", "some text", "a title"), Passage("8", "more, text")]
    answers = save(tmp_path, "who wrote it\t['me', \"you\"]\n", "b")
    assert read(answers)[0][0].answers == ("me", "you")


def test_numbers_of_columns_are_also_those_of_a_header(tmp_path):
    path = save(tmp_path, "query,answer,x\nwho,me,a passage\n")
    (example,), _ = read(path, columns={"question": 1, "positive": 3})
    assert (example.question, example.positives[0].text) == ("who", "a passage")


# --- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "question", "positives", "negatives"),
    [
        ({"query": "q", "positive": "p"}, "q", ["p"], []),
        ({"anchor": "q", "positive": "p", "negative": "n"}, "q", ["p"], ["n"]),
        (
            {"anchor": "q", "positive": "p", "negative_1": "n", "negative_2": "m"},
            "q",
            ["p"],
            ["n", "m"],
        ),
        ({"query": "q", "pos": ["p", "o"], "neg": []}, "q", ["p", "o"], []),
        ({"Question": "q", "Context": "p"}, "q", ["p"], []),
        ({"sentence1": "q", "sentence2": "p"}, "q", ["p"], []),
        ({"question": "q", "positives": "p", "hard_negatives": ["n"]}, "q", ["p"], ["n"]),
        (
            {
                "query_id": 3,
                "query": "q",
                "positive_passages": [{"docid": "1", "title": "t", "text": "p"}],
                "negative_passages": [{"docid": "2", "title": "", "text": "n"}],
            },
            "q",
            ["p"],
            ["n"],
        ),
    ],
)
def test_the_usual_names_of_columns_are_known(tmp_path, row, question, positives, negatives):
    (example,), _ = read(rows_of(tmp_path, row))
    assert example.question == question
    assert [p.text for p in example.positives] == positives
    assert [p.text for p in example.hard_negatives] == negatives
    ids = [p.id for p in example.positives]
    assert ids == (["1"] if "query_id" in row else [content_id("", p) for p in positives])


def test_columns_names_what_their_names_do_not_tell_in_any_case(tmp_path):
    row = {"Frage": "wer", "antworten": ["ich"], "gut": "p", "schlecht": ["n"], "id": 3}
    named = {"question": "frage", "answers": "antworten", "positive": "Gut", "negative": "schlecht"}
    (example,), tally = read(rows_of(tmp_path, row), columns=named)
    assert (example.question, example.answers) == ("wer", ("ich",))
    assert (example.positives[0].text, example.hard_negatives[0].text) == ("p", "n")
    assert "question from Frage, positive from gut" in next(iter(tally.understood.values()))


def test_what_is_asked_for_decides_what_rows_are(tmp_path):
    row = {"id": "1", "question": "q", "context": "c", "title": "t", "answer": "a"}
    path = rows_of(tmp_path, row)
    assert read(path, columns={"text": "context"})[0] == [Passage("1", "c", "t")]
    assert read(path, columns={"question": "question", "answers": "answer"})[0][0].answers == ("a",)
    (example,), _ = read(path)
    assert (example.positives[0].text, example.positives[0].title) == ("c", "t")
    assert example.positives[0].id == content_id("t", "c")  # the id is that of the question


def test_of_several_sources_each_has_its_own_columns(tmp_path):
    passages = save(tmp_path, "pid,body\n1,x y\n", "a")
    named = {"text": "body", "question": "ask"}
    assert read(passages, "other", columns=named)[0] == [Passage("1", "x y")]


def test_a_table_of_judgements_is_told_by_its_ids(tmp_path):
    path = save(tmp_path, "qid,pid,label\na,1,2\na,2,0\nb,3,x\n")
    items, tally = read(path)
    assert items == [Judgement("a", "1", 2), Judgement("a", "2", 0)]
    assert tally.dropped["a grade that is no whole number"].first == f"{path}:4"


def test_tables_of_hugging_face_are_read_with_their_objects(tmp_path):
    squad = {
        "id": "5733be28",
        "title": "T",
        "context": "Some context.",
        "question": "q",
        "answers": {"text": ["a", "a", "b"], "answer_start": [1, 1, 2]},
    }
    (example,), _ = read(rows_of(tmp_path, squad))
    assert (example.answers, example.positives[0].text) == (("a", "b"), "Some context.")
    marco = {
        "query": "q",
        "passages": {"is_selected": [0, 1, 0], "passage_text": ["x", "y", "z"], "url": [1, 2, 3]},
        "answers": ["y"],
    }
    (example,), _ = read(rows_of(tmp_path, marco))
    assert texts(example.positives) == [("y", None)]
    assert texts(example.hard_negatives) == [("x", None), ("z", None)]


def test_every_name_of_columns_is_one_that_the_command_takes():
    assert set(columns.NAMES) == set(import_data.Column.__args__)
    for form in columns.FORMS:
        assert {*form.needed, *form.others, *form.also, *form.without} <= set(columns.NAMES)


# --- scores and labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "positives", "negatives"),
    [
        (
            {"pos": ["p"], "neg": ["n", "m"], "pos_scores": [0.9], "neg_scores": [0.2, 1]},
            [("p", 0.9)],
            [("n", 0.2), ("m", 1.0)],
        ),
        ({"positive": "p", "negative": "n", "score": [3, 1.5]}, [("p", 3.0)], [("n", 1.5)]),
        ({"positive": "p", "negative": "n", "label": 2.5}, [("p", 0.0)], [("n", -2.5)]),
        ({"positive": "p", "score": 0.7}, [("p", 0.7)], []),
        ({"docs": ["a", "b", "c"], "labels": [0, 1, 2]}, [("c", None), ("b", None)], [("a", None)]),
        ({"documents": ["a", "b"], "scores": [0.1, 8]}, [("b", 8.0)], [("a", 0.1)]),
        (
            {"docs": ["a", "b"], "labels": [1, 0], "scores": [0.5, 0.4]},
            [("a", 0.5)],
            [("b", 0.4)],
        ),
    ],
)
def test_scores_and_labels_go_with_their_passages(tmp_path, row, positives, negatives):
    (example,), _ = read(rows_of(tmp_path, {"query": "q", **row}))
    assert texts(example.positives) == positives
    assert texts(example.hard_negatives) == negatives


def test_a_pair_with_the_score_0_is_no_positive(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0.0, 0.25)]
    (item,), tally = read(rows_of(tmp_path, *rows))
    assert texts(item.positives) == [("b", 0.25)]
    assert list(tally.dropped) == ["a pair with the score 0"]


def test_a_column_that_the_first_rows_lack_is_read_from_where_it_begins(tmp_path):
    rows = [{"query": "q", "positive": "p"}] * 60
    path = rows_of(tmp_path, *rows, {"query": "q", "positive": "p", "negative": "n", "more": 1})
    items, tally = read(path)
    assert [c.text for c in items[-1].hard_negatives] == ["n"]
    (note,) = tally.notes
    assert f"lack: negative, more first at {path}:61; examples" in note


def test_a_late_column_that_makes_something_else_of_rows_is_told_not_to_be_read(tmp_path):
    rows = [{"query": "q", "answers": ["a"]}] * 60
    items, tally = read(rows_of(tmp_path, *rows, {"query": "q", "positive": "p"}))
    assert len(items) == 61
    assert all(isinstance(item, Question) for item in items)
    (note,) = tally.notes
    assert "not read: positive first at" in note
    assert "the rows would be examples" in note


def test_labelled_pairs_of_one_question_that_stand_together_are_one_example(tmp_path):
    path = save(tmp_path, "query,passage,label\na,x,1\na,y,0\nb,z,0\nb,w,1\na,v,1\n")
    items, _ = read(path)
    found = [(e.question, texts(e.positives), texts(e.hard_negatives)) for e in items]
    assert found == [
        ("a", [("x", None)], [("y", None)]),
        ("b", [("w", None)], [("z", None)]),
        ("a", [("v", None)], []),
    ]


def test_rows_that_make_no_item_are_counted_with_the_place_of_the_first(tmp_path):
    rows = [
        {"query": "q", "pos": ["p"], "neg": ["n"], "neg_scores": [1, 2]},
        {"query": "q", "pos": ["p"], "neg": ["n"], "neg_scores": ["x"]},
        {"query": ["a", "b"], "pos": ["p"], "neg": []},
        {"query": "q", "pos": ["p"], "neg": ["n"], "neg_scores": []},
    ]
    path = rows_of(tmp_path, *rows)
    items, tally = read(path)
    assert len(items) == 1
    assert {why: (one.count, one.first) for why, one in tally.dropped.items()} == {
        "scores that are not as many as the passages": (1, f"{path}:1"),
        "a score that is no number": (1, f"{path}:2"),
        "a list or an object where one text is needed": (1, f"{path}:3"),
    }


def test_lists_that_cells_write_are_lists_also_where_they_are_empty(tmp_path):
    cells = ("""a,p,"['n', ""m's""]"\n""", "b,p,[]\n", """c,"[""x"", ""y""]","[n"\n""")
    items, tally = read(save(tmp_path, "question,positive,negative\n" + "".join(cells)))
    found = [(texts(e.positives), texts(e.hard_negatives)) for e in items]
    assert found == [
        ([("p", None)], [("n", None), ("m's", None)]),
        ([("p", None)], []),
        ([("x", None), ("y", None)], [("[n", None)]),
    ]
    assert not tally.dropped
    path = save(tmp_path, "question,answers\na,['Paris' 'London']\nb,[]\nc,['it''s']\n")
    items, tally = read(path)
    assert [(q.question, q.answers) for q in items] == [("b", ()), ("c", ("its",))]
    dropped = tally.dropped["a list without commas, as numpy prints it"]
    assert (dropped.count, dropped.first) == (1, f"{path}:2")


def test_long_answers_are_told_to_be_passages_perhaps(tmp_path):
    path = save(tmp_path, "question,answer\n" + "q,word word\n" * 60)
    assert not read(path)[1].notes
    path = save(tmp_path, "question,answer\n" + f"q,{'word ' * 60}\n" * 60)
    (note,) = read(path)[1].notes
    assert "--columns question=question,positive=answer" in note


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named", "place", "problem"),
    [
        ("query,pos\na,b\n", {"question": "ask"}, 1, "there is no column ask, which --columns"),
        ("query,text,text\na,b,c\n", None, 1, "2 columns are called text"),
        ("query,x,x\na,b,c\n", {"question": "query", "positive": "x"}, 1, "2 columns are called x"),
        (
            "query,pos\na,b\n",
            {"question": "query", "positive": "query"},
            1,
            "question and positive",
        ),
        ("Frage;Antwort lang\nWer?;Er war es\n", None, 1, "Antwort lang) does not tell"),
        ("Term,Its sense\napple,a fruit\n", None, 1, "(Term | Its sense) does not tell"),
        ("faq_id,An Ask,A Reply\n1,a b,c d\n", None, 1, "(faq_id | An Ask | A Reply) does"),
        ("query,pos\ra b,c\r", None, 1, "a carriage return within a line; make line ends"),
        ('id,text\r1,"a, b"\r', None, 1, "a carriage return within a line; make line ends"),
        ("[]", None, 1, "there is no row in it"),
        ('[{"a": tru}]', None, "byte 1", "not JSON"),
        ("frage,antwort\nwer,ich\n", None, 1, "(frage | antwort) does not tell"),
        ("frage,antwort\nwer,ich\n", {"question": "fragen"}, 1, "fragen, as --columns has it"),
        ("just one line of text\nand another\n", None, 1, "no table"),
        ("title,score\na,b\n", None, 1, "the columns (title, score) do not tell"),
        ('query,pos\na,"b" c\nd,e\n', None, 2, "broken quotes"),
        ('query,pos\na,"b\nd,e\n', None, 2, "broken quotes"),
        ("query,pos\na,b,c\n", None, 2, "3 comma-separated columns where there should be 2"),
        ("query,pos\na,\xe9\nb,c\n".encode() + b"d,\xe9\n", None, 4, "not UTF-8 (byte 0xe9)"),
        ('{"query": "a", "pos": "b"}\n{"query": \n', None, 2, "not JSON"),
        ('{"query": "a", "pos": "b"}\n[1]\n', None, 2, "it has to be an object"),
        (b"", None, 1, "the file is empty"),
        (" \n \n", None, 1, "the file is empty"),
    ],
)
def test_what_breaks_a_table_is_one_line_with_its_place(tmp_path, content, named, place, problem):
    path = save(tmp_path, content)
    with pytest.raises(FormatError) as error:
        read(path, columns=named)
    assert problem in str(error.value)
    assert str(error.value).startswith(f"{path}:{place}: ")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("begin", [b"", b'query,pos\na,"', b'{"query": "', b'[{"query": "'])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, begin):
    path = save(tmp_path, begin)
    with path.open("r+b") as file:
        file.truncate(300 << 20)  # a hole, which is read as bytes 0
    with pytest.raises(FormatError, match=r"of more than \d+ MB"):
        read(path)
