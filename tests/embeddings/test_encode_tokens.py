"""encode-corpus of a ColBERT model: shards of token vectors."""

import json
import signal
import subprocess
import sys
import time
from collections import namedtuple

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dprkit.data.passages import read_passages
from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.estimate import estimate
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_pooling import pooled
from dprkit.embeddings.token_shards import TokenShards, all_names
from dprkit.errors import FormatError, MismatchError, OutputError
from dprkit.models.retriever import load_late_retriever, load_retriever
from dprkit.models.token_vectors import quantized
from dprkit.progress import Run
from dprkit.settings import EncodeSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call, environment, remade, shell, write_colbert
from tests.embeddings.test_encode import StopAfter, corpus_of, files_of

COUNT = 282


def settings(retriever, passages, output, **more):
    given = {"shard_size": 100, **more}
    return EncodeSettings(
        retriever=str(retriever), passages=str(passages), output_dir=str(output), **given
    )


def words(retriever, passages, output, *more):
    return (
        *("encode-corpus", "--retriever", retriever, "--passages", passages),
        *("--output-dir", output, "--shard-size", 100, *more),
    )


def all_tokens(folder):
    return TokenShards(Embeddings(folder)).take_float(np.arange(COUNT))


@pytest.fixture(scope="module")
def expected(small_colbert, tiny_passages):
    """The token vectors of the shipped passages, as the retriever gives them one by one."""
    retriever = load_late_retriever(small_colbert)
    passages = [retriever.passage_vectors([p]) for p in read_passages(tiny_passages)]
    return type(passages[0]).of([p.values for p in passages])


def test_shards_hold_the_token_vectors_of_the_passages_in_order(
    small_colbert, tiny_passages, tmp_path, expected
):
    report = encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "e"))
    tokens = len(expected.values)
    assert (report.passages, report.shards, report.dim, report.tokens) == (COUNT, 3, 8, tokens)
    embeddings = Embeddings(tmp_path / "e")
    assert embeddings.ids() == [p.id for p in read_passages(tiny_passages)]
    assert embeddings.manifest.settings["dtype"] == "float16"
    assert embeddings.manifest.settings["pool_factor"] == 1
    counts = {"passages": COUNT, "dim": 8, "shards": 3, "kind": "tokens", "tokens": tokens}
    assert embeddings.manifest.counts == counts | {"cut": report.cut}
    assert set(embeddings.manifest.files) == {n for i in range(3) for n in all_names(i, "float16")}
    found = all_tokens(tmp_path / "e")
    np.testing.assert_array_equal(found.bounds, expected.bounds)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-3)
    means = np.concatenate(list(embeddings.vectors()))
    np.testing.assert_allclose(means, expected.means(), atol=1e-3)


@pytest.mark.parametrize(("dtype", "off"), [("float32", 1e-5), ("int8", 8e-3)])
def test_token_vectors_are_kept_in_other_number_types(
    dtype, off, small_colbert, tiny_passages, tmp_path, expected
):
    encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "e", dtype=dtype))
    shards = TokenShards(Embeddings(tmp_path / "e"))
    np.testing.assert_allclose(all_tokens(tmp_path / "e").values, expected.values, atol=off)
    if dtype == "int8":
        raw, wanted = shards.take(np.arange(COUNT)), quantized(expected)
        assert (np.abs(raw.values.astype(int) - wanted.values) <= 1).all()
        np.testing.assert_allclose(raw.scales, wanted.scales, atol=1e-6)


def test_pooling_makes_fewer_vectors_and_leaves_the_means(
    small_colbert, tiny_passages, tmp_path, expected
):
    how = {"dtype": "float32", "pool_factor": 2}
    report = encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "e", **how))
    wanted, found = pooled(expected, 2), all_tokens(tmp_path / "e")
    assert report.tokens == len(found.values) < 0.6 * len(expected.values)
    np.testing.assert_array_equal(found.bounds, wanted.bounds)
    # The clusters of a few passages hang on the last bits of distances that are equal.
    same = np.isclose(found.values, wanted.values, atol=1e-4).all(axis=1)
    assert same.mean() > 0.99
    means = np.concatenate(list(Embeddings(tmp_path / "e").vectors()))
    np.testing.assert_allclose(means, expected.means(), atol=1e-3)
    assert read_manifest(tmp_path / "e").settings["pool_factor"] == 2


