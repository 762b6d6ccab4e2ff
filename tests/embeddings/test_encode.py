import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dprkit.data.passages import read_passages
from dprkit.embeddings import append_and_repair, encode
from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.estimate import estimate
from dprkit.embeddings.shards import Embeddings
from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.models.retriever import load_retriever
from dprkit.progress import Progress, Run
from dprkit.settings import EncodeSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call, environment, remade, shell


def settings(retriever, passages, output, **more):
    return EncodeSettings(
        retriever=str(retriever), passages=str(passages), output_dir=str(output), **more
    )


def test_shards_hold_the_vectors_of_the_passages_in_order(small_retriever, tiny_passages, tmp_path):
    report = encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e", shard_size=100))
    embeddings = Embeddings(tmp_path / "e")
    passages = list(read_passages(tiny_passages))
    assert (report.passages, report.shards, report.dim) == (282, 3, 8)
    assert embeddings.ids() == [p.id for p in passages]
    assert [len(shard) for shard in embeddings.vectors()] == [100, 100, 82]
    one_by_one = np.concatenate(
        [load_retriever(small_retriever).encode_passages([p]) for p in passages[:40]]
    )
    np.testing.assert_allclose(next(embeddings.vectors())[:40], one_by_one, atol=1e-5)


def test_float16_halves_the_file_and_keeps_three_digits(small_retriever, tiny_passages, tmp_path):
    for dtype in ("float32", "float16"):
        encode_corpus(settings(small_retriever, tiny_passages, tmp_path / dtype, dtype=dtype))
    full, half = (
        np.concatenate(list(Embeddings(tmp_path / dtype).vectors()))
        for dtype in ("float32", "float16")
    )
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, atol=2e-3)


def with_bias(retriever, folder, value):
    """A copy of a retriever whose vectors of passages begin with about `value`."""
    shutil.copytree(retriever, folder)
    weights = folder / "passage_encoder/projection.safetensors"
    tensors = load_file(weights)
    tensors["bias"][0] = value
    save_file(tensors, weights)
    return remade(folder)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (1e5, r"holds 1e\+05, too large for float16; use --dtype float32"),
        (float("nan"), r"is no number \(NaN or infinite\)"),
    ],
)
def test_a_vector_that_cannot_be_kept_is_named_with_its_passage(
    small_retriever, tmp_path, value, problem
):
    odd = with_bias(small_retriever, tmp_path / "odd", value)
    passages = tmp_path / "p.tsv"
    passages.write_text("id\ttext\ttitle\na7\tsome text\t\n")
    with pytest.raises(FormatError, match=rf"p.tsv:2: the vector of passage 'a7' {problem}"):
        encode_corpus(settings(odd, passages, tmp_path / "e", dtype="float16"))
    assert not (tmp_path / "e").exists()


class StopAfter(Progress):
    """A user who presses Ctrl-C after so many passages."""

    def __init__(self, passages):
        self.left = passages

    def advance(self, count, facts=None):
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def test_a_stopped_encode_ends_with_the_same_bytes(small_retriever, tiny_passages, tmp_path):
    whole = settings(small_retriever, tiny_passages, tmp_path / "whole", shard_size=50)
    encode_corpus(whole)
    broken = settings(small_retriever, tiny_passages, tmp_path / "broken", shard_size=50)
    for stop in (30, 60, 140):
        with pytest.raises(KeyboardInterrupt):
            encode_corpus(broken, Run(StopAfter(stop)))
        with pytest.raises(InputError, match="unfinished"):
            read_manifest(tmp_path / "broken")
    encode_corpus(broken)
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "broken"))
    assert one.files == other.files
    assert one.identity == other.identity


class Counts(Progress):
    """What a display is told of the count."""

    def start(self, what, total, unit, done=0):
        self.total, self.before, self.now = total, done, 0

    def advance(self, count, facts=None):
        self.now += count


