import json
import shutil

import numpy as np
import pytest

from dprkit.data.passages import read_passages
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.faiss_index import FaissIndex
from dprkit.indexes.index_folder import IndexFolder
from dprkit.models.retriever import load_retriever
from dprkit.records import Question
from dprkit.search.open_index import open_index
from dprkit.search.search import search
from dprkit.settings import SearchSettings, TrainSettings
from dprkit.training.train import train

QUESTIONS = ["how tall is mount kilimanjaro", "who painted the mona lisa"]


def by_brute_force(retriever, passages, question):
    """Every passage scored alone; order: score descending, then place in the corpus."""
    q = retriever.encode_questions([question])[0]
    scores = [float(q @ retriever.encode_passages([p])[0]) for p in passages]
    return sorted(range(len(passages)), key=lambda i: (-scores[i], i)), scores


def test_rankings_equal_brute_force(small_index, small_retriever, tiny_passages):
    passages = list(read_passages(tiny_passages))
    retriever = load_retriever(small_retriever)
    for ranking in open_index(small_index).search(QUESTIONS, topk=10):
        order, scores = by_brute_force(retriever, passages, ranking.question.question)
        assert [hit.id for hit in ranking.hits] == [passages[i].id for i in order[:10]]
        assert [hit.text for hit in ranking.hits] == [passages[i].text for i in order[:10]]
        np.testing.assert_allclose(
            [hit.score for hit in ranking.hits], [scores[i] for i in order[:10]], atol=1e-4
        )


def test_a_k_larger_than_the_corpus_gives_every_passage_once(small_index):
    (ranking,) = open_index(small_index).search(QUESTIONS[:1], topk=10_000)
    assert len(ranking.hits) == 282 == len({hit.id for hit in ranking.hits})


def test_equal_scores_keep_the_corpus_order(small_index):
    found = FaissIndex(IndexFolder(small_index))
    rows, _ = found.search(np.zeros((1, 8), np.float32), 282)
    assert rows[0].tolist() == list(range(282))


def test_two_questions_of_one_id_are_refused(small_index):
    twins = [Question("1", text) for text in QUESTIONS]
    with pytest.raises(InputError, match="two questions have the id '1'"):
        list(open_index(small_index).rankings(twins, 1))


def test_one_string_is_not_taken_for_many_questions(small_index, small_retriever):
    with pytest.raises(TypeError, match="list of strings"):
        open_index(small_index).search("who")
    with pytest.raises(TypeError, match="list of strings"):
        load_retriever(small_retriever).encode_questions("who")


def test_gold_passages_that_the_corpus_lacks_are_found_out(small_index):
    assert open_index(small_index).absent({"1", "282", "no such id"}) == {"no such id"}


def test_no_question_gives_no_ranking_and_k_zero_is_refused(small_index):
    searcher = open_index(small_index)
    assert searcher.search([]) == []
    with pytest.raises(SettingsError, match="topk"):
        searcher.search(QUESTIONS, topk=0)


def test_a_results_line_and_a_trec_run_hold_the_same_ranking(small_index, tmp_path):
    asked = tmp_path / "questions.txt"
    asked.write_text("\n".join(QUESTIONS))
    for form in ("results", "trec"):
        search(
            SearchSettings(
                index=str(small_index),
                questions=str(asked),
                output=str(tmp_path / form),
                format=form,
                topk=3,
            )
        )
    results = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    run = [line.split() for line in (tmp_path / "trec").read_text().splitlines()]
    assert [r["question"] for r in results] == QUESTIONS
    assert [(q, p, rank) for q, _, p, rank, _, _ in run] == [
        (r["id"], hit["id"], str(rank)) for r in results for rank, hit in enumerate(r["ctxs"], 1)
    ]


def test_another_retriever_is_refused_naming_both(small_index, tmp_path, tiny_examples):
    other = tmp_path / "other"
    train(
        TrainSettings(
            train_file=(str(tiny_examples),),
            max_epochs=0,
            output_dir=str(other),
            scratch_hidden_size=16,
            scratch_vocab_size=600,
            projection=8,
            seed=5,
        )
    )
    with pytest.raises(MismatchError, match=r"was made with the retriever .*small.* holds"):
        open_index(small_index, retriever=other)


def test_a_moved_retriever_is_the_same_retriever(small_index, small_retriever, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(small_retriever, moved)
    assert open_index(small_index, retriever=moved).search(QUESTIONS[:1], 1)


def test_another_corpus_is_refused(small_index, tmp_path, tiny_passages):
    other = tmp_path / "passages.tsv"
    other.write_text(tiny_passages.read_text().replace("Mount", "Mont"))
    with pytest.raises(MismatchError, match="was made with the passages"):
        open_index(small_index, passages=other)


def test_a_corpus_that_is_gone_is_named_with_its_flag(small_index, tmp_path):
    with pytest.raises(InputError, match=r"is gone; say where it lies with --passages"):
        open_index(small_index, passages=tmp_path / "nowhere.tsv")


def test_an_index_that_was_cut_is_refused(small_index, tmp_path):
    cut = tmp_path / "index"
    shutil.copytree(small_index, cut)
    (cut / "index.faiss").write_bytes((cut / "index.faiss").read_bytes()[:100])
    with pytest.raises(
        InputError, match=r"index.faiss: damaged \(it has 100 bytes where [\d,]+ were written\)"
    ):
        open_index(cut)
