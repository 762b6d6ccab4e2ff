"""late-exact and late: MaxSim over all token vectors, and over the candidates of a first stage."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_shards import PassageTokens, growing_token_shard
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes import bm25, faiss_parts, late, late_scores
from dprkit.indexes.build import index
from dprkit.indexes.exact import ExactIndex
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.late import LateIndex
from dprkit.indexes.late_exact import LateExactIndex
from dprkit.indexes.late_scores import FirstPass, LateQuestions, pair_scores
from dprkit.indexes.update import update_index
from dprkit.models import maxsim
from dprkit.models.token_vectors import Int8Tokens, TokenVectors, quantized
from dprkit.progress import Run
from dprkit.settings import IndexSettings, UpdateSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import read_manifest
from tests.conftest import environment, shell
from tests.indexes.late_corpora import brute_force, opened, questions, ranked, texts, write

DTYPES = ("float16", "float32", "int8")
COUNT = 300


@pytest.fixture(scope="module", params=DTYPES)
def corpus(request, tmp_path_factory):
    """Shards of 300 passages, three of them the same; 12 questions; the scores of all pairs."""
    tokens = texts(COUNT)
    rows = np.arange(COUNT)
    rows[[40, 200]] = 7
    folder = write(tmp_path_factory.mktemp("late") / "emb", tokens.take(rows), request.param, 70)
    asked = questions(12)
    return folder, asked, brute_force(asked, opened(folder))


def built(folder, out, **settings):
    index(IndexSettings(embeddings=str(folder), output_dir=str(out), **settings))
    return IndexFolder(out)


def agree(hits, scores, topk, allowed=None):
    """Hits are the best of the true scores: the rows, but for ties that float32 cannot tell."""
    allowed = np.arange(scores.shape[1]) if allowed is None else allowed
    wanted = allowed[ranked(scores[:, allowed], topk)]
    assert hits.rows.shape == wanted.shape and hits.scores.dtype == np.float32
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, wanted, 1), atol=2e-6)
    found = np.take_along_axis(scores, hits.rows, 1)
    np.testing.assert_allclose(found, np.take_along_axis(scores, wanted, 1), atol=2e-6)
    assert (hits.rows == wanted).mean() > 0.98


# --- all token vectors ----------------------------------------------------------------------------


@pytest.mark.parametrize("topk", [1, 20, 1000])
def test_late_exact_ranks_as_brute_force_over_all_pairs_does(corpus, topk):
    folder, asked, scores = corpus
    agree(LateExactIndex(opened(folder)).search(asked, topk), scores, topk)


def test_equal_passages_stand_in_the_order_of_the_corpus(corpus):
    folder, _, _ = corpus
    shards = opened(folder)
    asked = LateQuestions(["seven"], shards.take_float(np.array([7])))
    hits = LateExactIndex(shards).search(asked, 3)
    assert hits.rows.tolist() == [[7, 40, 200]] and len({*hits.scores[0].tolist()}) == 1


def test_scores_depend_neither_on_the_batch_nor_on_threads_nor_on_what_is_mapped(corpus):
    folder, asked, _ = corpus
    shards = opened(folder)
    together = LateExactIndex(shards, threads=3).search(asked, 30)
    alone = LateExactIndex(shards, resident_bytes=0, threads=1)
    for number in range(len(asked)):
        hits = alone.search(asked.span(number, number + 1), 30)
        assert hits.rows.tolist() == together.rows[[number]].tolist()
        assert hits.scores.tobytes() == together.scores[[number]].tobytes()


def test_only_allowed_passages_are_found(corpus):
    folder, asked, scores = corpus
    allowed = np.sort(np.random.default_rng(3).choice(COUNT, 90, replace=False))
    shards = opened(folder)
    some = LateIndex(shards, ExactIndex(Embeddings(folder)), candidates=90)
    for found in (LateExactIndex(shards), some):
        agree(found.search(asked, 20, allowed), scores, 20, allowed)
        agree(found.search(asked, 500, allowed), scores, 500, allowed)
        assert found.search(asked, 5, allowed[:0]).rows.shape == (12, 0)


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize("kept", ["float32", "float16", "int8"])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_no_score_of_the_first_pass_is_further_off_than_it_says(count, kept, spread):
    """Also where few numbers of a vector are large, which 8 bits keep badly."""
    dice = np.random.default_rng(count)

    def vectors(number, seed):
        tokens = texts(number, 24, seed)
        values = tokens.values * np.exp(spread * dice.standard_normal(tokens.values.shape))
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return TokenVectors(values.astype(np.float32), tokens.bounds)

    asked, passages = vectors(count, 1), vectors(80, 2)
    read = quantized(passages) if kept == "int8" else passages
    if kept == "float16":
        read = TokenVectors(passages.values.astype(np.float16), passages.bounds)
    scores, off = FirstPass(asked).scores(read)
    true = np.array([pair_scores(question, read, np.arange(80)) for question in asked])
    assert scores.shape == true.shape and off.shape == (count,)
    assert (np.abs(scores - true) <= off[:, None]).all()
    assert off.max() < 0.2 * asked.counts.max()


def test_the_score_of_a_pair_is_that_of_its_definition():
    question = np.float32([[1, 0], [0, 1]])
    passages = TokenVectors.of(
        [np.float32([[0.6, 0.8], [0, -1]]), np.float32([[1, 0]]), np.empty((0, 2), np.float32)]
    )
    wanted = [0.6 + 0.8, 1 + 0, -np.inf]
    np.testing.assert_allclose(pair_scores(question, passages, np.arange(3)), wanted)
    small = Int8Tokens(np.int8([[3, 4], [10, 0]]), np.float32([0.2, 0.1]), np.array([0, 1, 2]))
    np.testing.assert_allclose(pair_scores(question, small, np.array([1, 0])), [1, 0.6 + 0.8])


# --- candidates -----------------------------------------------------------------------------------


def test_late_ranks_its_candidates_as_late_exact_does(corpus):
    folder, asked, scores = corpus
    shards, first = opened(folder), ExactIndex(Embeddings(folder))
    agree(LateIndex(shards, first, candidates=COUNT).search(asked, 20), scores, 20)
    hits = LateIndex(shards, first, candidates=60).search(asked, 20)
    means = asked.vectors.means()
    for number, rows in enumerate(first.search(means, 60).rows):
        order = ranked(scores[[number]][:, np.sort(rows)], 20)[0]
        np.testing.assert_allclose(
            hits.scores[number], scores[number, np.sort(rows)][order], atol=2e-6
        )
        assert {*hits.rows[number].tolist()} <= {*rows.tolist()}


def test_a_question_alone_and_on_any_number_of_threads_finds_the_same(corpus):
    folder, asked, _ = corpus
    shards, first = opened(folder), ExactIndex(Embeddings(folder))
    together = LateIndex(shards, first, candidates=80, threads=3).search(asked, 30)
    for threads in (1, 2):
        alone = LateIndex(shards, first, candidates=80, threads=threads)
        hits = [alone.search(asked.span(n, n + 1), 30) for n in range(len(asked))]
        assert np.vstack([h.rows for h in hits]).tolist() == together.rows.tolist()
        assert np.vstack([h.scores for h in hits]).tobytes() == together.scores.tobytes()


def test_more_are_compared_where_more_are_asked_for(corpus):
    folder, asked, scores = corpus
    few = LateIndex(opened(folder), ExactIndex(Embeddings(folder)), candidates=5)
    agree(few.search(asked, 1000), scores, 1000)


FIRST = ("exact", "binary", "flat", "ivf", "hnsw", "sq8", "IVF4,SQ8", "auto")


@pytest.mark.parametrize("first", [*FIRST, "exact+bm25"])
def test_any_type_of_vectors_finds_candidates(corpus, tmp_path, first):
    folder, asked, scores = corpus
    settings = {"nprobe": 3, "ef_search": 40, "candidates": 150}
    made = built(folder, tmp_path / "i", type="late", first_stage=first, **settings)
    found = made.open()
    assert found.count == COUNT and found.dim == 16
    hits = found.search(asked, 10)
    wanted = ranked(scores, 10).tolist()
    held = [{*a} & {*b} for a, b in zip(hits.rows.tolist(), wanted, strict=True)]
    assert sum(map(len, held)) / (10 * len(asked)) > 0.75
    filled = hits.rows >= 0
    np.testing.assert_allclose(
        hits.scores[filled], np.take_along_axis(scores, hits.rows, 1)[filled], atol=2e-6
    )
    assert made.depths["candidates"] == 150
    assert ("nprobe" in made.depths) == (first in ("ivf", "IVF4,SQ8"))
    assert made.manifest.settings["first_stage"] == first
    assert ("k1" in made.manifest.settings) == ("bm25" in first)


def test_the_whole_corpus_is_ranked_a_few_passages_at_a_time(corpus, monkeypatch):
    folder, asked, scores = corpus
    monkeypatch.setattr(late, "_PIECE", 16)
    shards, taken = opened(folder), []
    take = shards.take
    monkeypatch.setattr(shards, "take", lambda rows: taken.append(len(rows)) or take(rows))
    index = LateIndex(shards, ExactIndex(Embeddings(folder)), candidates=1)
    agree(index.search(asked, COUNT), scores, COUNT)
    agree(index.search(asked.span(0, 1), COUNT), scores[:1], COUNT)
    assert max(taken) == 16


def test_milvus_finds_candidates(corpus, tmp_path):
    pytest.importorskip("milvus_lite")
    folder, asked, scores = corpus
    found = built(
        folder, tmp_path / "i", type="late", first_stage="milvus", candidates=COUNT
    ).open()
    agree(found.search(asked, 10), scores, 10)
    found.first.close()


def test_candidates_are_the_best_of_vectors_and_words(tmp_path):
    folder = write(tmp_path / "emb", texts(COUNT))
    made = built(folder, tmp_path / "i", type="late", first_stage="exact+bm25", candidates=4)
    vectors = questions(1).vectors
    near = made.open().first.search(vectors.means(), 4).rows[0].tolist()
    far = [row for row in range(290, 300) if row not in near][:2]
    asked = LateQuestions([f"text {far[0]} {far[1]}"], vectors)
    assert {*made.open().search(asked, 4).rows[0].tolist()} == {*near[:2], *far}
    wordless = LateQuestions(["nothing of the kind"], vectors)
    assert {*made.open().search(wordless, 4).rows[0].tolist()} == {*near}


def test_a_first_stage_that_finds_nothing_or_little_leaves_the_rest_of_a_line_empty(corpus):
    folder, asked, scores = corpus
    found = ExactIndex(Embeddings(folder)).search(asked.vectors.means(), 9)
    found.rows[0], found.rows[1, 2:] = -1, -1

    class First:
        count, dim = COUNT, 16

        def search(self, vectors, topk, allowed=None):
            return found

    hits = LateIndex(opened(folder), First(), candidates=9).search(asked, 5)
    assert hits.rows[0].tolist() == [-1] * 5 and not np.isfinite(hits.scores[0]).any()
    assert {*hits.rows[1].tolist()} == {-1, *found.rows[1, :2].tolist()}
    best = np.sort(scores[2, found.rows[2]])[::-1][:5]
    np.testing.assert_allclose(hits.scores[2], best, atol=2e-6)


def test_a_corpus_that_was_moved_is_named_and_one_that_is_gone_is_told_before_anything(tmp_path):
    folder = write(tmp_path / "emb", texts(30))
    (tmp_path / "emb.tsv").rename(tmp_path / "moved.tsv")
    with pytest.raises(InputError, match=r"its passages .*emb.tsv is gone; say where .*--passages"):
        built(folder, tmp_path / "i")
    assert not (tmp_path / "i").exists()
    assert built(folder, tmp_path / "i", passages=str(tmp_path / "moved.tsv")).counts["words"]
    assert "words" not in built(folder, tmp_path / "j", first_stage="exact").counts


def test_an_index_of_one_passage_finds_it(tmp_path):
    folder = write(tmp_path / "emb", texts(1))
    for kind in ("late", "late-exact"):
        hits = built(folder, tmp_path / kind, type=kind).open().search(questions(2), 10)
        assert hits.rows.tolist() == [[0], [0]]


# --- building -------------------------------------------------------------------------------------


def test_without_a_type_the_embeddings_decide(tmp_path):
    made = built(write(tmp_path / "emb", texts(30)), tmp_path / "i")
    assert made.type == made.manifest.settings["type"] == "late" and made.reads == "tokens"
    assert built(tmp_path / "emb", tmp_path / "i", type="late").manifest == made.manifest


def test_the_two_types_have_identities_of_their_own(tmp_path):
    folder = write(tmp_path / "emb", texts(30))
    kinds = [("late", "exact"), ("late", "exact+bm25"), ("late-exact", "exact")]
    made = [
        built(folder, tmp_path / str(n), type=kind, first_stage=first).manifest.identity
        for n, (kind, first) in enumerate(kinds)
    ]
    assert len({*made}) == 3


def test_another_number_of_candidates_builds_nothing(tmp_path):
    folder = write(tmp_path / "emb", texts(200))
    first = built(folder, tmp_path / "i", type="late", first_stage="ivf")
    times = {name: (tmp_path / "i" / name).stat().st_mtime_ns for name in first.manifest.files}
    again = built(folder, tmp_path / "i", type="late", first_stage="ivf", candidates=33, nprobe=2)
    assert again.depths == {"candidates": 33, "nprobe": 2}
    assert {n: (tmp_path / "i" / n).stat().st_mtime_ns for n in times} == times
    assert again.open().candidates == 33 and again.open({"candidates": 9}).candidates == 9
    assert again.open({"nprobe": 1}).first.nprobe == 1


KILLS = [
    (faiss_parts, "_code_in_lists", 2),
    (faiss_parts, "_write_lists", 1),
    (bm25, "_join", 1),
    (late, "write_content", 1),
]


@pytest.mark.parametrize(("module", "name", "call"), KILLS)
def test_a_killed_build_ends_with_the_same_bytes(tmp_path, monkeypatch, module, name, call):
    folder = write(tmp_path / "emb", texts(600))
    monkeypatch.setattr(faiss_parts, "BLOCK_BYTES", 150 * 16 * 4)
    wish = {"type": "late", "first_stage": "ivf+bm25"}
    whole = built(folder, tmp_path / "whole", **wish).manifest
    calls, function = [], getattr(module, name)

    def killed(*words, **more):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*words, **more)

    monkeypatch.setattr(module, name, killed)
    with pytest.raises(KeyboardInterrupt):
        built(folder, tmp_path / "killed", **wish)
    again = built(folder, tmp_path / "killed", **wish).manifest
    assert again.files == whole.files and again.counts == whole.counts
    assert {p.name for p in (tmp_path / "killed").iterdir()} == {
        p.name for p in (tmp_path / "whole").iterdir()
    }


@pytest.mark.parametrize("kind", ["flat", "exact", "ivf", "auto", "Flat"])
def test_types_of_vectors_refuse_token_vectors_by_name(tmp_path, kind):
    folder = write(tmp_path / "emb", texts(30))
    with pytest.raises(MismatchError, match=f"--type {kind}: .*give --type late or late-exact"):
        built(folder, tmp_path / "i", type=kind)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("kind", ["late", "late-exact"])
def test_late_types_refuse_one_vector_a_passage_by_name(small_index, tmp_path, kind):
    with pytest.raises(MismatchError, match=f"--type {kind}: .* and no token vectors"):
        built(small_index.parent / "embeddings", tmp_path / "i", type=kind)


@pytest.mark.parametrize(
    "first", ["late", "late-exact", "bm25", "updated", "flat+milvus", "nosuch", "exact+"]
)
def test_a_first_stage_that_is_none_is_refused(tmp_path, first):
    folder = write(tmp_path / "emb", texts(30))
    with pytest.raises(SettingsError, match=r"^--first-stage: "):
        built(folder, tmp_path / "i", type="late", first_stage=first)


def test_a_first_stage_of_too_many_lists_is_told_by_its_flag(tmp_path):
    folder = write(tmp_path / "emb", texts(30))
    with pytest.raises(InputError, match=r"^--first-stage: 'IVF64,Flat' wants 64 lists"):
        built(folder, tmp_path / "i", type="late", first_stage="IVF64,Flat")


@pytest.mark.parametrize("kind", ["late", "late-exact"])
@pytest.mark.parametrize("name", ["tokens-00001.npy", "lengths-00000.npy", "scales-00001.npy"])
def test_a_shard_that_is_cut_short_is_refused(tmp_path, kind, name):
    folder = write(tmp_path / "emb", texts(60), "int8", 40)
    made = built(folder, tmp_path / "i", type=kind)
    with (folder / name).open("r+b") as file:
        file.truncate((folder / name).stat().st_size - 5)
    with pytest.raises(InputError, match=f"{name}: "):
        made.open()
    with pytest.raises(InputError, match=name):
        built(folder, tmp_path / "other", type=kind)


# --- updating -------------------------------------------------------------------------------------


def update(base, out, add, remove=()):
    gone = out.parent / f"{out.name}.txt"
    gone.write_text("".join(f"{id_}\n" for id_ in remove))
    update_index(
        UpdateSettings(index=str(base), add=add and str(add), remove=str(gone), output_dir=str(out))
    )
    return IndexFolder(out)


@pytest.mark.parametrize("kind", ["late", "late-exact"])
@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_an_updated_index_finds_what_one_built_anew_finds(tmp_path, kind, dtype):
    """p50 to p99 are replaced, p10 to p19 removed, and twice."""
    tokens = texts(350)
    write(tmp_path / "base", tokens.span(0, 200), dtype, 90)
    built(tmp_path / "base", tmp_path / "i", type=kind, candidates=500)
    fresh = TokenVectors.of([tokens[row] for row in range(200, 350)])
    write(tmp_path / "fresh", fresh, dtype, 60)  # p0 to p149
    first = update(
        tmp_path / "i", tmp_path / "up", tmp_path / "fresh", [f"p{n}" for n in (160, 161)]
    )
    assert first.reads == "tokens" and first.depths == IndexFolder(tmp_path / "i").depths
    left = [n for n in range(150, 200) if n not in (160, 161)]
    write(tmp_path / "anew", tokens.take([*left, *range(200, 350)]), dtype)
    anew = built(tmp_path / "anew", tmp_path / "j", type=kind, candidates=500).open()
    asked = questions(9)
    ours, theirs = first.open().search(asked, 30), anew.search(asked, 30)
    assert ours.rows.tolist() == np.array([*left, *range(200, 350)])[theirs.rows].tolist()
    assert ours.scores.tobytes() == theirs.scores.tobytes()
    allowed = np.array([155, 160, 199, 200, 260])
    assert {*first.open().search(asked, 9, allowed).rows[0].tolist()} == {155, 199, 200, 260}


def test_passages_that_were_pooled_otherwise_are_not_added(tmp_path):
    write(tmp_path / "emb", texts(30))
    built(tmp_path / "emb", tmp_path / "i")
    write(tmp_path / "new", texts(30), pool_factor=2)
    first = update(tmp_path / "i", tmp_path / "up", None, ["p3"])
    for base in (tmp_path / "i", first.path):
        with pytest.raises(
            MismatchError, match=r"new: was pooled by 2, .* by 1; .* --pool-factor 1"
        ):
            update(base, tmp_path / "again", tmp_path / "new")


def test_vectors_of_the_other_kind_are_not_added(tmp_path, small_index):
    write(tmp_path / "emb", texts(30))
    built(tmp_path / "emb", tmp_path / "i")
    vectors = small_index.parent / "embeddings"
    for base, add in ((tmp_path / "i", vectors), (small_index, tmp_path / "emb")):
        with pytest.raises(MismatchError, match="was not made with the kind of vectors of"):
            update(base, tmp_path / "up", add)


def test_made_from_is_named(tmp_path):
    folder = write(tmp_path / "emb", texts(30))
    built(folder, tmp_path / "i", first_stage="flat")
    content = json.loads((tmp_path / "i/late.json").read_bytes())
    assert content["made_from"]["embeddings"] == read_manifest(folder, "embeddings").identity
    assert content["type"] == "late" and content["first_stage"] == "flat"


KILLED = """
import os, signal, sys
from dprkit.indexes import faiss_parts
from dprkit.__main__ import main