def test_what_an_earlier_run_encoded_is_no_work_of_this_one(
    small_retriever, tiny_passages, tmp_path
):
    """Else rate and time left are those of two runs in the time of one."""
    made = settings(small_retriever, tiny_passages, tmp_path / "e", shard_size=50)
    encode_corpus(made, shard="1/3")
    counts = Counts()
    encode_corpus(made, Run(counts))
    assert (counts.total, counts.before, counts.now) == (282, 100, 182)


def test_a_cut_shard_is_named(small_retriever, tiny_passages, tmp_path):
    encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e"))
    shard = tmp_path / "e" / "vectors-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"vectors-00000.npy: .* bytes where the manifest has"):
        list(Embeddings(tmp_path / "e").vectors())


def files_of(directory):
    """Every file of a finished artifact but its manifest, which tells how it was called."""
    assert not (directory / "progress.json").exists()
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_parts_of_the_shards_are_made_apart(small_retriever, tiny_passages, tmp_path):
    whole = settings(small_retriever, tiny_passages, tmp_path / "whole", shard_size=50)
    parts = settings(small_retriever, tiny_passages, tmp_path / "parts", shard_size=50)
    encode_corpus(whole)
    first = encode_corpus(parts, shard="1/2")
    assert (first.shards, first.of_shards) == (3, 6)
    second = encode_corpus(parts, shard="2/2")
    assert (second.shards, second.of_shards) == (6, 6)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "parts")


def test_processes_of_one_command_share_the_shards(
    small_retriever, tiny_passages, tmp_path, monkeypatch
):
    """This process makes a shard only once the other one has made one more than it."""
    alone = settings(small_retriever, tiny_passages, tmp_path / "alone", shard_size=20)
    encode_corpus(alone)
    make, own, folder = encode._Encoding._make, [], tmp_path / "two"

    def patient(self, work, number):
        deadline = time.monotonic() + 100
        while len(list(folder.glob("vectors-*.npy"))) <= len(own):
            assert time.monotonic() < deadline, "no other process makes a shard"
            time.sleep(0.02)
        make(self, work, number)
        own.append(number)

    monkeypatch.setattr(encode._Encoding, "_make", patient)
    encode_corpus(settings(small_retriever, tiny_passages, folder, shard_size=20, num_processes=2))
    assert len(own) < 15
    one, two = (np.concatenate(list(Embeddings(tmp_path / n).vectors())) for n in ("alone", "two"))
    np.testing.assert_allclose(one, two, atol=1e-6)


OTHER_FAILS = """
import sys, time
from pathlib import Path
failed = Path({failed!r})
if "spawn_main" in " ".join(sys.orig_argv):
    from dprkit.models import retriever_folder
    def fail(path):
        failed.touch()
        return 1 / 0
    retriever_folder.load_bi_encoder = fail
elif "encode-corpus" in sys.orig_argv:
    from dprkit.embeddings import encode
    make = encode._Encoding._make
    def patient(self, work, number):
        while not failed.exists():
            time.sleep(0.05)
        make(self, work, number)
    encode._Encoding._make = patient
"""


def test_a_process_that_fails_is_one_line_of_the_command(small_retriever, tiny_passages, tmp_path):
    """The other one cannot load the retriever; this one waits for that and makes all shards."""
    (tmp_path / "code").mkdir()
    program = OTHER_FAILS.format(failed=str(tmp_path / "failed"))
    (tmp_path / "code/sitecustomize.py").write_text(program)
    words = ["--retriever", small_retriever, "--passages", tiny_passages, "--shard-size", "20"]
    words += ["--output-dir", tmp_path / "e", "--num-processes", "2"]
    ran = shell("encode-corpus", *words, env=environment(PYTHONPATH=str(tmp_path / "code")))
    assert ran.returncode == 0, ran.stderr
    (line,) = [line for line in ran.stderr.splitlines() if "process 2 of 2" in line]
    assert "ZeroDivisionError: division by zero" in line
    assert line.endswith("the other processes did its share")
    assert "Traceback" not in ran.stderr


