"""Folders and zips of BEIR, NanoBEIR and MS MARCO, against a few plain lines of json and csv."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dprkit.errors import InputError
from dprkit.imports import benchmarks
from dprkit.imports.items import Judgement, SplitQuestion, Tally
from dprkit.imports.names import split_names
from dprkit.records import Passage, Question
from dprkit.settings import ImportSettings

SHARED = Path(__file__).parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
CORPUS = [{"_id": "d1", "title": "T", "text": "one"}, {"_id": "d 2", "text": "two"}]
QUERIES = [{"_id": f"q{n}", "text": f"question {n}", "metadata": {}} for n in range(4)]
HEADER = "query-id\tcorpus-id\tscore\n"


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


BEIR = {
    "corpus.jsonl": lines(CORPUS),
    "queries.jsonl": lines(QUERIES),
    "qrels/train.tsv": f"{HEADER}q0\td1\t1\nq0\td 2\t0\nq1\td1\t2\n",
    "qrels/dev.tsv": f"{HEADER}q1\td 2\t1\n",
    "qrels/test.tsv": f"{HEADER}q2\td9\t1\n",
    "README.md": "data",
}


def folder_of(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def zip_of(path: Path, files: dict[str, str], root: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(root + name, text)
    return path


def read(path: Path, tally: Tally | None = None) -> list[Any]:
    return list(benchmarks.items(path, ImportSettings(), tally or Tally()))


def by_split(items: list[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, Question):
            found.setdefault(getattr(item, "split", ""), []).append(item.id)
    return found


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a folder", "packed files"])
def test_beir_is_read_as_it_is_downloaded_with_all_its_splits(tmp_path: Path, form: str) -> None:
    if form.startswith("zip"):
        root = "scifact/" if form != "zip" else ""
        extra = {f"__MACOSX/{root}._corpus.jsonl": "\x00"}
        path = zip_of(tmp_path / "scifact.zip", BEIR, root)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(*extra.popitem())
    else:
        path = folder_of(tmp_path / "scifact", BEIR)
        if form == "packed files":
            packed = gzip.compress((path / "corpus.jsonl").read_bytes())
            (path / "corpus.jsonl").unlink()
            (path / "corpus.jsonl.gz").write_bytes(packed)
    tally = Tally()
    assert benchmarks.fits(path)
    items = read(path, tally)
    assert [item for item in items if isinstance(item, Passage)] == [
        Passage("d1", "one", "T"),
        Passage("d 2", "two"),
    ]
    assert sorted(item for item in items if isinstance(item, Judgement)) == [
        ("q0", "d 2", 0, "train"),
        ("q0", "d1", 1, "train"),
        ("q1", "d 2", 1, "valid"),
        ("q1", "d1", 2, "train"),
        ("q2", "d9", 1, "test"),
    ]
    assert by_split(items) == {"train": ["q0", "q1"], "valid": ["q1"], "test": ["q2"]}
    assert SplitQuestion("q2", "question 2", split="test") in items
    assert re.fullmatch(
        r"passages of (?P<in>\S*)corpus\.jsonl(\.gz)?; questions of (?P=in)queries\.jsonl; "
        r"judgements of (?P=in)qrels/dev\.tsv \(valid\), (?P=in)qrels/test\.tsv \(test\), "
        r"(?P=in)qrels/train\.tsv \(train\)",
        tally.understood[str(path)],
    )
    (unjudged,) = tally.dropped.values()
    assert (unjudged.count, unjudged.first.rpartition("queries.jsonl")[2]) == (1, ":question 4")


def test_nanobeir_in_jsonl_has_one_split_and_judgements_without_grades(tmp_path: Path) -> None:
    judged = [{"query-id": "q0", "corpus-id": "d1"}, {"query-id": "q1", "corpus-id": "d 2"}]
    files = {
        "corpus/train-00000-of-00001.jsonl": lines(CORPUS),
        "queries/train-00000-of-00001.jsonl": lines(QUERIES[:2]),
        "qrels/train-00000-of-00001.jsonl": lines(judged),
    }
    for path in (folder_of(tmp_path / "a", files), folder_of(tmp_path / "b", _flat(files))):
        assert benchmarks.fits(path)
        items = read(path)
        assert items[:2] == [Judgement("q0", "d1", 1), Judgement("q1", "d 2", 1)]
        assert items[2:4] == [Question("q0", "question 0"), Question("q1", "question 1")]
        assert len(items) == 6


def _flat(files: dict[str, str]) -> dict[str, str]:
    return {name.partition("/")[0] + ".jsonl": text for name, text in files.items()}


def test_a_folder_of_msmarco_has_its_splits_in_the_names_of_its_files(tmp_path: Path) -> None:
    path = folder_of(
        tmp_path / "msmarco",
        {
            "collection.tsv": '0\t"one\n7\ttwo " three\n',
            "queries.train.tsv": "1\twho\n2\twhen\n",
            "queries.dev.tsv": "3\twhat\n4\twhy\n",
            "queries.dev.small.tsv": "3\twhat\n",
            "queries.eval.tsv": "9\tsecret\n",
            "qrels.train.tsv": "1\t0\t0\t1\n",
            "qrels.dev.tsv": "3\t0\t7\t1\n4\t0\t7\t1\n",
            "qrels.dev.small.tsv": "3\t0\t7\t1\n",
        },
    )
    tally = Tally()
    items = read(path, tally)
    assert by_split(items) == {"valid": ["3", "4"], "dev.small": ["3"], "train": ["1"]}
    assert items[-2:] == [Passage("0", '"one'), Passage("7", 'two " three')]
    assert tally.notes == [f"{path}/queries.eval.tsv: has no judgements beside it and is not read"]
    assert tally.dropped["question that no judgement names"].count == 1


@pytest.mark.parametrize(
    ("names", "own"),
    [
        ("train dev.small", "train valid"),
        ("train dev dev.small eval", "train valid dev.small test"),
        ("train validation test", "train valid test"),
        ("Training Dev TEST", "train valid test"),
        ("dev1 dev2 testA testB", "valid dev2 test testB"),
        ("eval test", "eval test"),
        ("devil train.small query", "devil train query"),
    ],
)
def test_splits_are_called_as_a_user_would_understand_them(names: str, own: str) -> None:
    assert split_names(names.split()) == dict(zip(names.split(), own.split(), strict=True))


@pytest.mark.parametrize("name", ["../evil.tsv", "/etc/cron", "a/../../b", "..\\evil", "C:\\x"])
def test_a_zip_with_paths_that_climb_out_is_refused(tmp_path: Path, name: str) -> None:
    path = zip_of(tmp_path / "evil.zip", BEIR | {name: "x"})
    with pytest.raises(InputError, match=r"evil.zip: the archive has a file .* leads out of it"):
        read(path)
    assert [*tmp_path.iterdir()] == [path]


def test_a_zip_that_is_damaged_or_locked_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "whole.zip", BEIR)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"cut.zip: a zip archive that cannot be read"):
        read(cut)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"corpus.jsonl") + 14
    raw[at : at + 8] = b"\xff" * 8
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"whole.zip: a zip archive that cannot be read"):
        read(path)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"scifact/" + name: text for name, text in BEIR.items()}, "did you mean .*/scifact"),
        ({"corpus.jsonl": "{}"}, "no queries there; a folder or zip has corpus.jsonl"),
        ({"notes.txt": "x"}, "no corpus and no queries there"),
        (
            {f"{part}/{name}": text for part in "ab" for name, text in BEIR.items()},
            "did you mean .*/a",
        ),
        ({"corpus/a.jsonl": "{}", "corpus/b.jsonl": "{}", "queries.jsonl": "{}"}, "2 data sets"),
    ],
)
def test_a_wrong_folder_is_refused_with_what_was_meant(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        read(folder_of(tmp_path / "wrong", files))


def test_a_zip_of_several_data_sets_is_refused(tmp_path: Path) -> None:
    files = {f"cqa/{part}/{name}": text for part in "ab" for name, text in BEIR.items()}
    with pytest.raises(InputError, match=r"cqa.zip: 2 data sets \(cqa/a, cqa/b\); unpack it"):
        read(zip_of(tmp_path / "cqa.zip", files))


@with_shared
def test_scifact_is_read_as_plain_readers_read_it(tmp_path: Path) -> None:
    path = tmp_path / "scifact"
    shutil.copytree(SHARED / "scifact", path)
    items = read(path)
    with gzip.open(path / "corpus.jsonl.gz") as file:
        corpus = [json.loads(line) for line in file]
    assert [item for item in items if isinstance(item, Passage)] == [
        Passage(row["_id"], row["text"], row["title"]) for row in corpus
    ]
    asked = map(json.loads, (path / "queries.jsonl").read_text().splitlines())
    queries = {row["_id"]: row["text"] for row in asked}
    for split in ("train", "test"):
        with open(path / f"qrels/{split}.tsv", newline="") as file:
            rows = [*csv.DictReader(file, delimiter="\t")]
        named = {row["query-id"] for row in rows}
        asked_here = [i for i in items if isinstance(i, SplitQuestion) and i.split == split]
        assert asked_here == [
            SplitQuestion(id_, text, split=split) for id_, text in queries.items() if id_ in named
        ]
        judged = {(row["query-id"], row["corpus-id"], int(row["score"])) for row in rows}
        found = (i for i in items if isinstance(i, Judgement) and i.split == split)
        assert judged == {tuple(item[:3]) for item in found}
