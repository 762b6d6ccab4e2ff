import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dprkit.data.passages import read_passages
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.build import index
from dprkit.indexes.fuse import fuse
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.indexes.index_folder import IndexFolder
from dprkit.records import Question
from dprkit.search.engine import DenseEngine
from dprkit.search.fusion import Fusion
from dprkit.search.open_index import open_index
from dprkit.search.search import search
from dprkit.settings import IndexSettings, SearchSettings

QUESTIONS = ["how tall is mount kilimanjaro", "who painted the mona lisa"]


@pytest.fixture(scope="module")
def word_index(tmp_path_factory, tiny_passages):
    folder = tmp_path_factory.mktemp("words") / "bm25"
    wish = IndexSettings(type="bm25", passages=str(tiny_passages), output_dir=str(folder))
    index(wish)
    return folder


def results(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(tmp_path, rows=None):
    path = tmp_path / "questions.jsonl"
    rows = rows or [{"id": str(n), "question": q} for n, q in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_words_find_passages_without_a_retriever(word_index):
    for ranking in open_index(word_index).search(QUESTIONS, topk=5):
        word = ranking.question.question.split()[-1]
        assert word in (ranking.hits[0].title + ranking.hits[0].text).casefold()


def test_a_question_of_unknown_words_finds_nothing(word_index):
    (ranking,) = open_index(word_index).search(["xyzzy plugh"], topk=5)
    assert ranking.hits == ()


def test_two_indexes_together_give_their_fused_ranking(small_index, word_index):
    single = [open_index(path) for path in (small_index, word_index)]
    both = open_index(small_index, hybrid=word_index)
    found = [one.engine.search(QUESTIONS, 100) for one in single]
    fused = fuse(found, 10, method="weighted")
    for ranking, rows in zip(both.search(QUESTIONS, 10), fused.rows, strict=True):
        ids = [p.id for p in single[0].passages.at(rows[rows >= 0].tolist())]
        assert [hit.id for hit in ranking.hits] == ids


def test_indexes_of_two_corpora_are_not_put_together(small_index, tiny_passages, tmp_path):
    other = tmp_path / "p.tsv"
    other.write_text(tiny_passages.read_text().replace("Mount", "Mont"))
    wish = IndexSettings(type="bm25", passages=str(other), output_dir=str(tmp_path / "i"))
    index(wish)
    with pytest.raises(MismatchError, match="only indexes of the same corpus"):
        open_index(small_index, hybrid=tmp_path / "i")


def test_only_the_passages_named_are_looked_for(small_index, tiny_passages, tmp_path):
    ids = [p.id for p in read_passages(tiny_passages)][5:60:5]
    (tmp_path / "ids.txt").write_text("\n".join([*ids, "nobody"]) + "\n")
    report = search(
        SearchSettings(
            index=str(small_index),
            questions=asked(tmp_path),
            only_ids=str(tmp_path / "ids.txt"),
            output=str(tmp_path / "r.jsonl"),
        )
    )
    for row in results(tmp_path / "r.jsonl"):
        assert {hit["id"] for hit in row["ctxs"]} == set(ids)
        scores = [hit["score"] for hit in row["ctxs"]]
        assert scores == sorted(scores, reverse=True)
    assert report.notes == [f"{tmp_path / 'ids.txt'}: ids that the corpus lacks: 1, such as nobody"]


def test_a_hybrid_is_tuned_on_questions_with_gold_passages(
    small_index, word_index, tiny_passages, tmp_path
):
    passages = list(read_passages(tiny_passages))
    gold = [{"question": p.text.split(".")[0], "passage_id": p.id} for p in passages[:40]]
    tuned_on = tmp_path / "dev.jsonl"
    tuned_on.write_text("".join(json.dumps(row) + "\n" for row in gold))
    wish = {
        "index": str(small_index),
        "hybrid": str(word_index),
        "questions": asked(tmp_path),
        "output": str(tmp_path / "r.jsonl"),
    }
    report = search(SearchSettings(**wish, tune_on=str(tuned_on)))
    assert report.fusion and report.fusion.weights[1] > report.fusion.weights[0]
    assert "mrr@10" in report.notes[0]
    assert len(report.notes) == 1
    copied = tmp_path / "copy.jsonl"
    copied.write_text("".join(json.dumps(row) + "\n" for row in gold[:7]))
    mixed = search(SearchSettings(**(wish | {"questions": str(copied)}), tune_on=str(tuned_on)))
    assert mixed.notes[1].startswith(f"7 of 7 questions are in --tune-on {tuned_on} too")
    with pytest.raises(SettingsError, match="give one of them"):
        search(SearchSettings(**wish, tune_on=str(tuned_on), weights=(1.0, 1.0)))
    with pytest.raises(InputError, match="no question names a gold passage"):
        search(SearchSettings(**wish, tune_on=wish["questions"]))
    alone = {name: value for name, value in wish.items() if name != "hybrid"}
    with pytest.raises(SettingsError, match="name the other one with --hybrid"):
        search(SearchSettings(**alone, weights=(1.0, 1.0)))


def test_the_batch_size_changes_no_ranking(small_index, tmp_path):
    rows = [{"id": str(n), "question": f"{q} {n}"} for n, q in enumerate(QUESTIONS * 4)]
    for size in (1, 3, 100):
        search(
            SearchSettings(
                index=str(small_index),
                questions=asked(tmp_path, rows),
                output=str(tmp_path / f"{size}.jsonl"),
                batch_size=size,
                topk=20,
            )
        )
    one, *others = (results(tmp_path / f"{size}.jsonl") for size in (1, 3, 100))
    for other in others:
        for a, b in zip(one, other, strict=True):
            assert [hit["id"] for hit in a["ctxs"]] == [hit["id"] for hit in b["ctxs"]]
            np.testing.assert_allclose(
                [hit["score"] for hit in a["ctxs"]], [hit["score"] for hit in b["ctxs"]], atol=1e-5
            )


def test_questions_are_answered_as_they_come(small_index):
    seen = []

    def typed():
        for n, text in enumerate(QUESTIONS * 2):
            seen.append(n)
            yield Question(str(n), text)

    rankings = open_index(small_index).rankings(typed(), 3, batch=1)
    next(rankings)
    assert seen == [0]
    next(rankings)
    assert seen == [0, 1]


@pytest.mark.parametrize("kind", ["exact", "hnsw", "sq16", "ivf"])
def test_every_type_answers_through_one_searcher(kind, small_index, tmp_path):
    embeddings = str(small_index.parent / "embeddings")
    report = index(
        IndexSettings(embeddings=embeddings, output_dir=str(tmp_path / "i"), type=kind, nprobe=8)
    )
    assert report.passages == 282
    exact = open_index(small_index).search(QUESTIONS, 5)
    for ranking, wanted in zip(open_index(tmp_path / "i").search(QUESTIONS, 5), exact, strict=True):
        assert ranking.hits[0].id in {hit.id for hit in wanted.hits}


def test_a_flipped_bit_in_a_shard_is_found_before_it_is_indexed(small_index, tmp_path):
    import shutil

    embeddings = tmp_path / "e"
    shutil.copytree(small_index.parent / "embeddings", embeddings)
    shard = embeddings / "vectors-00001.npy"
    raw = bytearray(shard.read_bytes())
    raw[-2] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(
        InputError, match=r"vectors-00001.npy: damaged \(it was changed.*\); .* --repair"
    ):
        index(IndexSettings(embeddings=str(embeddings), output_dir=str(tmp_path / "i")))


def test_what_was_not_found_is_no_hit():
    found = Hits(np.array([[3, -1]]), np.array([[1.0, -np.inf]], np.float32))
    assert Fusion(method="weighted").of([found, found], 5).rows.tolist() == [[3]]


def test_a_question_whose_vector_is_no_number_is_named(small_index, small_retriever, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(small_retriever, odd)
    weights = odd / "question_encoder/projection.safetensors"
    tensors = load_file(weights)
    tensors["bias"][0] = np.nan
    save_file(tensors, weights)
    engine = DenseEngine(IndexFolder(small_index).open_dense(), odd)
    with pytest.raises(InputError, match="odd: the vector of 'how tall' is no number"):
        engine.search(["how tall"], 3)