def test_another_pool_factor_is_another_artifact(small_colbert, tiny_passages, tmp_path):
    now = settings(small_colbert, tiny_passages, tmp_path / "e")
    first = encode_corpus(now)
    assert encode_corpus(now).tokens == first.tokens
    pooling = msgspec.structs.replace(now, pool_factor=3)
    with pytest.raises(MismatchError, match=r"pool_factor was 1 and is 3; .* give --pool-factor 1"):
        encode_corpus(pooling, append=True)
    assert encode_corpus(pooling).tokens < first.tokens


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_stopped_encode_ends_with_the_same_bytes(dtype, small_colbert, tiny_passages, tmp_path):
    how = {"shard_size": 50, "dtype": dtype, "pool_factor": 2}
    encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "whole", **how))
    broken = settings(small_colbert, tiny_passages, tmp_path / "broken", **how)
    for stop in (30, 60, 140):
        with pytest.raises(KeyboardInterrupt):
            encode_corpus(broken, Run(StopAfter(stop)))
    encode_corpus(broken)
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "broken"))
    assert (one.files, one.counts) == (other.files, other.counts)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "broken")


@pytest.mark.slow
def test_processes_killed_and_shared_end_with_the_same_bytes(
    small_colbert, tiny_passages, tmp_path
):
    def command(output):
        how = ("--shard-size", 20, "--dtype", "int8", "--pool-factor", 2, "--quiet")
        return [sys.executable, "-m", "dprkit"] + [
            str(word) for word in words(small_colbert, tiny_passages, output, *how)
        ]

    subprocess.run(command(tmp_path / "whole"), check=True)
    for seconds in (4, 6, 9):
        process = subprocess.Popen(command(tmp_path / "e"))
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    both = [subprocess.Popen(command(tmp_path / "e")) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert files_of(tmp_path / "e") == files_of(tmp_path / "whole")
    assert read_manifest(tmp_path / "e").counts == read_manifest(tmp_path / "whole").counts


@pytest.mark.slow
def test_processes_of_one_command_share_the_shards(small_colbert, tiny_passages, tmp_path):
    encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "whole", shard_size=50))
    ran = shell(
        *words(small_colbert, tiny_passages, tmp_path / "e", "--num-processes", 2),
        *("--shard-size", 50),
        env=environment(OMP_NUM_THREADS="1"),
    )
    assert ran.returncode == 0, ran.stderr
    assert files_of(tmp_path / "e") == files_of(tmp_path / "whole")


def test_parts_of_the_shards_add_up(small_colbert, tiny_passages, tmp_path):
    """Whoever finishes last counts the tokens of all."""
    encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "whole"))
    now = settings(small_colbert, tiny_passages, tmp_path / "e")
    reports = [encode_corpus(now, shard=f"{n}/3") for n in (3, 1, 2)]
    assert [report.shards for report in reports] == [1, 2, 3]
    tokens = [report.tokens for report in reports]
    assert tokens == sorted(tokens) and tokens[0] > 0
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "e"))
    assert (one.files, one.counts) == (other.files, other.counts)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_unchanged_passages_keep_their_token_vectors(dtype, small_colbert, tiny_passages, tmp_path):
    """Two are new, one is changed, and most lie elsewhere now."""
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[:200], tmp_path / "p.jsonl")
    how = {"dtype": dtype, "pool_factor": 2}
    encode_corpus(settings(small_colbert, corpus, tmp_path / "e", shard_size=30, **how))
    before = TokenShards(Embeddings(tmp_path / "e")).take(np.arange(5, 200))
    changed = msgspec.structs.replace(passages[2], text="Something else altogether.")
    wanted = [*passages[:2], changed, *passages[3:5], *passages[200:202], *passages[5:200]]
    corpus_of(wanted, corpus)
    appended = settings(small_colbert, corpus, tmp_path / "e", shard_size=70, **how)
    report = encode_corpus(appended, append=True)
    fresh = encode_corpus(settings(small_colbert, corpus, tmp_path / "f", shard_size=70, **how))
    assert (report.reused, fresh.reused) == (199, 0)
    assert (report.passages, report.tokens, report.cut) == (202, fresh.tokens, fresh.cut)
    after = TokenShards(Embeddings(tmp_path / "e"))
    kept = after.take(np.arange(7, 202))
    np.testing.assert_array_equal(kept.values, before.values)
    np.testing.assert_array_equal(kept.bounds, before.bounds)
    if dtype == "int8":
        np.testing.assert_array_equal(kept.scales, before.scales)
    one, other = files_of(tmp_path / "e"), files_of(tmp_path / "f")
    assert one.keys() == other.keys()
    exact = [name for name in one if name.startswith(("ids", "digests", "lengths", "cut"))]
    assert {name: one[name] for name in exact} == {name: other[name] for name in exact}
    new = np.array([2, 5, 6])
    others = TokenShards(Embeddings(tmp_path / "f"))
    np.testing.assert_allclose(
        after.take_float(new).values, others.take_float(new).values, atol=1e-3
    )


