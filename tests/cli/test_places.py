"""Files and where they lie: modes, permissions, links, odd names, places that take nothing."""

from __future__ import annotations

import gzip
import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dprkit.settings import bundled
from tests.cli.test_bad_input import OUTPUTS, refused
from tests.conftest import as_anyone, call, environment, shell

PASSAGES = bundled("tiny/passages.tsv")


def modes(folder):
    return {str(p): stat.S_IMODE(p.lstat().st_mode) for p in [folder, *folder.rglob("*")]}


def said(result, code=1):
    """The one line of a command that was refused."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: "), result.stderr
    assert result.stderr.count("Error") == 1
    return line.removeprefix("Error: ")


# --- modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o027, 0o002, 0o077])
def test_files_have_the_mode_that_the_umask_leaves(work, mask):
    before = os.umask(mask)
    try:
        commands = [
            ["select-data", "--output-dir", "made/data"],
            ["train", "--max-epochs", "1", "--checkpoint-every", "1", "--output-dir", "made/model"],
            ["convert", "made/model", "--to", "sentence-transformers", "--output-dir", "made/st"],
            ["encode-corpus", "--retriever", "made/model", "--output-dir", "made/vectors"],
            ["export-embeddings", "--embeddings", "made/vectors", "--output-dir", "made/exported"],
            ["index", "--embeddings", "made/vectors", "--output-dir", "made/index"],
            ["index", "--type", "bm25", "--output-dir", "made/bm25"],
            [
                "search",
                "--index",
                "made/bm25",
                "--questions",
                "made/data/test.jsonl",
                "-o",
                "made/o",
            ],
            ["evaluate", "--index", "made/index", "--output-dir", "made/results"],
            ["init", "made/own"],
        ]
        for words in commands if mask == 0o027 else commands[:3]:
            result = call(*words, *(["--quiet"] if words[0] != "init" else []))
            assert result.exit_code == 0, result.stderr
    finally:
        os.umask(before)
    for path, mode in modes(Path("made")).items():
        assert mode == (0o777 if Path(path).is_dir() else 0o666) & ~mask, path


def test_a_folder_that_hands_its_group_on_has_folders_that_do(work):
    Path("made").mkdir()
    os.chmod("made", 0o2775)
    assert call("train", "--max-epochs", "0", "--output-dir", "made").exit_code == 0
    assert Path("made/question_encoder").stat().st_mode & stat.S_ISGID


# --- what may not be read -------------------------------------------------------------------------

MODEL = "runs/dprkit/model"
SEARCH = ["search", "--questions", "q.txt", "-o", "out", "--retriever", MODEL]
UNREADABLE = {
    "runs/dprkit/model/question_encoder/model.safetensors": SEARCH,
    "runs/dprkit/model/question_encoder/config.json": SEARCH,
    "runs/dprkit/model/question_encoder/projection.safetensors": SEARCH,
    "runs/dprkit/model": SEARCH,
    "runs/dprkit/index": SEARCH,
    "runs/dprkit/index/manifest.json": SEARCH,
    "q.txt": SEARCH,
    "dprkit.yaml": ["index"],
}


@pytest.mark.parametrize("path", UNREADABLE)
def test_what_may_not_be_read_is_not_called_missing(work, path):
    Path("q.txt").write_text("how tall is everest\n")
    os.chmod(path, 0)
    try:
        problem = said(shell(*UNREADABLE[path], preexec_fn=as_anyone))
    finally:
        os.chmod(path, 0o755)
    assert path in problem
    assert "not readable; check its permissions" in problem
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["index", "select-data", "search"])
def test_an_output_without_permission_is_told(work, name):
    Path("closed").mkdir(mode=0o555)
    words = [word.replace("BAD", "closed/x") for word in OUTPUTS[name]]
    problem = said(shell(*words, preexec_fn=as_anyone))
    assert problem.startswith("closed/x")
    assert problem.endswith("not writable; choose another output or fix its permissions")


# --- places that take nothing ---------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_an_output_where_nothing_can_be_made_is_refused(work, name):
    problem = refused(*(word.replace("BAD", "/proc/nope/out") for word in OUTPUTS[name]))
    assert problem.startswith("/proc/nope/out")
    assert problem.endswith("choose another output")


@pytest.mark.parametrize("name", ["select-data", "index", "init"])
@pytest.mark.parametrize("place", ["a" * 300, "/sys/x", "/dev/null/x"])
def test_an_output_that_the_system_refuses_is_told(work, name, place):
    problem = refused(*(word.replace("BAD", place) for word in OUTPUTS[name]))
    assert problem.startswith(place[:200])  # a long name is cut there
    assert "choose another output" in problem


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_is_a_link_to_nowhere_is_told(work, name):
    Path("link").symlink_to("gone")
    place = "link/x" if name in ("select-data", "passages-out", "search") else "link"
    problem = refused(*(word.replace("BAD", place) for word in OUTPUTS[name]))
    assert problem.startswith(place)
    assert "a link that leads nowhere (gone); choose another output" in problem


def test_a_file_is_written_through_a_link_to_no_file_yet(work):
    Path("link").symlink_to("far.jsonl")
    assert call("select-data", "-o", "link", "--num-items", "3").exit_code == 0
    assert len(Path("far.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["search", "--questions", "link", "-o", "out"],
        ["select-data", "link", "-o", "out"],
        ["encode-corpus", "--passages", "link", "--output-dir", "out"],
        ["encode-corpus", "--retriever", "link", "--output-dir", "out"],
        ["info", "link"],
        ["train", "--config", "link"],
    ],
)
def test_an_input_that_is_a_link_to_nowhere_is_told(work, words):
    Path("link").symlink_to("gone")
    problem = refused(*words)
    assert problem == "link: a link that leads nowhere (gone); check the path"


# --- names ----------------------------------------------------------------------------------------

LATIN = os.fsdecode(b"caf\xe9")
NAMED = {
    "index": ["index", "--type", "bm25", "--passages", "p.tsv", "--output-dir", "out"],
    "train": ["train", "--train-file", "t.json", "--output-dir", "out"],
    "encode-corpus": ["encode-corpus", "--output-dir", "out"],
    "evaluate": ["evaluate", "--output-dir", "out"],
    "convert": ["convert", "runs/dprkit/model", "--to", "hf-dpr", "--output-dir", "out"],
}


@pytest.mark.parametrize("name", NAMED)
def test_a_working_folder_whose_name_is_not_utf8_is_refused_in_a_line(work, name, monkeypatch):
    work.rename(work.parent / LATIN)
    monkeypatch.chdir(work.parent / LATIN)
    Path("p.tsv").write_bytes(PASSAGES.read_bytes())
    Path("t.json").write_bytes(bundled("tiny/examples.json").read_bytes())
    problem = refused(*NAMED[name])
    assert "a name that is not UTF-8" in problem
    assert "caf\\udce9" in problem
    assert not Path("out").exists()


def test_what_keeps_no_path_works_in_a_folder_whose_name_is_not_utf8(tmp_path, monkeypatch):
    (tmp_path / LATIN).mkdir()
    monkeypatch.chdir(tmp_path / LATIN)
    assert call("init").exit_code == 0
    assert "\nname: caf\n" in Path("dprkit.yaml").read_text()
    assert call("select-data", "-o", "out.jsonl", "--num-items", "3").exit_code == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 3


def test_a_model_folder_may_hold_a_name_that_is_not_utf8(work):
    from dprkit.store.integrity import input_of

    folder = Path("runs/dprkit/model/question_encoder")
    before = input_of(folder).identity
    (folder / LATIN).write_bytes(b"x")
    assert input_of(folder).identity != before


@pytest.mark.parametrize(
    "words", [["init", LATIN], ["info", LATIN], ["select-data", LATIN], ["run", "--config", LATIN]]
)
def test_a_word_that_is_not_utf8_is_refused_in_a_line(tmp_path, words):
    assert said(shell(*words, cwd=tmp_path)) == "'caf\\udce9' is not UTF-8; rename the file"
    assert list(tmp_path.iterdir()) == []


def test_names_outside_ascii_work_where_the_locale_is_ascii(tmp_path):
    env = environment(LC_ALL="POSIX", PYTHONUTF8="0")
    result = shell("select-data", "-o", "ü.jsonl", "--num-items", "3", cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "ü.jsonl").is_file()


# --- memory ---------------------------------------------------------------------------------------


def limited(megabytes):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


@pytest.mark.parametrize("megabytes", [200, 450, 900])
def test_too_little_memory_is_one_line(work, megabytes):
    Path("q.txt").write_text("how tall is everest\n")
    result = shell(*SEARCH, "--quiet", preexec_fn=limited(megabytes))
    problem = said(result)
    assert "memory" in problem
    assert len(result.stderr.splitlines()) == 1
    assert not Path("out").exists()


def one_thread():
    """For preexec_fn: this process may start no thread. Root's processes are not counted."""
    as_anyone(21, 24)  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    os.setresuid(65533, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user of whom there is no other process")
@pytest.mark.parametrize("words", [["index", "--output-dir", "new"], ["evaluate"]])
def test_too_few_threads_is_one_line(work, words):
    """OpenBLAS would send a SIGINT, which looks like Ctrl-C."""
    env = environment(OMP_NUM_THREADS="4")
    problem = said(shell(*words, "--restart", env=env, preexec_fn=one_thread))
    assert problem.startswith("the system lets this process start no more threads, which numpy")


def test_a_library_that_is_broken_is_one_line(work, tmp_path):
    broken = tmp_path / "libraries/faiss"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("from swigfaiss import no_such_thing\n")
    env = environment(PYTHONPATH=str(broken.parent))
    problem = said(shell("index", "--type", "hnsw", "--output-dir", "new", env=env))
    assert problem.startswith("swigfaiss cannot be imported (")


def test_peak_memory_is_not_that_of_the_process_that_started_it():
    program = (
        "import subprocess, sys; ballast = b'x' * (500 << 20); "
        "sys.exit(subprocess.run([sys.executable, '-m', 'dprkit', 'select-data', "
        "'-o', sys.argv[1], '--json', '--num-items', '3', '-q']).returncode)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, os.devnull], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["peak_memory_mb"] < 300


# --- no home --------------------------------------------------------------------------------------


def homeless(**more):
    env = environment(HOME="/proc/nope", **more)
    return {k: v for k, v in env.items() if k not in ("MPLCONFIGDIR", "HF_HOME")}


def test_without_a_home_there_is_no_advice_of_libraries(work):
    words = ["train", "--max-epochs", "1", "--output-dir", "new", "--quiet"]
    result = shell(*words, env=homeless())
    assert (result.returncode, result.stderr) == (0, "")
    assert Path("new/curves.svg").is_file()


def test_a_compressed_corpus_that_can_be_unpacked_nowhere_names_the_cache(work):
    Path("closed").mkdir()
    Path("closed/p.tsv.gz").write_bytes(gzip.compress(PASSAGES.read_bytes()))
    os.chmod("closed", 0o555)
    words = ["index", "--type", "bm25", "--passages", "closed/p.tsv.gz", "--output-dir", "new"]
    without = {k: v for k, v in homeless().items() if k != "XDG_CACHE_HOME"}
    problem = said(shell(*words, env=without, preexec_fn=as_anyone))
    assert problem.startswith("closed/p.tsv.gz: no place for its rows (/proc/nope/.cache/dprkit/")
    assert problem.endswith("; set XDG_CACHE_HOME to a folder that can be written")
    there = without | {"XDG_CACHE_HOME": str(work / "cache")}
    assert shell(*words, env=there, preexec_fn=as_anyone).returncode == 0
