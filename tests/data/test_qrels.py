"""Judgements in all their forms, and folders of BEIR."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from dprkit.data.beir import beir_folder
from dprkit.data.qrels import read_qrels
from dprkit.errors import FormatError, InputError

SHARED = Path(__file__).parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
GRADES = {"q1": {"d1": 2, "d 2": 0}, "q2": {"d1": -1}}


def save(folder: Path, data: bytes | str, name: str = "qrels") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read_qrels(path)
    assert re.match(rf"{re.escape(str(path))}:\d+: .+$", str(caught.value))
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "q1\t0\td1\t2\nq1\t0\td 2\t0\nq2\t0\td1\t-1\n",
        "q1\td1\t2\nq1\td 2\t0\nq2\td1\t-1",
        "query-id\tcorpus-id\tscore\r\nq1\td1\t2\r\nq1\td 2\t0\r\nq2\td1\t-1\r\n",
        '{"query-id": "q1", "corpus-id": "d1", "score": 2}\n'
        '{"query-id": "q1", "corpus-id": "d 2", "score": 0.0}\n'
        '{"corpus-id": "d1", "query-id": "q2", "score": -1}\n',
        "Score\tdoc_id\tqid\titer\n2\td1\tq1\t0\n\n0.0\td 2\tq1\t0\n-1\td1\tq2\t0\n",
    ],
    ids=["TREC", "three columns", "BEIR", "jsonl", "another order"],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_each_form_of_judgements_is_read(tmp_path: Path, text: str, pack: type[bytes]) -> None:
    qrels = read_qrels(save(tmp_path, pack(text.encode())))
    assert (qrels.grades, qrels.negative) == (GRADES, 1)
    assert [qrels.relevant(question) for question in ("q1", "q2", "q3")] == [("d1",), (), ()]


def test_columns_may_be_parted_by_blanks_of_any_number(tmp_path: Path) -> None:
    path = save(tmp_path, "  301 0   FR94\t1\n301  Q0\tFR95 0 \n")
    assert read_qrels(path).grades == {"301": {"FR94": 1, "FR95": 0}}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("q 0 d 1\nr 0 d 1\nq 1 d 1\n", 3, "'d' is judged for question 'q' twice"),
        ("q\td\t1\nq\te\tyes\n", 2, "the grade 'yes' is no whole number"),
        ("q 0 d 0.5\n", 1, "the grade '0.5' is no whole number"),
        ("a\tb\tc\nq\td\t1\n", 1, "the grade 'c' is no whole number"),
        ("q 0 d nan\n", 1, "'nan' is no whole number"),
        ("q 0 d 1\nq e 1\n", 2, "3 columns where the lines before have 4"),
        ("q Q0 d 1 2.5 run\n", 1, "6 columns: a TREC run; give it as --results"),
        ("q d\n", 1, "2 columns: judgements are question, passage, grade (BEIR)"),
        ("q\t\t1\n", 1, "an id is empty"),
        ('{"q": {"d": 1}}', 1, "JSON; judgements are lines"),
        ('{"query-id": 1, "corpus-id": 2, "score": 0.5}', 1, "the grade 0.5 is no whole number"),
        ('{"query-id": 1}', 1, "lacks the field corpus-id"),
        ("query-id\tcorpus-id\tscore\n", 1, "holds no judgement"),
        ("", 1, "the file is empty"),
    ],
)
def test_judgements_that_cannot_be_used_are_refused_with_their_line(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    error = refusal(save(tmp_path, text))
    assert (error.where, problem in error.problem) == (line, True), error


@with_shared
def test_published_judgements_are_read() -> None:
    """The numbers of judgements and of questions are those that wc and cut count."""
    for path, judgements, questions in (
        (SHARED / "eval_fixtures/trec_eval/qrels.test", 3681, 3),
        (SHARED / "scifact/qrels/test.tsv", 339, 300),
    ):
        grades = read_qrels(path).grades
        assert (sum(map(len, grades.values())), len(grades)) == (judgements, questions)


# --- folders of BEIR ------------------------------------------------------------------------------


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    save(folder, '{"_id": "d1", "title": "", "text": "a text"}\n', "corpus.jsonl")
    save(folder, '{"_id": "q1", "text": "one"}\n{"_id": 2, "text": "two"}\n', "queries.jsonl")
    save(folder, "query-id\tcorpus-id\tscore\n2\td1\t1\n", "qrels/test.tsv")
    save(folder, gzip.compress(b"query-id\tcorpus-id\tscore\nq1\td1\t1\n"), "qrels/train.tsv.gz")
    return folder


def test_the_files_of_a_split_are_found_plain_or_compressed(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    assert read_qrels(beir_folder(folder).qrels).grades == {"2": {"d1": 1}}
    assert read_qrels(beir_folder(folder, "train").qrels).grades == {"q1": {"d1": 1}}


def test_what_a_folder_of_beir_lacks_is_named(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    for missing, split, problem in (
        (None, "dev", "no qrels/dev.tsv there; give --split one of test, train"),
        ("queries.jsonl", "test", "queries.jsonl not there"),
        ("corpus.jsonl", "test", "corpus.jsonl and queries.jsonl not there"),
    ):
        if missing:
            (folder / missing).unlink()
        with pytest.raises(InputError, match=re.escape(problem)):
            beir_folder(folder, split)


def test_the_folder_that_was_meant_is_named(tmp_path: Path) -> None:
    beir(tmp_path / "scifact")
    with pytest.raises(InputError, match=re.escape(f"did you mean {tmp_path / 'scifact'}?")):
        beir_folder(tmp_path)
    save(tmp_path, b"PK", "set.zip")
    with pytest.raises(InputError, match="unpack it: unzip"):
        beir_folder(tmp_path / "set.zip")