def test_an_append_of_nothing_new_keeps_every_byte(small_colbert, tiny_passages, tmp_path):
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages, tmp_path / "p.jsonl")
    now = settings(small_colbert, corpus, tmp_path / "e", dtype="int8")
    encode_corpus(now)
    before = files_of(tmp_path / "e")
    corpus_of(passages[:100] + passages[100:], tmp_path / "p.jsonl")
    with corpus.open("a") as file:
        file.write("\n")  # another file with the same passages
    report = encode_corpus(now, append=True)
    assert report.reused in (0, COUNT)  # 0: nothing was to be made
    assert files_of(tmp_path / "e") == before


@pytest.mark.parametrize("kind", ["tokens", "lengths", "scales", "cut", "vectors"])
def test_damaged_shards_and_no_others_are_made_again(kind, small_colbert, tiny_passages, tmp_path):
    now = settings(small_colbert, tiny_passages, tmp_path / "e", dtype="int8")
    encode_corpus(now)
    before, manifest = files_of(tmp_path / "e"), read_manifest(tmp_path / "e")
    damaged = tmp_path / "e" / f"{kind}-00001.npy"
    raw = bytearray(damaged.read_bytes())
    raw[-1] ^= 1
    damaged.write_bytes(raw)
    whole = tmp_path / "e" / "tokens-00000.npy"
    born = whole.stat().st_mtime_ns
    assert call("info", "--check", tmp_path / "e").exit_code == 3
    flags = ("--dtype", "int8", "--repair")
    ran = call(*words(small_colbert, tiny_passages, tmp_path / "e", *flags))
    assert ran.exit_code == 0, ran.stderr
    assert files_of(tmp_path / "e") == before
    assert read_manifest(tmp_path / "e").identity == manifest.identity
    assert read_manifest(tmp_path / "e").counts == manifest.counts
    assert whole.stat().st_mtime_ns == born
    assert call("info", "--check", tmp_path / "e").exit_code == 0


def test_damaged_token_vectors_are_not_taken_over(small_colbert, tiny_passages, tmp_path):
    passages = list(read_passages(tiny_passages))
    corpus = corpus_of(passages[:100], tmp_path / "p.jsonl")
    now = settings(small_colbert, corpus, tmp_path / "e", shard_size=50)
    encode_corpus(now)
    damaged = tmp_path / "e" / "tokens-00000.npy"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    corpus_of(passages[:120], corpus)
    assert encode_corpus(now, append=True).reused == 50


# --- what is said ---------------------------------------------------------------------------------


def test_cut_passages_are_counted_and_said(small_colbert, tmp_path):
    """Of 40 tokens a passage: [CLS], [SEP] and 38 words."""
    limit = load_late_retriever(small_colbert).config.passage_max_length
    assert limit == 40
    rows = ["a " * 38, "a " * 39, "a", "a " * 500]
    corpus = tmp_path / "p.tsv"
    corpus.write_text("id\ttext\ttitle\n" + "".join(f"{n}\t{t}\t\n" for n, t in enumerate(rows)))
    tokens = load_late_retriever(small_colbert).tokens
    cut = tokens.passages_and_cuts(list(read_passages(corpus)))[1]
    assert cut == [False, True, False, True]
    ran = call(*words(small_colbert, corpus, tmp_path / "e", "--json"))
    report = json.loads(ran.stdout)
    told = "cut at 40 tokens: 2 of 4 passages; split long passages"
    assert report["cut"] == 2 and report["notes"] == [told]
    assert told in ran.stderr
    assert read_manifest(tmp_path / "e").counts["cut"] == 2
    again = json.loads(call(*words(small_colbert, corpus, tmp_path / "e", "--json")).stdout)
    assert again["cut"] == 2 and again["up_to_date"]