def test_flags_that_contradict_each_other_are_refused_before_anything_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("DPRKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "p.tsv").write_text("not a corpus")
    words = ["--retriever", tmp_path / "none", "--passages", tmp_path / "p.tsv"]
    for flags, problem in (
        (["--int8"], "--int8 is for --backend onnx"),
        (["--backend", "onnx", "--precision", "bf16"], "--precision bf16 is for --backend torch"),
    ):
        ran = call("encode-corpus", *words, *flags, "--output-dir", tmp_path / "e")
        assert ran.exit_code == 1
        assert ran.stderr.strip().endswith(problem) or problem in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p.tsv"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "1/2/3"])
def test_a_part_that_is_none_is_refused(text, small_retriever, tiny_passages, tmp_path):
    with pytest.raises(SettingsError, match="expected a part such as 3/50"):
        encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e"), shard=text)


def corpus_of(passages, path):
    rows = [{"id": p.id, "title": p.title, "text": p.text} for p in passages]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_only_new_and_changed_passages_are_encoded_again(small_retriever, tiny_passages, tmp_path):
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[:230], tmp_path / "p.jsonl")
    now = settings(small_retriever, corpus, tmp_path / "e", shard_size=100)
    encode_corpus(now)
    changed = msgspec.structs.replace(passages[120], text="Something else altogether.")
    corpus_of([*passages[:120], changed, *passages[121:]], corpus)
    report = encode_corpus(now, append=True)
    assert (report.passages, report.reused) == (282, 229)
    again = settings(small_retriever, corpus, tmp_path / "anew", shard_size=100)
    encode_corpus(again)
    one, other = (np.concatenate(list(Embeddings(tmp_path / n).vectors())) for n in ("e", "anew"))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert Embeddings(tmp_path / "e").ids() == [p.id for p in passages]


def test_a_stopped_append_goes_on_with_what_it_may_reuse(small_retriever, tiny_passages, tmp_path):
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[:230], tmp_path / "p.jsonl")
    now = settings(small_retriever, corpus, tmp_path / "e", shard_size=50)
    encode_corpus(now)
    corpus_of(passages, corpus)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(now, Run(StopAfter(120)), append=True)
    report = encode_corpus(now, append=True)
    assert report.reused == 130  # the first two shards were whole


def renumbered(passages):
    """As a corpus whose ids are the numbers of its lines: each passage behind has another id."""
    return [msgspec.structs.replace(p, id=str(number)) for number, p in enumerate(passages)]


@pytest.mark.parametrize(
    "how", ["inserted", "numbered", "removed", "turned round", "in other shards"]
)
def test_passages_that_were_there_are_found_wherever_they_lie_now(
    small_retriever, tiny_passages, tmp_path, how
):
    """By their content: two that are inserted near the top are the only ones that are encoded."""
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[:200], tmp_path / "p.jsonl")
    encode_corpus(settings(small_retriever, corpus, tmp_path / "e", shard_size=30))
    wanted = {
        "inserted": [*passages[:5], *passages[200:202], *passages[5:200]],
        "numbered": renumbered([*passages[:5], *passages[200:202], *passages[5:200]]),
        "removed": [*passages[3:90], *passages[91:200]],
        "turned round": passages[:200][::-1],
        "in other shards": passages[:200],
    }[how]
    corpus_of(wanted, corpus)
    size = 70 if how == "in other shards" else 30
    appended, fresh = (
        settings(small_retriever, corpus, tmp_path / name, shard_size=size)
        for name in ("e", "fresh")
    )
    report = encode_corpus(appended, append=True)
    encode_corpus(fresh)
    assert (report.passages, report.reused) == (len(wanted), len(wanted) - 2 * (len(wanted) > 200))
    assert Embeddings(tmp_path / "e").ids() == [p.id for p in wanted]
    one, other = files_of(tmp_path / "e"), files_of(tmp_path / "fresh")
    assert one.keys() == other.keys()
    for name in one:
        if name.startswith("vectors"):
            vectors = (np.load(tmp_path / folder / name) for folder in ("e", "fresh"))
            np.testing.assert_allclose(*vectors, atol=1e-6)
        else:
            assert one[name] == other[name]