faiss_parts.BLOCK_BYTES = 150 * 16 * 4
code, calls = faiss_parts._code_in_lists, []

def killed(*words):
    calls.append(words)
    if len(calls) == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return code(*words)

faiss_parts._code_in_lists = killed
sys.exit(main())
"""


@pytest.mark.slow
def test_a_build_that_was_killed_by_the_system_goes_on(tmp_path):
    folder = write(tmp_path / "emb", texts(600))
    words = ["index", "--embeddings", folder, "--first-stage", "ivf", "--output-dir"]

    def run(out, at):
        how = {"env": environment(KILL_AT=str(at)), "capture_output": True}
        return subprocess.run([sys.executable, "-c", KILLED, *words, out], **how).returncode

    assert run(tmp_path / "whole", 0) == 0
    assert run(tmp_path / "killed", 3) == -signal.SIGKILL
    assert (tmp_path / "killed/part-00001").exists()
    assert run(tmp_path / "killed", 0) == 0
    ours, theirs = (IndexFolder(tmp_path / name).manifest for name in ("killed", "whole"))
    assert ours.files == theirs.files and ours.identity == theirs.identity


def repeated(folder, shards):
    """Shards of 50,000 passages of 8 token vectors, each shard like the others."""
    corpus = folder.parent / f"{folder.name}.tsv"
    corpus.write_text(folder.name)
    values = np.random.default_rng(0).standard_normal((400_000, 16), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    tokens = TokenVectors(values, np.arange(50_001) * 8)
    part = PassageTokens(tokens.means(), quantized(tokens), np.zeros(50_000, bool))
    with draft(folder, "embeddings", {"dtype": "int8"}, {"passages": str(corpus)}, Run()) as work:
        for number in range(shards):
            with growing_token_shard(work, number, 50_000, 16, "int8") as add:
                ids = [f"p{number}-{row}" for row in range(50_000)]
                add(part, ids, np.arange(50_000, dtype=np.uint64))
        counts = {"passages": 50_000 * shards, "dim": 16, "shards": shards}
        work.finish({**counts, "kind": "tokens", "tokens": 400_000 * shards, "cut": 0})


SEARCH_PEAK = """
import sys
from dprkit.indexes.index_folder import IndexFolder
from dprkit.memory import status_bytes
from tests.indexes.late_corpora import questions