def test_cut_passages_of_a_bi_encoder_are_said_and_not_recorded(small_retriever, tmp_path):
    corpus = tmp_path / "p.tsv"
    corpus.write_text(
        "id\ttext\ttitle\n1\t" + "a " * 900 + "\t\n2\tb\t\n3\t" + "c " * 900 + "\td\n"
    )
    report = encode_corpus(settings(small_retriever, corpus, tmp_path / "e"))
    assert report.cut == 2 and "cut at 256 tokens: 2 of 3 passages" in report.notes[0]
    assert read_manifest(tmp_path / "e").counts == {"passages": 3, "dim": 8, "shards": 1}


def test_a_passage_of_punctuation_alone_and_an_empty_one_have_vectors(small_colbert, tmp_path):
    corpus = tmp_path / "p.tsv"
    corpus.write_text("id\ttext\ttitle\n1\t. , !\t\n2\t\t\n3\tword\t\n")
    encode_corpus(settings(small_colbert, corpus, tmp_path / "e"))
    counts = TokenShards(Embeddings(tmp_path / "e")).take(np.arange(3)).counts
    assert (counts > 0).all()


def test_a_token_vector_that_is_no_number_is_named_with_its_passage(
    small_colbert, tiny_passages, tmp_path
):
    import shutil

    odd = tmp_path / "odd"
    shutil.copytree(small_colbert, odd)
    weights = odd / "question_encoder/projection.safetensors"
    tensors = load_file(weights)
    tensors["weight"][0, 0] = np.nan
    save_file(tensors, weights)
    remade(odd)
    with pytest.raises(FormatError, match=r"the vector of passage '\w+' is no number"):
        encode_corpus(settings(odd, tiny_passages, tmp_path / "e", pool_factor=2))
    assert not (tmp_path / "e").exists()


def test_what_is_for_another_kind_of_model_is_refused_by_name(
    small_colbert, small_retriever, tiny_passages, tmp_path
):
    pytest.importorskip("onnxruntime")
    for retriever, flags, problem in (
        (small_colbert, ["--backend", "onnx"], "runs on torch alone; leave out --backend onnx"),
        (small_colbert, ["--backend", "onnx", "--int8"], "token vectors in 8 bits: --dtype int8"),
        (small_colbert, ["--int8"], "are kept in 8 bits by --dtype int8"),
        (small_colbert, ["--pool-factor", "0"], "--pool-factor: 0 is not valid"),
        (small_retriever, ["--pool-factor", "2"], "--pool-factor is for the token vectors"),
        (small_colbert, ["--dtype", "binary"], "binary is for a bi-encoder's one vector a passage"),
    ):
        ran = call(*words(retriever, tiny_passages, tmp_path / "e", *flags))
        assert ran.exit_code == 1
        assert problem in ran.stderr and len(ran.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "e").exists()
        dry = call(*words(retriever, tiny_passages, tmp_path / "e", *flags, "--dry-run"))
        assert problem in dry.stderr


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_is_refused_before_a_shard_is_begun(
    small_colbert, tiny_passages, tmp_path, monkeypatch
):
    now = settings(small_colbert, tiny_passages, tmp_path / "e")
    free = 10_000
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, free))
    with pytest.raises(OutputError, match=r"e: needs .* kB and 10\.0 kB are free there; free some"):
        encode_corpus(now)
    assert not (tmp_path / "e").exists()
    whole = estimate(now).disk_bytes
    free = round(whole * 0.8)
    with pytest.raises(OutputError, match="are free there"):
        encode_corpus(now)
    free = round(whole * 1.02)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(now, Run(StopAfter(101)))
    free = round(whole * 0.75)  # what is whole needs no more room
    assert encode_corpus(now).shards == 3


