"""What users get wrong: each time one line on stderr that says what and where, and no output."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from dprkit.settings import bundled
from tests.conftest import call

CONTEXT = {"title": "t", "text": "some text", "passage_id": "1"}
ROW = {
    "question": "who",
    "answers": ["a"],
    "positive_ctxs": [CONTEXT],
    "negative_ctxs": [CONTEXT],
    "hard_negative_ctxs": [CONTEXT],
}
LINE = json.dumps(ROW).encode() + b"\n"


def files(folder):
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*")}


def refused(*words, code=1, **how):
    """The one line that a command ends with; it must leave every folder as it was."""
    before = files(".")
    result = call(*words, **how)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.stderr
    assert files(".") == before
    return lines[0].removeprefix("Error: ")


# --- examples -------------------------------------------------------------------------------------


def without(key):
    return json.dumps({k: v for k, v in ROW.items() if k != key}).encode()


def having(**more):
    return json.dumps(ROW | more).encode()


ARRAY = b"[" + LINE.strip() + b",\n" + LINE.strip() + b"]"
EXAMPLES = {
    "empty": (b"", "bad:1: the file is empty"),
    "only space": (b" \n\n \n", "bad:1: the file is empty"),
    "no JSON": (b"question\tanswer\n", "bad:1: not JSON: expected an array of objects or"),
    "html": (b"<!DOCTYPE html><html>", "bad:1: an HTML page; fetch the data itself"),
    "a broken line": (LINE + b"{oops\n", "bad:2: not JSON: "),
    "a line cut off": (LINE + LINE[:60], "bad:2: not JSON: "),
    "a cut-off array": (ARRAY[:-1], f"bad:byte {len(ARRAY) - 1}: the JSON array is cut off here"),
    "an array cut in a row": (ARRAY[:300], "the JSON array is cut off here"),
    "an array of numbers": (
        b"[1, 2]",
        "bad:1: expected an object with named fields, found a number (byte 1)",
    ),
    "an array of lists": (
        b"[\n [1],\n [2]]",
        "bad:2: expected an object with named fields, found a list (byte 3)",
    ),
    "a number in an array": (
        ARRAY[:-1] + b",\n5]",
        f"bad:{ARRAY.count(10) + 2}: expected an object with named fields, found a number (byte ",
    ),
    "no value in an array": (b"[nil]", "bad:byte 1: not JSON: expected an object, found 'nil]'"),
    "no comma": (ARRAY.replace(b",\n{", b"\n{"), "not JSON: expected a comma"),
    "more after the array": (ARRAY + b"x", "more after the array's closing ]"),
    "no question": (without("question"), "bad:1: lacks the field question"),
    "no positives": (LINE + without("positive_ctxs"), "bad:2: lacks the field positive_ctxs"),
    "a question that is a number": (
        having(question=3),
        "bad:1: the field question is a whole number",
    ),
    "positives that are text": (
        having(positive_ctxs="x"),
        "positive_ctxs is text; it has to be a list",
    ),
    "a passage without text": (
        having(positive_ctxs=[{"title": "t"}]),
        "bad:1: positive_ctxs[0] lacks the field text",
    ),
    "answers that are text": (
        having(answers="Paris"),
        "bad:1: the field answers is text; it has to be a list",
    ),
    "latin-1": (
        LINE + having(question="Où?").decode("unicode_escape").encode("latin-1"),
        "bad:2: not UTF-8 (byte 0xf9); convert it: iconv -f latin1 -t utf-8",
    ),
    "utf-16": (LINE.decode().encode("utf-16"), "bad:1: UTF-16 text; convert it: iconv"),
    "a cut-off gzip": (gzip.compress(LINE * 99)[:60], "the gzip file is cut off; fetch it again"),
    "a corrupt gzip": (b"\x1f\x8b\x08\0" + b"\xff" * 50, "a corrupt gzip file"),
    "an empty gzip": (gzip.compress(b""), "bad:1: the file is empty"),
    "a cut-off zstandard": (zstandard.compress(LINE * 99)[:-9], "zstandard file"),
    "a corrupt zstandard": (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "a corrupt zstandard file"),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    "command",
    [
        ["select-data", "bad", "-o", "new"],
        ["select-data", "bad", "-o", "new.gz", "--shuffle", "--max-negatives", "1"],
        ["select-data", "bad", "--output-dir", "new", "--questions-out", "questions"],
        ["train", "--train-file", "bad", "--output-dir", "new", "--max-epochs", "1"],
    ],
    ids=["select to file", "select shuffled", "select to folder", "train"],
)
def test_bad_examples(work, name, command):
    data, problem = EXAMPLES[name]
    Path("bad").write_bytes(data)
    assert problem in refused(*command)


def test_rows_that_could_not_be_used_are_counted_and_never_silence(work):
    rows = [having(positive_ctxs=[]), having(question="  "), LINE.strip()]
    Path("some").write_bytes(b"\n".join(rows))
    found = json.loads(call("select-data", "some", "-o", "new", "--json").stdout)
    assert (found["read"], found["kept"]) == (3, 1)
    assert found["dropped"] == {"no positive": 1, "empty question": 1}


def test_examples_without_any_positive_teach_nothing(work):
    Path("bad").write_bytes(having(positive_ctxs=[]))
    problem = refused("train", "--train-file", "bad", "--output-dir", "new", "--max-epochs", "1")
    assert (
        "bad: no row has a question with a positive; name a file with positive passages" in problem
    )


# --- passages -------------------------------------------------------------------------------------

HEADER = b"id\ttext\ttitle\n"
PASSAGES = {
    "empty": (b"", "bad:1: the file is empty"),
    "two columns": (HEADER + b"1\tsome text\n", "bad:2: 2 tab-separated columns where there"),
    "four columns": (HEADER + b"1\ta\tb\n2\ta\tb\tc\n", "bad:3: 4 tab-separated columns where"),
    "commas": (b"1,a,b\n", "bad:1: 1 tab-separated columns where there should be 3"),
    "no id": (HEADER + b"\ttext\ttitle\n", "bad:2: the id is empty"),
    "a duplicate id": (
        HEADER + b"1\ta\tt\n2\tb\tt\n1\tc\tt\n",
        "bad:4: the id '1' is that of passage 1 too",
    ),
    "an id of two lines": (HEADER + b'"1\n2"\ta\tt\n', "bad:2: the id '1\\n2' holds a line break"),
    "broken quotes": (HEADER + b'1\t"a"\tt\n2\t"a" b\tt\n', "bad:3: broken quotes"),
    "open quotes": (HEADER + b'1\t"a"\tt\n2\t"a\tt\n3\tb\tt\n', "bad:3: broken quotes"),
    "latin-1": (HEADER + b"1\tcaf\xe9\tt\n", "bad:2: not UTF-8 (byte 0xe9); convert it: iconv"),
    "jsonl without id": (b'{"text": "a"}\n', "bad:1: lacks the field id (or _id, as BEIR has it)"),
    "jsonl without text": (b'{"id": "1"}\n', "bad:1: lacks the field text"),
    "jsonl with a list": (
        b'{"id": "1", "text": ["a"]}\n',
        "bad:1: the field text is a list; it has to be text",
    ),
    "jsonl duplicate": (b'{"id": 1, "text": "a"}\n{"_id": "1", "text": "b"}\n', "the id '1' is"),
    "a cut-off gzip": (gzip.compress(HEADER + b"1\ta\tb\n" * 99)[:40], "the gzip file is cut off"),
}


@pytest.mark.parametrize("name", PASSAGES)
@pytest.mark.parametrize("command", [["encode-corpus"], ["index", "--type", "bm25"]])
def test_bad_passages(work, name, command):
    data, problem = PASSAGES[name]
    Path("bad").write_bytes(data)
    assert problem in refused(*command, "--passages", "bad", "--output-dir", "new")


# --- questions and results ------------------------------------------------------------------------

# --- files of another kind ------------------------------------------------------------------------


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("corpus.jsonl", '{"_id": "1", "text": "a"}')
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        packed.addfile(tarfile.TarInfo("corpus.tsv"))
    return file.getvalue()


FOREIGN = [
    (zipped(), "a zip archive; unpack it first: unzip bad"),
    (tarred(), "a tar archive; unpack it first: tar -xf bad"),
    (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive; unpack it first: 7z x bad"),
    (b"\x04\x22\x4d\x18d@", "an lz4 file; unpack it first: lz4 -d bad"),
    (gzip.compress(gzip.compress(LINE)), "unpack it once: gunzip bad"),
    (b"PAR1\x15\x04", "a parquet file; make dprkit's files of it: dprkit import-data "),
    (b"ARROW1\0\0", "an Arrow file; make dprkit's files of it: dprkit import-data "),
    (pickle.dumps([1]), "a pickle; it is not read, as it can run code"),
    (b"\x93NUMPY\x01\0v\0{'descr'", "a numpy array; text is needed"),
    (b"SQLite format 3\0\x10", "an SQLite database; save its table as jsonl or csv"),
    (b"%PDF-1.7\n", "a PDF document; take the text out of it first"),
    (b"\n<!DOCTYPE html>\n<html>", "an HTML page; fetch the data itself"),
    (b"<top>\n<num> Number: 301\n</top>\n", "XML, or markup like it; save its rows as jsonl"),
    (b'<topics task="x"><topic number="1"/>', "XML, or markup like it"),
    ("\ufeffwho\nwhat\n".encode("utf-16-le"), "UTF-16 text; convert it: iconv"),
    ("who wrote\nwhat\n".encode("utf-16-be"), "iconv -f utf-16be -t"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    (bz2.compress(LINE * 99)[:40], "the bzip2 file is cut off; fetch it again"),
    (lzma.compress(LINE)[:24] + b"x" * 99, "a corrupt xz file"),
]
DOORS = {
    "sources": ["select-data", "bad", "-o", "new"],
    "exclude": ["select-data", "-o", "new", "--exclude", "bad"],
    "train": ["train", "--train-file", "bad", "--output-dir", "new"],
    "encode-corpus": ["encode-corpus", "--passages", "bad", "--output-dir", "new"],
    "bm25": ["index", "--type", "bm25", "--passages", "bad", "--output-dir", "new"],
    "questions": ["search", "--questions", "bad", "-o", "new"],
    "only-ids": ["search", "--questions", "-", "--only-ids", "bad", "-o", "new"],
    "results": ["evaluate", "--results", "bad", "--output-dir", "new"],
    "audit": ["audit", "--train-file", "bad", "--output-dir", "new"],
}


@pytest.mark.parametrize("door", DOORS)
def test_a_file_of_another_kind_is_called_by_its_name_at_every_door(work, door):
    for data, problem in FOREIGN:
        Path("bad").write_bytes(data)
        line = refused(*DOORS[door], input="who\n")
        assert re.search(r"(^|/)bad:(1|byte \d+): ", line)
        assert problem in line


def test_a_csv_of_questions_leaks_no_answer_into_the_search(work):
    Path("q.csv").write_text('question,answer\n"who, then?","bicameral, or not"\n')
    found = json.loads(call("search", "--questions", "q.csv").stdout)
    plain = json.loads(call("search", "--questions", "-", input="who, then?\n").stdout)
    assert (found["question"], found["answers"]) == ("who, then?", ["bicameral, or not"])
    assert found["ctxs"] == plain["ctxs"]
    Path("q.csv").write_text("What is it?,bicameral\n")
    assert "a row of a csv, not a question" in refused("search", "--questions", "q.csv", "-o", "x")


def test_a_trec_run_names_nothing_to_find(work):
    Path("run.trec").write_text("q1 Q0 d1 1 3.2 tag\n")
    problem = refused("evaluate", "--results", "run.trec", "--output-dir", "new")
    assert problem.startswith("run.trec: no question has an answer or a gold passage to look for")
    assert "give judgements with --qrels or --questions" in problem


def test_a_folder_of_results_is_evaluated_as_its_file_is(work):
    words = ["evaluate", "--results", "runs/dprkit/results", "--topk", "1,5", "--json"]
    found = json.loads(call(*words, "--output-dir", "again").stdout)
    first = json.loads(Path("runs/dprkit/results/metrics.json").read_bytes())
    assert found["metrics"] == first["metrics"]


QUESTIONS = {
    "empty": (b"", "bad:1: the file is empty"),
    "three columns": (b"q\t['a']\tx\n", "bad:1: 3 tab-separated columns; a question and its answ"),
    "no list": (b"q\t['a']\nq\tParis\n", "bad:2: the answers are no Python list of strings: Paris"),
    "a call": (b"q\t__import__('os').abort()\n", "bad:1: the answers are no Python list"),
    "numbers": (b"q\t[1, 2]\n", "bad:1: the answers are no Python list of strings"),
    "no question": (b'{"answers": ["a"]}\n', "bad:1: lacks a question"),
    "latin-1": (b"o\xf9\n", "bad:1: not UTF-8 (byte 0xf9)"),
    "broken JSON": (b'{"question": "q", "answers": ["a"]\n', "bad:1: not JSON"),
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("command", ["search", "evaluate"])
def test_bad_questions(work, name, command):
    data, problem = QUESTIONS[name]
    Path("bad").write_bytes(data)
    output = ["-o", "new"] if command == "search" else ["--output-dir", "new"]
    assert problem in refused(command, "--questions", "bad", *output)


def test_an_empty_answer_is_refused_with_its_question(work):
    Path("bad").write_bytes(b"who\t['a', '']\n")
    problem = refused("evaluate", "--questions", "bad", "--output-dir", "new")
    assert "'who'" in problem
    assert "would match every passage" in problem


def test_questions_without_answers_are_nothing_to_evaluate(work):
    Path("bad").write_bytes(b"who\nwhat\n")
    problem = refused("evaluate", "--questions", "bad", "--output-dir", "new")
    assert "bad: no question has an answer or a gold passage to look for" in problem


RESULTS = {
    "empty": (b"", "bad:1: the file is empty"),
    "examples": (LINE, "bad:1: lacks the field ctxs"),
    "a score that is no number": (
        b'[{"question": "q", "answers": ["a"], "ctxs": [{"id": "1", "score": "high"}]}]',
        "bad:byte 1: the score 'high' at rank 1 is not a finite number",
    ),
    "no ids": (b'{"question": "q", "ctxs": [{"text": "a"}]}', "lacks the field id"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_bad_results(work, name):
    data, problem = RESULTS[name]
    Path("bad").write_bytes(data)
    assert problem in refused("evaluate", "--results", "bad", "--output-dir", "new")


# --- paths ----------------------------------------------------------------------------------------

INPUTS = {
    "select-data source": ["select-data", "BAD", "-o", "new"],
    "select-data exclude": ["select-data", "-o", "new", "--exclude", "BAD"],
    "train-file": ["train", "--train-file", "BAD", "--output-dir", "new"],
    "valid-file": ["train", "--valid-file", "BAD", "--output-dir", "new", "--max-epochs", "1"],
    "passages": ["encode-corpus", "--passages", "BAD", "--output-dir", "new"],
    "questions": ["search", "--questions", "BAD", "-o", "new"],
    "evaluate questions": ["evaluate", "--questions", "BAD", "--output-dir", "new"],
    "results": ["evaluate", "--results", "BAD", "--output-dir", "new"],
    "audit train-file": ["audit", "--train-file", "BAD", "--output-dir", "new"],
    "audit qrels": ["audit", "--qrels", "BAD", "--output-dir", "new"],
    "recipe": ["train", "--config", "BAD"],
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("bad", ["nothing", "folder", "dprkit.yaml/below", "a" * 256, "loop"])
def test_a_file_that_cannot_be_read_is_named(work, name, bad):
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    problem = refused(*(bad if word == "BAD" else word for word in INPUTS[name]))
    assert problem.startswith(f"{bad}: ")
    words = "no such file|is a directory|a part of this path is a file|too long|too many levels"
    assert re.search(words, problem)


ARTIFACTS = {
    "retriever": ["encode-corpus", "--retriever", "BAD", "--output-dir", "new"],
    "embeddings": ["index", "--embeddings", "BAD", "--output-dir", "new"],
    "index": ["search", "--index", "BAD", "--questions", "-", "-o", "new"],
    "evaluate index": ["evaluate", "--index", "BAD", "--output-dir", "new"],
    "audit retriever": ["audit", "--retriever", "BAD", "--output-dir", "new"],
    "info": ["info", "BAD"],
}


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("bad", ["nothing", "folder", "dprkit.yaml", "runs/dprkit/data", "half"])
def test_an_artifact_that_is_none_is_named(work, name, bad):
    Path("folder").mkdir()
    Path("half").mkdir()
    Path("half/progress.json").write_text('{"kind": "index", "settings": {}, "inputs": {}}')
    if name == "info" and bad in ("half", "runs/dprkit/data"):
        pytest.skip("info has something to say of it")
    problem = refused(*(bad if word == "BAD" else word for word in ARTIFACTS[name]), input="q\n")
    assert problem.startswith(f"{bad}: ")


OUTPUTS = {
    "select-data": ["select-data", "-o", "BAD", "--num-items", "3"],
    "passages-out": ["select-data", "-o", "new", "--num-items", "3", "--passages-out", "BAD"],
    "select-data folder": ["select-data", "--output-dir", "BAD", "--num-items", "3"],
    "train": ["train", "--output-dir", "BAD", "--max-epochs", "0"],
    "encode-corpus": ["encode-corpus", "--output-dir", "BAD"],
    "index": ["index", "--output-dir", "BAD"],
    "search": ["search", "--questions", "runs/dprkit/data/test.jsonl", "-o", "BAD"],
    "evaluate": ["evaluate", "--output-dir", "BAD"],
    "audit": ["audit", "--output-dir", "BAD"],
    "init": ["init", "BAD"],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_below_a_file_is_refused(work, name):
    problem = refused(*("dprkit.yaml/x" if word == "BAD" else word for word in OUTPUTS[name]))
    assert problem.startswith("dprkit.yaml/x")
    assert "a part of this path is a file; choose another output" in problem


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_on_a_read_only_disk_is_refused(work, mount, name):
    path = str(mount("ro") / "x")
    problem = refused(*(path if word == "BAD" else word for word in OUTPUTS[name]))
    assert problem.startswith(path)
    assert "not writable; choose another output or fix its permissions" in problem


FULL = {
    "select-data": (["select-data", "-o", "FULL/x"], "16k"),
    "passages-out": (["select-data", "-o", "new", "--passages-out", "FULL/x"], "16k"),
    "select-data folder": (["select-data", "--output-dir", "FULL/x"], "16k"),
    "train": (["train", "--output-dir", "FULL/x", "--max-epochs", "1"], "64k"),
    "train at its end": (["train", "--output-dir", "FULL/x", "--max-epochs", "1"], "700k"),
    "encode-corpus": (["encode-corpus", "--output-dir", "FULL/x"], "8k"),
    "index": (["index", "--output-dir", "FULL/x"], "12k"),
    "search": (["search", "--questions", "runs/dprkit/data/test.jsonl", "-o", "FULL/x"], "16k"),
    "evaluate": (["evaluate", "--output-dir", "FULL/x", "--topk", "9"], "16k"),
    "audit": (["audit", "--output-dir", "FULL/x"], "4k"),
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_told_and_its_place(work, mount, name):
    words, size = FULL[name]
    disk = mount(f"size={size}")
    problem = refused(*(word.replace("FULL", str(disk)) for word in words))
    assert problem.startswith(str(disk))
    assert "no space left on the device" in problem
    for path in files(disk):  # what a later run goes on with, and nothing that looks whole
        assert "manifest.json" not in path
        assert path != "x" or (disk / "x").is_dir()


def test_a_device_that_takes_no_more_is_told(work):
    problem = refused("select-data", "-o", "/dev/full", "--num-items", "3")
    assert problem.startswith("/dev/full: no space left on the device")


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["select-data", "--num-items", "0"], "--num-items: 0 is not valid: expected int >= 1"),
        (["select-data", "--num-items", "-3"], "--num-items: -3 is not valid"),
        (["select-data", "--split", "train"], "--split: 'train' is not valid"),
        (["select-data", "--split", "../x=3"], "--split: '../x' is not valid: it becomes the file"),
        (["search", "--topk", "0", "--questions", "-"], "--topk: 0 is not valid"),
        (["evaluate", "--topk", "0"], "--topk: '0' is not valid: expected int >= 1"),
        (["evaluate", "--topk", "5,abc"], "--topk: '5,abc' is not valid: expected int"),
        (["evaluate", "--topk", ""], "--topk: '' is not valid"),
        (["train", "--lr", "0"], "--lr: 0.0 is not valid: expected float > 0.0"),
        (["train", "--lr", "inf"], "--lr: inf is not valid: expected a finite number"),
        (["train", "--pooling", "sum"], "--pooling: 'sum' is not valid"),
        (
            ["train", "--passage-max-length", "9999"],
            "--passage-max-length: the model reads at most",
        ),
        (["train", "--init", "./nothing"], "--init: ./nothing: no such folder"),
        (["search"], "no questions given; name a file with --questions"),
        (["index", "--set", "indx.type=flat"], "no stage is called 'indx'; did you mean 'index'?"),
        (["index", "--set", "index.typ=flat"], "index has no setting 'typ'; did you mean 'type'?"),
        (
            ["index", "--config", "a", "--recipe", "tiny"],
            "--config and --recipe both name a recipe",
        ),
        (["index", "--recipe", "tinny"], "no recipe is called 'tinny'; did you mean 'tiny'?"),
        (["config", "show", "trian"], "no stage is called 'trian'; did you mean 'train'?"),
        (["download", "nothing.like.it"], "nothing.like.it"),
    ],
)
def test_an_impossible_option_is_named(work, words, problem):
    assert problem in refused(*words, input="q\n")


def test_an_unknown_key_of_a_recipe_is_named_with_its_line_and_the_nearest(work):
    Path("my.yaml").write_text("# a recipe\ntrain:\n  bacth_size: 3\n")
    for command in ("train", "run", "config"):
        words = ["config", "show"] if command == "config" else [command]
        problem = refused(*words, "--config", "my.yaml")
        assert problem == "my.yaml:3: train has no setting 'bacth_size'; did you mean 'batch_size'?"


def test_a_source_is_needed(work):
    Path("my.yaml").write_text("{}")
    assert "no source given" in refused("select-data", "--config", "my.yaml", "-o", "new")


def test_a_selection_that_keeps_nothing_is_refused_and_the_old_one_stays(work):
    row = {"question": "q", "answers": ["a"], "positive_ctxs": [{"title": "", "text": "a"}]}
    Path("bare.jsonl").write_text(json.dumps(row) + "\n")
    before = Path("runs/dprkit/data/train.jsonl").read_bytes()
    problem = refused("select-data", "bare.jsonl", "--output-dir", "runs/dprkit/data")
    assert problem.startswith("bare.jsonl: none of 1 rows is kept (1 ")
    assert problem.endswith("ask for less with --require")
    assert Path("runs/dprkit/data/train.jsonl").read_bytes() == before


def test_swapped_files_are_told_for_what_they_are(work):
    train = "runs/dprkit/data/train.jsonl"
    problem = refused("encode-corpus", "--passages", train, "--output-dir", "new")
    assert problem.startswith(f"{train}:1: lacks the field text; it looks like a training example")
    Path("q.jsonl").write_text('{"question": "who?", "answer": ["a"]}\n')
    problem = refused("train", "--train-file", "q.jsonl", "--output-dir", "new")
    assert problem == "q.jsonl:1: lacks the field positive_ctxs; it looks like a question"
    Path("odd.jsonl").write_text('{"positive_ctxs": []}\n')
    problem = refused("train", "--train-file", "odd.jsonl", "--output-dir", "new")
    assert problem == "odd.jsonl:1: lacks the field question"


def test_results_of_other_questions_than_the_qrels_or_the_questions_are_refused(work):
    Path("run.trec").write_text("q1 Q0 d1 1 3.2 tag\n")
    Path("qrels").write_text("other 0 d1 1\n")
    words = ["evaluate", "--results", "run.trec"]
    expected = (
        "qrels judges no question of run.trec: their first ids are 'other' and 'q1'; give the "
        "qrels of these questions"
    )
    assert refused(*words, "--qrels", "qrels") == expected
    Path("other.jsonl").write_text('{"id": "q9", "question": "who?", "answers": ["x"]}\n')
    problem = refused(*words, "--questions", "other.jsonl")
    assert problem == (
        "run.trec: holds no ranking of a question in other.jsonl, whose first id is 'q9'; give the "
        "questions of these rankings"
    )


def test_an_id_list_of_strangers_is_refused(work):
    Path("ids.txt").write_text("nobody\nnothing\n")
    problem = refused("search", "--only-ids", "ids.txt", "--questions", "-", input="who\n")
    assert (
        problem == "ids.txt: ids that the corpus lacks: 2, such as nobody; name ids of the corpus"
    )


def test_types_to_try_are_checked_before_anything_is_moved(work):
    words = ["tune-index", "--questions", "runs/dprkit/data/test.jsonl", "--output-dir", "tuning"]
    problem = refused(*words, "--types", "flat,foo")
    assert problem.startswith("--types: FAISS does not make 'foo'")
    assert not Path("tuning").exists()


def test_stdin_can_be_read_once(work):
    assert "-:1: the file is empty" in refused("select-data", "-", "-", "-o", "new", input=LINE)


def test_stdin_is_no_input_of_a_folder(work):
    problem = refused("select-data", "-", "--output-dir", "new", input=LINE)
    assert "write to --output" in problem
    problem = refused("train", "--train-file", "-", "--output-dir", "new", input=LINE)
    assert "must be a file, not a pipe" in problem


@pytest.mark.parametrize("spelling", ["same.jsonl", "./same.jsonl", "link.jsonl"])
def test_an_output_that_is_an_input_too_is_refused(work, spelling):
    Path("same.jsonl").write_bytes(LINE * 3)
    Path("link.jsonl").symlink_to("same.jsonl")
    for words in (
        ["select-data", "same.jsonl", "--num-items", "1", "-o"],
        ["select-data", "-o", "new", "--exclude", "same.jsonl", "--questions-out"],
        ["search", "--questions", "same.jsonl", "-o"],
    ):
        assert "is an input too; choose another --" in refused(*words, spelling)
    assert Path("same.jsonl").read_bytes() == LINE * 3


def test_a_folder_that_is_made_of_its_own_file_stays_as_it_was(work):
    problem = refused("select-data", "runs/dprkit/data/train.jsonl")
    assert "runs/dprkit/data/train.jsonl: is an input too; choose another output" in problem
    problem = refused("train", "--init", "runs/dprkit/model", "--max-epochs", "1")
    assert "runs/dprkit/model: is an input too; choose another output" in problem


# --- what does not belong together ----------------------------------------------------------------


@pytest.fixture
def other_retriever(work):
    """Of the same shape, with other weights."""
    words = ["--seed", "7", "--max-epochs", "0", "--output-dir", "other", "--quiet"]
    assert call("train", *words).exit_code == 0
    return "other"


@pytest.fixture
def other_passages(work):
    text = Path(bundled("tiny/passages.tsv")).read_text()
    Path("other.tsv").write_text(text.replace("Angkor", "ANGKOR"))
    return "other.tsv"


SEARCHES = [["search", "--questions", "runs/dprkit/data/test.jsonl", "-o", "new"]]
SEARCHES += [["evaluate", "--output-dir", "new"]]


@pytest.mark.parametrize("words", SEARCHES, ids=["search", "evaluate"])
def test_an_index_is_not_searched_with_another_retriever(work, other_retriever, words):
    problem = refused(*words, "--retriever", other_retriever)
    assert "runs/dprkit/index: was made with the retriever " in problem
    assert "but other holds retriever:" in problem


@pytest.mark.parametrize("words", SEARCHES, ids=["search", "evaluate"])
def test_an_index_is_not_searched_over_another_corpus(work, other_passages, words):
    problem = refused(*words, "--passages", other_passages)
    assert "runs/dprkit/index: was made with the passages " in problem
    assert "but other.tsv holds sha256:" in problem


@pytest.fixture
def own_corpus(work):
    """An index of a corpus of its own, my.tsv."""
    shutil.copyfile(bundled("tiny/passages.tsv"), "my.tsv")
    assert call("encode-corpus", "--passages", "my.tsv", "--output-dir", "e", "-q").exit_code == 0
    assert call("index", "--embeddings", "e", "--output-dir", "i", "-q").exit_code == 0
    return "i"


@pytest.mark.parametrize("words", SEARCHES, ids=["search", "evaluate"])
def test_a_corpus_that_changed_after_it_was_encoded_is_refused(own_corpus, words):
    text = Path("my.tsv").read_text()
    Path("my.tsv").write_text(text.replace("Angkor", "ANGKOR"))
    problem = refused(*words, "--index", own_corpus)
    assert problem.startswith("i: was made with the passages ")
    assert "make the embeddings and the index again" in problem


@pytest.mark.parametrize("words", SEARCHES, ids=["search", "evaluate"])
def test_what_an_index_needs_and_is_gone_is_named_with_its_flag(own_corpus, words):
    Path("my.tsv").rename("moved.tsv")
    problem = refused(*words, "--index", own_corpus)
    assert "is gone; say where it lies with --passages" in problem
    assert call(*words, "--index", own_corpus, "--passages", "moved.tsv").exit_code == 0


def test_an_index_that_was_cut_short_is_refused(work):
    path = Path("runs/dprkit/index/index.faiss")
    path.write_bytes(path.read_bytes()[:-1])
    for words in SEARCHES:
        assert "index.faiss: damaged (it has 9,068 bytes where 9,069 were written)" in refused(
            *words
        )
    assert "was changed since it was made" in refused("index")
    assert call("index", "--restart").exit_code == 0
    assert call(*SEARCHES[0]).exit_code == 0


def test_vectors_that_were_cut_short_are_refused(work):
    path = Path("runs/dprkit/embeddings/vectors-00001.npy")
    path.write_bytes(path.read_bytes()[:-4])
    problem = refused("index", "--output-dir", "new")
    assert "vectors-00001.npy: damaged (it has 3,324 bytes where 3,328 were written)" in problem
    assert "make the embeddings again with dprkit encode-corpus --repair" in problem


def test_weights_that_are_gone_are_told(work):
    Path("runs/dprkit/model/passage_encoder/model.safetensors").unlink()
    problem = refused("encode-corpus", "--output-dir", "new")
    assert "runs/dprkit/model/passage_encoder" in problem


def test_a_half_done_output_with_other_settings_is_refused_and_restart_works(work):
    """Half done as a kill leaves it: some shards there, and progress.json names them."""
    manifest = json.loads(Path("runs/dprkit/embeddings/manifest.json").read_bytes())
    half = Path("half")
    half.mkdir()
    names = ["vectors-00000.npy", "ids-00000.txt"]
    for name in names:
        shutil.copy(f"runs/dprkit/embeddings/{name}", half)
    progress = {key: manifest[key] for key in ("kind", "settings", "inputs")}
    progress["files"] = {name: manifest["files"][name] for name in names}
    progress |= {"state": {"shard 1": 100}, "claimed": names}
    (half / "progress.json").write_text(json.dumps(progress))
    problem = refused("encode-corpus", "--output-dir", "half", "--dtype", "float16")
    assert problem.startswith('half: half done with other settings or inputs: dtype was "float32"')
    assert "--restart" in problem
    assert "half: unfinished; run the command that" in refused("index", "--embeddings", "half")
    result = call("encode-corpus", "--output-dir", "half", "--dtype", "float16", "--restart")
    assert result.exit_code == 0, result.stderr
    assert json.loads((half / "manifest.json").read_bytes())["settings"]["dtype"] == "float16"


def test_a_failure_is_not_in_the_way_of_the_next_try(work):
    Path("bad").write_bytes(b"{oops")
    Path("good").write_bytes(LINE)
    refused("select-data", "bad", "--output-dir", "new")
    assert call("select-data", "good", "--output-dir", "new", "--split", "a=1").exit_code == 0
    before = Path("new/a.jsonl").read_bytes()
    refused("select-data", "bad", "--output-dir", "new", "--split", "a=1")
    assert Path("new/a.jsonl").read_bytes() == before


def test_foreign_files_in_an_output_folder_are_never_touched(work):
    Path("new/question_encoder").mkdir(parents=True)
    Path("new/question_encoder/mine").write_text("mine")
    Path("new/index.faiss").write_text("mine")
    for words in (["train", "--max-epochs", "0"], ["index"]):
        problem = refused(*words, "--output-dir", "new")
        assert "already there and not made by dprkit" in problem
    assert Path("new/question_encoder/mine").read_text() == "mine"
    assert Path("new/index.faiss").read_text() == "mine"


# --- what is fine ---------------------------------------------------------------------------------


def test_names_with_spaces_and_other_scripts_are_fine(work):
    folder = Path("моя папка/с 'quotes' \"and\" $signs")
    folder.mkdir(parents=True)
    shutil.copyfile(bundled("tiny/passages.tsv"), folder / "東 京.tsv")
    steps = [
        ["encode-corpus", "--passages", folder / "東 京.tsv", "--output-dir", folder / "é é"],
        ["index", "--embeddings", folder / "é é", "--output-dir", folder / "-index"],
        ["evaluate", "--index", folder / "-index", "--output-dir", folder / "out.json"],
        ["info", folder / "out.json"],
    ]
    for words in steps:
        result = call(*words)
        assert result.exit_code == 0, result.stderr


def test_artifacts_work_from_another_folder_and_after_a_move(work, tmp_path, monkeypatch):
    call("search", "--questions", "-", "-o", "before.jsonl", input="who\n")
    before = Path("before.jsonl").read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    words = ["search", "--questions", "-", "-o", "after.jsonl"]
    assert call(*words, "--index", work / "runs/dprkit/index", input="who\n").exit_code == 0
    assert Path("after.jsonl").read_bytes() == before
    shutil.move(work / "runs/dprkit", "moved")
    Path("link").symlink_to("moved/model")
    moved = ["--index", "moved/index", "--retriever", "link"]
    assert call(*words, *moved, input="who\n").exit_code == 0
    assert Path("after.jsonl").read_bytes() == before


def test_inputs_that_cannot_be_written_are_fine(work, mount):
    """Nothing is ever written beside an input."""
    disk = mount("size=4m")
    shutil.copytree("runs/dprkit", disk / "in")
    os.system(f"mount -o remount,ro '{disk}'")
    for words in (
        ["select-data", disk / "in/data/train.jsonl", "-o", "new.jsonl"],
        ["encode-corpus", "--retriever", disk / "in/model", "--output-dir", "e"],
        ["index", "--embeddings", disk / "in/embeddings", "--output-dir", "i"],
        ["evaluate", "--index", disk / "in/index", "--output-dir", "o"],
        ["index", "--output-dir", disk / "in/index"],  # up to date
    ):
        result = call(*words)
        assert result.exit_code == 0, result.stderr