def test_embeddings_whose_digests_are_of_the_ids_too_are_appended_to(
    small_retriever, tiny_passages, tmp_path, monkeypatch
):
    """As they were made before: hashes of id, title and text."""

    def with_ids(passages):
        texts = (f"{p.id}\n{p.title}\n{p.text}".encode() for p in passages)
        raw = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
        return np.frombuffer(raw, "<u8")

    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[:100], tmp_path / "p.jsonl")
    now = settings(small_retriever, corpus, tmp_path / "e")
    with monkeypatch.context() as before:
        before.setattr(append_and_repair, "digests", with_ids)
        encode_corpus(now)
    corpus_of([passages[150], *passages[:100]], corpus)
    report = encode_corpus(now, append=True)
    assert (report.passages, report.reused) == (101, 100)


def test_append_at_the_command_line_says_how_many_were_there(
    small_retriever, tiny_passages, tmp_path
):
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[2:], tmp_path / "p.jsonl")
    words = ("encode-corpus", "--retriever", small_retriever, "--passages", corpus)
    words = (*words, "--output-dir", tmp_path / "e", "--json")
    assert call(*words).exit_code == 0
    corpus_of([passages[2], *passages[:2], *passages[3:]], corpus)
    report = json.loads(call(*words, "--append").stdout)
    assert (report["passages"], report["reused"]) == (282, 280)
    index = ("index", "--embeddings", tmp_path / "e", "--output-dir", tmp_path / "i")
    assert call(*index).exit_code == 0
    assert call("info", "--check", tmp_path / "e").exit_code == 0


def test_vectors_of_another_retriever_are_not_appended_to(small_retriever, tiny_passages, tmp_path):
    encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e"))
    other = settings(small_retriever, tiny_passages, tmp_path / "e", dtype="float16")
    with pytest.raises(MismatchError, match="its dtype was float32 and is float16"):
        encode_corpus(other, append=True)


def test_damaged_shards_and_no_others_are_made_again(small_retriever, tiny_passages, tmp_path):
    now = settings(small_retriever, tiny_passages, tmp_path / "e", shard_size=100)
    encode_corpus(now)
    before, identity = files_of(tmp_path / "e"), read_manifest(tmp_path / "e").identity
    flipped = tmp_path / "e" / "vectors-00001.npy"
    raw = bytearray(flipped.read_bytes())
    raw[-3] ^= 4
    flipped.write_bytes(raw)
    whole = tmp_path / "e" / "vectors-00000.npy"
    born = whole.stat().st_mtime_ns
    encode_corpus(now, repair=True)
    assert files_of(tmp_path / "e") == before
    assert read_manifest(tmp_path / "e").identity == identity
    assert whole.stat().st_mtime_ns == born


def test_a_part_that_is_none_is_refused_before_the_retriever_is_read(tmp_path):
    with pytest.raises(SettingsError, match="--shard: '4/3'"):
        encode_corpus(settings(tmp_path / "none", tmp_path / "none", tmp_path / "e"), shard="4/3")


def test_a_dry_run_writes_nothing_and_tells_the_disk(small_retriever, tiny_passages, tmp_path):
    now = settings(small_retriever, tiny_passages, tmp_path / "e")
    told = estimate(now)
    assert not (tmp_path / "e").exists()
    encode_corpus(now)
    files = files_of(tmp_path / "e")
    assert told.disk_bytes == pytest.approx(sum(map(len, files.values())), rel=0.05)
    assert told.whole_seconds == pytest.approx(282 / told.passages_per_second)


