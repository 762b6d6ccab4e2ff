"""What was changed is never used as what it was: each command that reads it refuses, by name."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from dprkit.store import checksums
from tests.conftest import call

RUNS = Path("runs/dprkit")
MODEL, EMBEDDINGS, INDEX = RUNS / "model", RUNS / "embeddings", RUNS / "index"
WEIGHTS = MODEL / "passage_encoder/model.safetensors"

READERS = {
    "encode-corpus": ["encode-corpus", "--output-dir", "new"],
    "encode-corpus, up to date": ["encode-corpus"],
    "encode-corpus --append": ["encode-corpus", "--append"],
    "encode-corpus --dry-run": ["encode-corpus", "--dry-run", "--output-dir", "new"],
    "search": ["search", "--questions", RUNS / "data/test.jsonl", "-o", "new"],
    "evaluate": ["evaluate", "--output-dir", "new"],
    "evaluate, up to date": ["evaluate"],
    "index": ["index", "--output-dir", "new"],
    "index, up to date": ["index"],
    "update-index": ["update-index", "--index", INDEX, "--add", EMBEDDINGS, "--output-dir", "new"],
    "tune-index": [
        *("tune-index", "--embeddings", EMBEDDINGS, "--questions", RUNS / "data/test.jsonl"),
        *("--types", "flat", "--output-dir", "new"),
    ],
    "export-embeddings": ["export-embeddings", "--embeddings", EMBEDDINGS, "--output-dir", "new"],
    "convert": ["convert", MODEL, "--to", "sentence-transformers", "--output-dir", "new"],
    "train --init": [
        *("train", "--init", MODEL, "--train-file", RUNS / "data/train.jsonl", "--max-epochs", 0),
        *("--output-dir", "new", "--set", "train.projection=8"),
    ],
    "run": ["run"],
}  # fmt: skip
OF_MODEL = set(READERS) - {"export-embeddings"}
OF_EMBEDDINGS = {
    *("index", "index, up to date", "update-index", "tune-index", "export-embeddings", "run"),
    *("encode-corpus, up to date",),
}
OF_INDEX = {
    "search",
    "evaluate",
    "evaluate, up to date",
    "update-index",
    "index, up to date",
    "run",
}


def flip(path, at=-3):
    """Change a byte, and set the time of change back."""
    times, raw = path.stat(), bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def swap(path):
    """Other weights of the same size."""
    times, raw = path.stat(), path.read_bytes()
    other = path.with_name("other")
    other.write_bytes(raw[:-64] + bytes(64))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def edit(path):
    path.write_text(path.read_text().replace("pooling: mean", "pooling: cls"))


def shorten(path):
    path.write_text(path.read_text().replace("max_length: 256", "max_length: 6"))


DAMAGES = [
    (MODEL / "retriever.yaml", edit, OF_MODEL),
    (MODEL / "retriever.yaml", shorten, {"encode-corpus", "search", "run"}),
    (WEIGHTS, swap, OF_MODEL),
    (WEIGHTS, flip, {"encode-corpus", "search", "evaluate", "run"}),
    (MODEL / "question_encoder/tokenizer.json", flip, {"encode-corpus", "search", "run"}),
    (EMBEDDINGS / "vectors-00001.npy", flip, OF_EMBEDDINGS),
    (EMBEDDINGS / "ids-00001.txt", flip, {"index", "update-index", "run"}),
    (INDEX / "index.faiss", flip, OF_INDEX),
    (RUNS / "results/results.jsonl", flip, {"evaluate, up to date", "run"}),
    (RUNS / "data/train.jsonl", flip, {"run"}),
]


def all_below(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(*words):
    """What a refused command says. It must have made nothing."""
    before = all_below(".")
    result = call(*words)
    assert result.exit_code == 1, result.stderr
    assert all_below(".") == before
    problem = result.stderr.splitlines()[-1]
    assert problem.startswith("Error: ") and result.stdout == ""
    return problem


@pytest.mark.parametrize(
    ("path", "change", "readers"), DAMAGES, ids=[f"{c.__name__} {p.name}" for p, c, _ in DAMAGES]
)
def test_what_was_changed_is_refused_by_who_reads_it(work, path, change, readers):
    change(path)
    for reader in sorted(readers):
        problem = refused(*READERS[reader])
        assert str(path) in problem, reader
        assert "damaged (it " in problem or "was changed since it was made" in problem, reader
    kind = next(
        folder for folder in (path.parent, *path.parents) if (folder / "manifest.json").exists()
    )
    checked = call("info", "--check", kind)
    assert checked.exit_code == 3 and str(path) in checked.stderr


def test_a_file_that_a_library_would_load_as_well_is_refused(work):
    """transformers reads adapter_config.json beside weights, and other vectors come out."""
    odd = MODEL / "passage_encoder/adapter_config.json"
    odd.write_text("{}")
    for reader in OF_MODEL:
        assert f"{odd}: is not a file of this retriever; move it away" in refused(*READERS[reader])
    assert call("info", "--check", MODEL).exit_code == 3
    odd.unlink()
    (MODEL / "notes.txt").write_text("mine")
    (MODEL / "passage_encoder/.DS_Store").write_text("")
    assert call("run").stderr.count("up to date") == 5
    assert call("info", "--check", MODEL).exit_code == 0


@pytest.mark.parametrize("kind", ["flat", "exact", "bm25"])
def test_a_corpus_of_the_same_size_and_time_is_another_corpus(work, tiny_passages, kind):
    shutil.copyfile(tiny_passages, "p.tsv")
    assert call("encode-corpus", "--passages", "p.tsv", "--output-dir", "e").exit_code == 0
    index = ["index", "--embeddings", "e", "--type", kind, "--output-dir", "i"]
    assert call(*index).exit_code == 0
    search = ["search", "--index", "i", "--questions", RUNS / "data/test.jsonl", "-o", "x"]
    assert call(*search).exit_code == 0
    before = Path("x").read_bytes()
    shutil.copy2("p.tsv", "keep.tsv")
    times = os.stat("p.tsv")
    text = Path("p.tsv").read_text()
    Path("p.tsv").write_text(text.replace("Angkor", "ANGKOR"))
    os.utime("p.tsv", ns=(times.st_atime_ns, times.st_mtime_ns))
    for words in (search, ["evaluate", "--index", "i", "--output-dir", "r"]):
        assert "i: was made with the passages " in (problem := refused(*words))
        assert "p.tsv" in problem
    if kind == "bm25":
        assert "e: was made with the passages " in refused(*index[:-1], "i2")
    shutil.copy2("keep.tsv", "p.tsv")  # the same content with another inode's times
    assert call(*search).exit_code == 0 and Path("x").read_bytes() == before
    assert (
        "e: up to date" in call("encode-corpus", "--passages", "p.tsv", "--output-dir", "e").stderr
    )


def test_what_an_exact_index_stands_on_is_compared_too(work):
    assert call("index", "--type", "exact", "--output-dir", "i").exit_code == 0
    flip(EMBEDDINGS / "vectors-00000.npy")
    problem = refused("search", "--index", "i", "--questions", RUNS / "data/test.jsonl", "-o", "x")
    assert "vectors-00000.npy: damaged (it was changed: its sha256 is " in problem
    assert problem.endswith("import-embeddings --restart for imported vectors")
    assert call("encode-corpus", "--repair").exit_code == 0
    assert call("search", "--index", "i", "--questions", RUNS / "data/test.jsonl").exit_code == 0


def test_restart_makes_what_was_damaged_again(work):
    for folder, name in (("model", WEIGHTS.relative_to(MODEL)), ("index", "index.faiss")):
        flip(RUNS / folder / name)
        stage = {"model": "train", "index": "index"}[folder]
        assert call(stage, "--restart").exit_code == 0
        assert call("info", "--check", RUNS / folder).exit_code == 0
    assert call("run").stderr.count("up to date") == 5


# --- a manifest that cannot be read ---------------------------------------------------------------

BROKEN = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "no JSON": lambda raw: b"\xff\xfe{",
    "a list": lambda raw: b"[]",
    "wrong types": lambda raw: json.dumps(json.loads(raw) | {"files": 3}).encode(),
    "nested": lambda raw: b'{"counts": ' + b"[" * 100_000,
    "another number": lambda raw: raw.replace(b'"passages": 282', b'"passages": 281'),
    "schema 2": lambda raw: json.dumps(json.loads(raw) | {"schema": 2}).encode(),
    "schema 0": lambda raw: json.dumps(json.loads(raw) | {"schema": 0}).encode(),
    "a way out": lambda raw: raw.replace(b"index.faiss", b"../index.faiss"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_restart_gets_out_of_a_damaged_manifest_and_deletes_nothing(work, how):
    path = INDEX / "manifest.json"
    whole = all_below(INDEX)
    path.write_bytes(BROKEN[how](path.read_bytes()))
    (INDEX / "notes.txt").write_text("mine")
    before = all_below(INDEX)
    for words in (["index"], ["search", "--questions", RUNS / "data/test.jsonl"], ["info", INDEX]):
        problem = refused(*words)
        assert str(path) in problem and "--restart" in problem
    result = call("index", "--restart")
    assert result.exit_code == 0, result.stderr
    assert "what is in the way is moved to runs/dprkit/index/aside-1" in result.stderr
    aside = {p.relative_to(INDEX / "aside-1"): d for p, d in all_below(INDEX / "aside-1").items()}
    assert aside == {p.relative_to(INDEX): before[p] for p in (path, INDEX / "index.faiss")}
    assert (INDEX / "notes.txt").read_text() == "mine"
    assert (INDEX / "index.faiss").read_bytes() == whole[INDEX / "index.faiss"]
    assert "up to date" in call("index").stderr


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"kind": "index"}', b"\xff"])
def test_restart_gets_out_of_damaged_progress(work, raw):
    (INDEX / "manifest.json").unlink()
    (INDEX / "progress.json").write_bytes(raw)
    assert "progress.json: damaged (" in refused("index")
    assert call("index", "--restart").exit_code == 0
    assert (INDEX / "aside-1/progress.json").read_bytes() == raw
    assert (INDEX / "aside-1/index.faiss").exists()
    assert "up to date" in call("index").stderr


def test_restart_gets_out_of_a_lost_manifest(work):
    (INDEX / "manifest.json").unlink()
    assert "aside with --restart" in refused("index")
    result = call("index", "--restart")
    assert result.exit_code == 0, result.stderr
    assert "what is in the way is moved to runs/dprkit/index/aside-1" in result.stderr
    assert (INDEX / "aside-1/index.faiss").read_bytes() == (INDEX / "index.faiss").read_bytes()
    assert "up to date" in call("index").stderr


def test_a_folder_of_an_artifact_that_is_gone_is_made_again(work):
    for words in (["train"], ["train", "--restart"]):
        shutil.rmtree(MODEL / "question_encoder")
        assert call(*words).exit_code == 0
        assert "up to date" in call("train").stderr


def test_a_link_that_leads_nowhere_in_the_place_of_a_file_is_replaced(work):
    (INDEX / "index.faiss").unlink()
    (INDEX / "index.faiss").symlink_to("/nowhere/index.faiss")
    assert "index.faiss" in refused("search", "--questions", RUNS / "data/test.jsonl")
    assert call("index").exit_code == 0
    assert not (INDEX / "index.faiss").is_symlink()


def test_a_restart_that_fails_puts_back_what_was_moved_aside(work):
    (INDEX / "manifest.json").write_bytes(b"")
    before = all_below(INDEX)
    result = call("index", "--restart", "--type", "IVF9999,Flat")
    assert result.exit_code == 1
    assert all_below(INDEX) == before
    assert call("index", "--restart").exit_code == 0


def test_restart_moves_a_file_that_was_added_aside(work):
    odd = MODEL / "question_encoder/adapter_config.json"
    odd.write_text("{}")
    assert "which moves it aside" in refused("train")
    assert call("train", "--restart").exit_code == 0
    assert (MODEL / "aside-1/question_encoder/adapter_config.json").read_text() == "{}"
    assert call("run").stderr.count("up to date") == 5


# --- a workspace that was moved -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flat", "exact", "bm25"])
def test_a_moved_workspace_needs_no_flags(work, tiny_passages, tmp_path, monkeypatch, kind):
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy("dprkit.yaml", old)
    monkeypatch.chdir(old)
    shutil.copyfile(tiny_passages, "p.tsv")
    recipe = Path("dprkit.yaml").read_text().replace("bundled:tiny/passages.tsv", "p.tsv")
    Path("dprkit.yaml").write_text(recipe.replace("index: {}", f"index: {{type: {kind}}}"))
    assert call("run", "-q").exit_code == 0
    words = ["search", "--questions", RUNS / "data/test.jsonl", "-o", "x"]
    assert call(*words).exit_code == 0
    found = Path("x").read_bytes()
    monkeypatch.chdir(tmp_path)
    old.rename("new")
    monkeypatch.chdir("new")
    assert call(*words).exit_code == 0
    assert Path("x").read_bytes() == found
    assert call("evaluate", "--output-dir", "r").exit_code == 0
    assert call("run").stderr.count("up to date") == 5
    assert call("index", "--output-dir", "again").exit_code == 0
    assert call("search", "--index", "again", *words[1:]).exit_code == 0
    shutil.copytree(".", tmp_path / "copy")  # the old one is still there, and changed
    Path("p.tsv").write_text("1\tother\tother\n")
    monkeypatch.chdir(tmp_path / "copy")
    assert call(*words).exit_code == 0


def test_a_moved_index_that_was_updated_finds_what_it_stands_on(work, tmp_path, monkeypatch):
    words = ["--index", "i", "--questions", RUNS / "data/test.jsonl", "-o"]
    Path("gone.txt").write_text("1\n2\n")
    assert (
        call(
            "update-index", "--index", INDEX, "--remove", "gone.txt", "--output-dir", "i"
        ).exit_code
        == 0
    )
    assert call("search", *words, "x").exit_code == 0
    work.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call("search", *words, "y").exit_code == 0
    assert Path("x").read_bytes() == Path("y").read_bytes()
    assert (
        "i: up to date"
        in call(
            "update-index", "--index", INDEX, "--remove", "gone.txt", "--output-dir", "i"
        ).stderr
    )


# --- what it costs --------------------------------------------------------------------------------


def test_a_search_reads_no_more_than_it_may_and_says_what_it_left_out(work, monkeypatch):
    from dprkit.search import open_index

    monkeypatch.setattr(checksums, "SMALL", 0)
    monkeypatch.setattr(checksums, "SETTLED", 0)
    monkeypatch.setattr(open_index, "SEARCH_LIMIT", 1000)
    words = ["search", "--questions", RUNS / "data/test.jsonl", "-o", "x"]
    flip(INDEX / "index.faiss")
    for folder in (MODEL, INDEX):
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
        checksums._kept.clear()
        told = call(*words).stderr
        assert f"{folder}: 0.0 GB were compared by their size alone; dprkit info --check " in told
    assert call("info", "--check", INDEX).exit_code == 3
    assert "index.faiss: damaged" in refused(*words)  # what was proven is remembered


def test_a_second_look_reads_no_large_file(work, monkeypatch):
    """And manifests do not depend on the disk."""
    import hashlib

    monkeypatch.setattr(checksums, "SMALL", 0)
    monkeypatch.setattr(checksums, "SETTLED", 0)
    time.sleep(0.01)
    assert call("run").stderr.count("up to date") == 5
    reads, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: reads.append(a) or digest(*a))
    checksums._kept.clear()
    assert call("run").stderr.count("up to date") == 5
    assert reads == []
    for path in RUNS.rglob("manifest.json"):
        assert "mtime" not in path.read_text()
