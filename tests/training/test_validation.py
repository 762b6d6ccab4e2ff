import json

import msgspec
import pytest
import torch

from dprkit.data.examples_by_row import ExampleFile
from dprkit.models.maxsim_scoring import MAXSIM
from dprkit.models.retriever_folder import load_bi_encoder, load_colbert
from dprkit.records import Passage
from dprkit.settings import TrainSettings
from dprkit.training.batches import Mixture
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import ScoreObjective
from dprkit.training.resolved_settings import resolve
from dprkit.training.validation import Validator, better, positive_ranks


def test_ranks_count_from_one():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    assert positive_ranks(scores, torch.tensor([0, 2, 0])).tolist() == [1, 2, 3]


def test_the_earlier_of_equal_scores_ranks_first():
    scores = torch.tensor([[1.0, 1.0, 1.0]] * 3)
    assert positive_ranks(scores, torch.tensor([0, 1, 2])).tolist() == [1, 2, 3]


def test_ranks_equal_those_of_a_sorted_list():
    scores = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    positives = torch.arange(20)
    by_sorting = [
        sorted(row.tolist(), reverse=True).index(row[p].item()) + 1
        for row, p in zip(scores, positives, strict=True)
    ]
    assert positive_ranks(scores, positives).tolist() == by_sorting


def passages(name, count):
    return [
        {"title": name, "text": f"{name} number {i}", "psg_id": f"{name}{i}"} for i in range(count)
    ]


def row(question, name, hard):
    return {
        "question": question,
        "answers": [],
        "positive_ctxs": passages(name, 2),
        "hard_negative_ctxs": passages(f"hard {name}", hard),
    }


def mixture(folder, rows):
    path = folder / "valid.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Mixture([ExampleFile(path)], [1.0])