index = IndexFolder(sys.argv[1]).open()
index.resident_bytes = 0
for count in (1, 20):
    index.search(questions(count), 100)
print(status_bytes("RssAnon"))
"""


@pytest.mark.slow
def test_memory_grows_neither_with_the_corpus_that_is_built_nor_with_one_that_is_searched(tmp_path):
    """Of 200,000 and 1,000,000 passages; what is mapped of the shards is the kernel's to drop."""
    peaks = {}
    for shards in (4, 20):
        folder = tmp_path / f"emb-{shards}"
        repeated(folder, shards)
        for kind in ("late", "late-exact"):
            out = tmp_path / f"{kind}-{shards}"
            words = ["--embeddings", folder, "--type", kind, "--first-stage", "exact"]
            ran = shell("index", *words, "--output-dir", out, "--json", timeout=900)
            peaks[kind, shards] = json.loads(ran.stdout)["peak_memory_mb"]
        command = [sys.executable, "-c", SEARCH_PEAK, str(tmp_path / f"late-exact-{shards}")]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
        peaks["search", shards] = int(ran.stdout) / 1e6
    for what in ("late", "late-exact", "search"):
        assert peaks[what, 20] - peaks[what, 4] < 80, peaks


def test_without_fast_8_bit_products_the_same_is_found(corpus, monkeypatch):
    folder, asked, _ = corpus
    shards, first = opened(folder), ExactIndex(Embeddings(folder))
    before = [LateIndex(shards, first, candidates=90).search(asked, 20)]
    before += [LateExactIndex(shards).search(asked, 20)]
    for module in (late_scores, maxsim):
        monkeypatch.setattr(module, "has_fast_int8", lambda: False)
    after = [LateIndex(shards, first, candidates=90).search(asked, 20)]
    after += [LateExactIndex(shards).search(asked, 20)]
    for ours, theirs in zip(before, after, strict=True):
        assert ours.rows.tolist() == theirs.rows.tolist()
        assert ours.scores.tobytes() == theirs.scores.tobytes()