@pytest.mark.slow
def test_the_rate_of_a_dry_run_is_measured_with_all_its_processes(
    small_retriever, tiny_passages, tmp_path
):
    """Two processes on one core are no faster than one: of five tries, since the core is shared."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    # The first estimate of a process is slower: libraries prepare themselves for each length.
    # One shard keeps one process busy.
    ways = {"alone": (1, 100), "two": (2, 100), "idle": (9, 1000)}
    best = dict.fromkeys(ways, 0.0)
    try:
        for _ in range(5):
            for way, (processes, size) in ways.items():
                how = {"shard_size": size, "num_processes": processes}
                told = estimate(settings(small_retriever, tiny_passages, tmp_path, **how))
                best[way] = max(best[way], told.passages_per_second)
    finally:
        os.sched_setaffinity(0, cores)
    assert best["two"] < 1.6 * best["alone"]
    assert best["idle"] < 1.6 * best["alone"]


@pytest.mark.slow
def test_two_processes_killed_at_random_leave_the_same_bytes(
    small_retriever, tiny_passages, tmp_path
):
    def command(output):
        return [
            *(sys.executable, "-m", "dprkit", "encode-corpus", "--quiet", "--shard-size", "20"),
            *("--retriever", str(small_retriever), "--passages", str(tiny_passages)),
            *("--output-dir", str(output)),
        ]

    subprocess.run(command(tmp_path / "whole"), check=True)
    chance = random.Random(0)
    for _ in range(6):
        both = [subprocess.Popen(command(tmp_path / "e")) for _ in range(2)]
        time.sleep(chance.uniform(1, 6))
        for process in both:
            process.kill()
            process.wait()
    both = [subprocess.Popen(command(tmp_path / "e")) for _ in range(2)]
    time.sleep(4)
    both[0].kill()
    assert both[1].wait(120) == 0
    both[0].wait()
    assert files_of(tmp_path / "e") == files_of(tmp_path / "whole")


@pytest.fixture
def halves(tiny_passages, tmp_path):
    """A corpus of 100 passages, and one of 200 that begins with them, at one path in turn."""
    passages = list(read_passages(tiny_passages))
    path = tmp_path / "p.jsonl"
    return path, lambda count: corpus_of(passages[:count], path)


def test_an_append_does_not_take_over_what_another_run_left(small_retriever, halves, tmp_path):
    path, hold = halves
    hold(100)
    encode_corpus(settings(small_retriever, path, tmp_path / "e", shard_size=20))
    half = settings(small_retriever, path, tmp_path / "e", shard_size=20, dtype="float16")
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(half, Run(StopAfter(30)))
    with pytest.raises(MismatchError, match="its dtype was float32 and is float16"):
        encode_corpus(half, append=True)
    assert encode_corpus(half).reused == 0


def test_damaged_vectors_are_not_taken_over(small_retriever, halves, tmp_path):
    path, hold = halves
    hold(100)
    now = settings(small_retriever, path, tmp_path / "e", shard_size=50)
    encode_corpus(now)
    shard = tmp_path / "e" / "vectors-00000.npy"
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    hold(200)
    assert encode_corpus(now, append=True).reused == 50
    again = settings(small_retriever, path, tmp_path / "anew", shard_size=50)
    encode_corpus(again)
    one, other = (np.concatenate(list(Embeddings(tmp_path / n).vectors())) for n in ("e", "anew"))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_repair_that_would_make_something_else_touches_nothing(small_retriever, halves, tmp_path):
    path, hold = halves
    hold(100)
    now = settings(small_retriever, path, tmp_path / "e", shard_size=50)
    encode_corpus(now)
    before = read_manifest(tmp_path / "e")
    (tmp_path / "e" / "ids-00001.txt").write_text("spoilt")
    hold(200)
    with pytest.raises(MismatchError, match="cannot be repaired with other settings or inputs"):
        encode_corpus(now, repair=True)
    assert read_manifest(tmp_path / "e") == before


def test_a_part_without_shards_may_be_the_last_to_finish(small_retriever, halves, tmp_path):
    path, hold = halves
    hold(30)
    now = settings(small_retriever, path, tmp_path / "e", shard_size=50)
    for part in ("1/2", "2/2"):
        report = encode_corpus(now, shard=part)
        assert (report.shards, report.dim) == (1, 8)
    assert read_manifest(tmp_path / "e").counts["dim"] == 8