@pytest.mark.parametrize("how", [{}, {"dtype": "int8", "pool_factor": 3}])
def test_a_dry_run_tells_the_disk(how, small_colbert, tiny_passages, tmp_path):
    now = settings(small_colbert, tiny_passages, tmp_path / "e", **how)
    told = estimate(now)
    assert not (tmp_path / "e").exists()
    encode_corpus(now)
    assert told.disk_bytes == pytest.approx(
        sum(map(len, files_of(tmp_path / "e").values())) - 128 * 3 * 5, rel=0.03
    )


def test_a_bi_encoder_keeps_its_manifest(small_retriever, tiny_passages, tmp_path):
    encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e"))
    manifest = read_manifest(tmp_path / "e")
    assert manifest.counts == {"passages": COUNT, "dim": 8, "shards": 3}
    recorded = {"shard_size", "dtype", "precision", "backend", "int8", "batch_tokens"}
    assert set(manifest.settings) == recorded | {"num_processes", "engine", "truncate_dim"}
    assert manifest.settings["dtype"] == "float32"
    assert isinstance(load_retriever(small_retriever).dim, int)


def test_other_lengths_of_a_model_are_heeded(tiny_examples, tiny_passages, tmp_path):
    model = write_colbert(tmp_path / "m", tiny_examples, passage_max_length=7, skip=())
    report = encode_corpus(settings(model, tiny_passages, tmp_path / "e"))
    assert report.cut == COUNT and report.tokens == 7 * COUNT


# --- the other commands ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_token_vectors_are_exported_as_one_array_with_lengths(
    dtype, small_colbert, tiny_passages, tmp_path
):
    encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "e", dtype=dtype))
    ran = call("export-embeddings", "--embeddings", tmp_path / "e", "--output-dir", tmp_path / "o")
    assert ran.exit_code == 0, ran.stderr
    kept = all_tokens(tmp_path / "e")
    assert f"{len(kept.values):,} vectors of 8 dimensions" in ran.stderr + ran.stdout
    found = np.load(tmp_path / "o" / "tokens.npy", mmap_mode="r")
    assert found.dtype == ("float32" if dtype == "int8" else dtype)
    np.testing.assert_array_equal(found, kept.values)
    np.testing.assert_array_equal(np.load(tmp_path / "o" / "lengths.npy"), kept.counts)
    ids = (tmp_path / "o" / "ids.txt").read_text().splitlines()
    assert ids == [p.id for p in read_passages(tiny_passages)]
    again = call(
        *("export-embeddings", "--embeddings", tmp_path / "e", "--output-dir", tmp_path / "o"),
        "--json",
    )
    assert json.loads(again.stdout)["tokens"] == len(kept.values)


def test_forms_with_one_vector_a_passage_are_refused_for_token_vectors(
    small_colbert, tiny_passages, tmp_path
):
    encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "e"))
    for to in ("parquet", "pyserini", "dpr"):
        flags = ("--embeddings", tmp_path / "e", "--to", to, "--output-dir", tmp_path / "o")
        ran = call("export-embeddings", *flags)
        assert ran.exit_code == 1 and "give --to npy" in ran.stderr
        assert not (tmp_path / "o").exists()


def test_vectors_are_not_imported_for_a_colbert_model(small_colbert, tiny_passages, tmp_path):
    np.save(tmp_path / "v.npy", np.ones((COUNT, 8), np.float32))
    ran = call(
        *("import-embeddings", tmp_path / "v.npy", "--in-order", "--retriever", small_colbert),
        *("--passages", tiny_passages, "--output-dir", tmp_path / "e"),
    )
    assert ran.exit_code == 1 and not (tmp_path / "e").exists()
    assert (
        "is a ColBERT model" in ran.stderr and "import-embeddings needs a bi-encoder" in ran.stderr
    )


def test_info_tells_what_a_passage_takes(small_colbert, tiny_passages, tmp_path):
    how = {"dtype": "int8", "pool_factor": 2}
    report = encode_corpus(settings(small_colbert, tiny_passages, tmp_path / "e", **how))
    told = call("info", tmp_path / "e").stdout
    size = sum(map(len, files_of(tmp_path / "e").values()))
    for line in (
        *(f"  tokens: {report.tokens:,}", f"  cut: {report.cut}", "  kind: tokens"),
        *("  pool_factor: 2", "  dtype: int8", f"  bytes a passage: {round(size / COUNT):,}"),
    ):
        assert line + "\n" in told