def corpus_file(folder, passages):
    path = folder / "corpus.jsonl"
    rows = [{"id": str(i), "text": p.text, "title": p.title} for i, p in enumerate(passages)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [row(f"question {name}", name, 3) for name in ("alpha", "beta", "gamma")]


def validator(retriever, examples, settings):
    model, tokens = load_bi_encoder(retriever)
    return Validator(
        GradientEngine(model), ScoreObjective(1.0), tokens, examples, resolve(settings)
    )


def by_hand(retriever):
    """The vectors of the questions and of each row's first positive and two hard negatives."""
    model, tokens = load_bi_encoder(retriever)

    def vector(ids, tower):
        with torch.no_grad():
            return tower.encode([ids], 10_000)[0]

    pool = [
        Passage("", p["text"], p["title"])
        for r in ROWS
        for p in (r["positive_ctxs"][0], *r["hard_negative_ctxs"][:2])
    ]
    p = [vector(ids, model.passage_encoder) for ids in tokens.passages(pool)]
    asked = tokens.questions([r["question"] for r in ROWS])
    return [vector(ids, model.question_encoder) for ids in asked], p, pool


def test_validation_equals_a_slow_reckoning(small_retriever, tmp_path):
    settings = TrainSettings(batch_size=2, hard_negatives=1, valid_hard_negatives=2)
    found = validator(small_retriever, mixture(tmp_path, ROWS), settings)()
    q, p, _ = by_hand(small_retriever)
    ranks = []
    for i, question in enumerate(q):
        scores = [float(question @ passage) for passage in p]
        ranks.append(1 + sum(score > scores[3 * i] for score in scores))
    assert (found["questions"], found["pool"]) == (3, 9)
    assert found["average_rank"] == pytest.approx(sum(ranks) / 3)
    assert found["accuracy@1"] == pytest.approx(sum(rank == 1 for rank in ranks) / 3)
    assert found["accuracy@5"] == pytest.approx(sum(rank <= 5 for rank in ranks) / 3)
    assert found["mrr@10"] == pytest.approx(sum(1 / rank for rank in ranks) / 3)

    losses = []
    for rows in ([0, 1, 2],):  # two and a last one alone would be without negatives
        columns = [j for i in rows for j in (3 * i, 3 * i + 1)]
        for n, i in enumerate(rows):
            scores = torch.stack([q[i] @ p[j] for j in columns])
            losses.append(float(-torch.log_softmax(scores, 0)[2 * n]))
    assert found["loss"] == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_a_corpus_may_be_ranked_instead_of_the_pool(small_retriever, tmp_path):
    """The corpus holds copies of the positives, which are not ahead of themselves."""
    q, p, pool = by_hand(small_retriever)
    corpus = corpus_file(tmp_path, [*pool, *pool])
    settings = TrainSettings(batch_size=2, valid_hard_negatives=2, valid_corpus=corpus)
    found = validator(small_retriever, mixture(tmp_path, ROWS), settings)()
    ranks = []
    for i, question in enumerate(q):
        scores = [float(question @ passage) for passage in p]
        higher = sum(s > scores[3 * i] for j, s in enumerate(scores) if j != 3 * i)
        ranks.append(1 + 2 * higher)
    assert found["mrr@10"] == pytest.approx(sum(1 / r for r in ranks if r <= 10) / 3)
    assert found["accuracy@1"] == pytest.approx(sum(rank == 1 for rank in ranks) / 3)


def test_a_passage_that_several_questions_bring_counts_once(small_retriever, tmp_path):
    shared = [row(f"question {i}", "same", 0) for i in range(5)]
    found = validator(small_retriever, mixture(tmp_path, shared), TrainSettings(batch_size=8))()
    assert (found["pool"], found["average_rank"], found["accuracy@1"]) == (1, 1.0, 1.0)
    assert (found["loss"], found["accuracy"]) == (0.0, 1.0)  # the copies are no negatives


def asking(question, *names, hard=()):
    """A row whose positives and hard negatives are named, and have the names as ids."""

    def contexts(all_names):
        return [{"title": name, "text": f"{name} text", "psg_id": name} for name in all_names]

    return {
        "question": question,
        "answers": [],
        "positive_ctxs": contexts(names),
        "hard_negative_ctxs": contexts(hard),
    }


def test_no_figure_counts_another_positive_of_the_same_question(small_retriever, tmp_path):
    rows = [
        asking("who", "alpha", hard=["beta", "gamma"]),
        asking("Who ", "beta", "gamma", hard=["delta"]),
        asking("what", "epsilon", "zeta", hard=["alpha", "zeta"]),
    ]
    settings = TrainSettings(batch_size=3, hard_negatives=2, valid_hard_negatives=2)
    names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    pool = [Passage("", f"{name} text", name) for name in names]
    copy = Passage("", " beta text\n", "x")  # the text counts, not the title
    answers = [{0, 1, 2, 6}, {0, 1, 2, 6}, {4, 5}]
    model, tokens = load_bi_encoder(small_retriever)
    with torch.no_grad():
        p = model.passage_encoder.encode(tokens.passages([*pool, copy]), 10_000)
        q = model.question_encoder.encode(tokens.questions(["who", "Who ", "what"]), 10_000)
    scores = (q @ p.T).tolist()
    gold = [0, 1, 4]

    def ranks(count):
        return [
            1 + sum(scores[i][j] > scores[i][gold[i]] for j in range(count) if j not in answers[i])
            for i in range(3)
        ]

    batch = [0, 1, 2, 1, 3, 4, 0, 5]
    losses = []
    for i in range(3):
        negatives = [scores[i][j] for j in batch if j not in answers[i]]
        losses.append(torch.tensor([scores[i][gold[i]], *negatives]).log_softmax(0)[0].item())
    for corpus in (None, corpus_file(tmp_path, [*pool, copy])):
        ranked = msgspec.structs.replace(settings, valid_corpus=corpus)
        found = validator(small_retriever, mixture(tmp_path, rows), ranked)()
        deep = ranks(7 if corpus else 6)
        assert found["average_rank"] == pytest.approx(sum(ranks(6)) / 3)
        assert found["mrr@10"] == pytest.approx(sum(1 / rank for rank in deep) / 3)
        assert found["accuracy@1"] == pytest.approx(sum(rank == 1 for rank in deep) / 3)
        assert found["loss"] == pytest.approx(-sum(losses) / 3, rel=1e-4)


def test_accuracy_is_better_high_and_rank_low():
    low = {"accuracy": 0.1, "average_rank": 5.0, "loss": 1.0}
    high = {"accuracy": 0.2, "average_rank": 9.0, "loss": 1.0}
    assert better(high, low, "accuracy")
    assert better(low, high, "average_rank")
    assert not better(low, low, "loss")


def late_validator(folder, examples, settings):
    model, tokens = load_colbert(folder)
    objective = ScoreObjective(1.0, scoring=MAXSIM)
    return Validator(GradientEngine(model), objective, tokens, examples, resolve(settings))


SHARED_ROWS = [*ROWS, row("question alpha", "delta", 3), row("question other", "alpha", 2)]
"""A question with two rows, and a passage that is the positive of two questions."""


@pytest.mark.parametrize("block", [2, 1024])
@pytest.mark.parametrize("corpus", [False, True])
def test_token_vectors_made_block_by_block_give_the_figures_of_those_that_are_kept(
    small_colbert, tmp_path, monkeypatch, corpus, block
):
    settings = TrainSettings(batch_size=2, hard_negatives=1, valid_hard_negatives=3)
    if corpus:
        passages = [Passage("", f"alpha number {i}", "alpha") for i in range(9)]
        settings = msgspec.structs.replace(settings, valid_corpus=corpus_file(tmp_path, passages))
    examples = mixture(tmp_path, SHARED_ROWS)
    kept = late_validator(small_colbert, examples, settings)()
    monkeypatch.setattr("dprkit.training.validation.KEPT", 0)
    monkeypatch.setattr("dprkit.training.validation.BLOCK", block)
    made = late_validator(small_colbert, examples, settings)()
    assert made == pytest.approx(kept, rel=1e-4)
    assert kept["average_rank"] > 1


def test_a_late_interaction_model_is_validated_by_maxsim(small_colbert, tmp_path):
    from dprkit.models.retriever import load_retriever

    settings = TrainSettings(batch_size=3, hard_negatives=1, valid_hard_negatives=2)
    found = late_validator(small_colbert, mixture(tmp_path, ROWS), settings)()
    pool = [
        Passage("", p["text"], p["title"])
        for r in ROWS
        for p in (r["positive_ctxs"][0], *r["hard_negative_ctxs"][:2])
    ]
    scores = load_retriever(small_colbert).score_matrix([r["question"] for r in ROWS], pool)
    ranks = [1 + (scores[i] > scores[i, 3 * i]).sum() for i in range(3)]
    assert found["average_rank"] == pytest.approx(sum(ranks) / 3)
    columns = [j for i in range(3) for j in (3 * i, 3 * i + 1)]
    logs = torch.log_softmax(torch.from_numpy(scores[:, columns]), 1)
    assert found["loss"] == pytest.approx(-float(logs[range(3), [0, 2, 4]].mean()), rel=1e-4)
