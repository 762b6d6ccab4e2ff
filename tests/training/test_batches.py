"""What is in a batch, against counts and brute force on small files."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dprkit.data.answer_matching import has_answer
from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.folds import Fold
from dprkit.errors import SettingsError
from dprkit.models.config import RetrieverConfig
from dprkit.models.from_scratch import learn_tokenizer
from dprkit.models.tokens import Tokens
from dprkit.records import Candidate, Example
from dprkit.training.batches import (
    BatchPlan,
    Draw,
    Mixture,
    Preparation,
    by_score,
    drawn_passages,
    make_batch,
)
from dprkit.training.check_examples import lonely_questions
from dprkit.training.false_negatives import without_negatives


def row(name: str, hard: int = 4, negatives: int = 4, positive: str = "") -> dict[str, Any]:
    """A row whose passages are named ap0, ap1, ah0, ..., an0, ...; ids are texts."""

    def pool(kind: str, count: int) -> list[dict[str, Any]]:
        texts = [f"{name}{kind}{i}" for i in range(count)]
        return [{"passage_id": text, "text": text, "title": "title"} for text in texts]

    positives = pool("p", 2)
    positives[0]["text"] = positive or positives[0]["text"]
    return {
        "question": f"question {name}",
        "answers": ["yes"],
        "positive_ctxs": positives,
        "hard_negative_ctxs": pool("h", hard),
        "negative_ctxs": pool("n", negatives),
    }


Save = Callable[..., ExampleFile]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def saved(*rows: dict[str, Any], name: str = "train.jsonl") -> ExampleFile:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return ExampleFile(path)

    return saved


@pytest.fixture
def four(save: Save) -> Mixture:
    """One file; c lacks hard negatives, d nearly everything."""
    rows = [row("a"), row("b"), row("c", hard=1), row("d", hard=0, negatives=1)]
    return Mixture([save(*rows)], [1])


def texts(batch: Any) -> list[str]:
    return [passage.text for passage in batch.passages]


# --- mixtures and plans ---------------------------------------------------------------------------


class File(list[str]):
    """Rows given by their positives, with as much of ExampleFile as a BatchPlan needs."""

    path = "file"

    @property
    def keys(self) -> np.ndarray:
        return np.array([ord(text) for text in self], np.uint64)

    @property
    def questions(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.uint64)


def mixture(files: list[str], weights: list[float]) -> Mixture:
    return Mixture([File(text) for text in files], weights)  # type: ignore[list-item]


FILES = st.lists(
    st.tuples(
        st.text(st.sampled_from("abcdefghij"), min_size=1, max_size=20),
        st.sampled_from([1.0, 1.0, 2.0, 0.5, 2.5, 0.1]),
    ).filter(lambda pair: round(len(pair[0]) * pair[1]) > 0),
    min_size=1,
    max_size=3,
)


@given(FILES, st.integers(1, 9), st.sampled_from(["mixed", "one-file"]), st.integers(0, 5))
@settings(max_examples=300)
def test_an_epoch_sees_each_row_as_often_as_its_weight_and_no_positive_twice_in_a_batch(
    pairs: list[tuple[str, float]], size: int, mix: Any, epoch: int
) -> None:
    files, weights = zip(*pairs, strict=True)
    mixed = mixture(list(files), list(weights))
    plan = BatchPlan(mixed, size, 7, mix)
    steps = range(epoch * plan.batches_per_epoch, (epoch + 1) * plan.batches_per_epoch)
    batches = [plan.rows(step) for step in steps]
    seen = Counter(at for batch in batches for at in batch)
    assert seen.total() == len(mixed)
    for number, (text, weight) in enumerate(pairs):
        counts = [seen[number, r] for r in range(len(text))]
        assert sum(counts) == round(weight * len(text))
        assert set(counts) <= {int(weight), -int(-weight // 1)}
    for batch in batches:
        assert 1 <= len(batch) <= (3 if size == 2 else size)
        assert len({files[f][r] for f, r in batch}) == len(batch)
        assert mix == "mixed" or len({f for f, _ in batch}) == 1


def test_no_more_batches_than_are_needed() -> None:
    for rows, batches in [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)]:
        assert BatchPlan(mixture(["abcdefghi"[:rows]], [1]), 4, 0).batches_per_epoch == batches
    assert BatchPlan(mixture(["aaab"], [1]), 4, 0).batches_per_epoch == 3
    assert BatchPlan(mixture(["abc", "ade"], [2, 1]), 9, 0).batches_per_epoch == 3  # three times a
    assert BatchPlan(mixture(["abc", "ade"], [2, 1]), 9, 0, "one-file").batches_per_epoch == 3


def test_what_a_step_is_made_of_depends_on_the_seed_and_the_step_alone() -> None:
    mixed = mixture(["abcdefgh", "hijklmnop"], [1, 0.5])
    for mix in ("mixed", "one-file"):
        plan = BatchPlan(mixed, 3, 5, mix)  # type: ignore[arg-type]
        forwards = [plan.rows(step) for step in range(20)]
        backwards = [BatchPlan(mixed, 3, 5, mix).rows(step) for step in range(19, -1, -1)]  # type: ignore[arg-type]
        assert forwards == backwards[::-1]
        assert forwards != [BatchPlan(mixed, 3, 6, mix).rows(step) for step in range(20)]  # type: ignore[arg-type]
        first = plan.batches_per_epoch
        assert forwards[:first] != forwards[first : 2 * first]


def test_a_fraction_of_a_file_is_another_one_each_epoch() -> None:
    mixed = mixture(["abcdefghij"], [0.5])
    halves = [mixed.seen(0, epoch, 0).tolist() for epoch in range(20)]
    assert all(len(set(half)) == 5 for half in halves)
    assert len({tuple(sorted(half)) for half in halves}) > 10
    assert set().union(*halves) == set(range(10))


def test_batches_of_one_file_take_turns_at_random() -> None:
    plan = BatchPlan(mixture(["abcdefgh", "ijklmnop"], [1, 1]), 2, 0, "one-file")
    turns = {tuple(plan.rows(4 * e + i)[0][0] for i in range(4)) for e in range(0, 40, 2)}
    assert len(turns) > 3


def test_without_a_seed_rows_come_as_they_lie() -> None:
    plan = BatchPlan(mixture(["aab", "cde"], [1, 1]), 2, None)
    assert [plan.rows(step) for step in range(3)] == [
        [(0, 0), (0, 1)],
        [(0, 2), (1, 0)],
        [(1, 1), (1, 2)],
    ]


@pytest.mark.parametrize(
    ("rows", "size", "sizes"),
    [
        (9, 8, [5, 4]),
        (17, 8, [8, 5, 4]),
        (10, 3, [3, 3, 2, 2]),
        (11, 3, [3, 3, 3, 2]),
        (5, 2, [2, 3]),  # shares of 2 and 1 would leave one alone
        (3, 2, [3]),
        (1, 8, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_no_last_batch_has_one_row(
    rows: int, size: int, sizes: list[int], seed: int | None
) -> None:
    mixed = mixture([string.ascii_letters[:rows]], [1])
    plan = BatchPlan(mixed, size, seed)
    assert plan.batches_per_epoch == len(sizes)
    for epoch in range(3):
        steps = range(epoch * len(sizes), (epoch + 1) * len(sizes))
        batches = [plan.rows(step) for step in steps]
        assert [len(batch) for batch in batches] == sizes
        assert sorted(at for batch in batches for at in batch) == [(0, r) for r in range(rows)]


def test_no_last_batch_of_any_file_has_one_row() -> None:
    mixed = mixture(["abcdefghi", "jklmnopqr"], [1, 1])
    for size, sizes in [(8, [4, 4, 5, 5]), (2, [2, 2, 2, 2, 2, 2, 3, 3])]:
        plan = BatchPlan(mixed, size, 0, "one-file")
        assert sorted(len(plan.rows(step)) for step in range(len(sizes))) == sizes
        assert plan.batches_per_epoch == len(sizes)


def test_a_weight_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"weight 0\.1 leaves none of its 3 rows"):
        mixture(["abc"], [0.1])


# --- draws ----------------------------------------------------------------------------------------


def test_a_batch_is_the_first_positive_then_hard_negatives_then_negatives(four: Mixture) -> None:
    batch = make_batch(four, [(0, 0), (0, 1)], 0, Draw(2, 1, None))
    assert texts(batch) == ["ap0", "ah0", "ah1", "an0", "bp0", "bh0", "bh1", "bn0"]
    assert batch.positives == [0, 4]
    assert batch.questions == ["question a", "question b"]
    assert batch.places == ["train.jsonl:1", "train.jsonl:2"]
    assert batch.files == [0, 0]


def test_negatives_stand_in_where_a_row_lacks_hard_ones(four: Mixture) -> None:
    batch = make_batch(four, [(0, 2), (0, 3)], 0, Draw(2, 0, None))
    assert texts(batch) == ["cp0", "ch0", "cn0", "dp0", "dn0"]
    assert batch.positives == [0, 3]


def test_what_is_drawn_depends_on_seed_epoch_and_row_alone(four: Mixture) -> None:
    draw = Draw(2, 1, 7)
    alone = make_batch(four, [(0, 1)], 3, draw)
    assert texts(alone) == texts(make_batch(four, [(0, 0), (0, 1)], 3, draw))[4:]
    drawn = {tuple(texts(make_batch(four, [(0, 0)], epoch, draw))) for epoch in range(20)}
    assert len(drawn) > 5
    assert {name for names in drawn for name in names[1:3]} == {"ah0", "ah1", "ah2", "ah3"}


EXAMPLE = Example(
    "q",
    (),
    (Candidate("p", "p"),),
    tuple(
        Candidate(f"h{i}", f"h{i}", score=score)
        for i, score in enumerate((3.0, 1.0, 0.0, -5.0, None, 0.0))
    ),
    tuple(Candidate(f"n{i}", f"n{i}") for i in range(6)),
)


def names(draw: Draw, epoch: int, example: Example = EXAMPLE) -> list[str]:
    return [passage.id for passage in drawn_passages(example, (0, 0), epoch, draw)]


def test_a_draw_that_is_not_fresh_is_the_same_in_every_epoch() -> None:
    fixed = [names(Draw(2, 2, 1, fresh=False), epoch) for epoch in range(10)]
    assert all(one == fixed[0] for one in fixed)
    assert fixed[0] != ["h0", "h1", "n0", "n1"]
    assert names(Draw(2, 2, 2, fresh=False), 0) != fixed[0]


def test_hard_negatives_may_be_drawn_among_the_first_alone() -> None:
    seen = {name for epoch in range(50) for name in names(Draw(2, 0, 1, top=3), epoch)}
    assert seen == {"h0", "h1", "h2"}
    assert [name[0] for name in names(Draw(3, 0, 1, top=2), 0)] == ["h", "h", "n"]


def test_the_first_hard_negatives_are_the_same_while_negatives_change() -> None:
    drawn = [names(Draw(2, 1, 1, by="first"), epoch) for epoch in range(20)]
    assert all(one[:2] == ["h0", "h1"] for one in drawn)
    assert len({one[2] for one in drawn}) > 2


def test_a_draw_by_score_follows_the_scores() -> None:
    first = Counter(names(Draw(1, 0, 1, by="score"), epoch)[0] for epoch in range(4000))
    assert set(first) == {"h0", "h1"}
    assert abs(first["h0"] - 3000) < 150  # 5 standard deviations
    third = {names(Draw(3, 0, 1, by="score"), epoch)[2] for epoch in range(100)}
    assert third == {"h2", "h3", "h4", "h5"}  # those without a score, once the others are taken


def test_a_draw_by_score_of_a_row_without_scores_is_uniform() -> None:
    from msgspec.structs import replace

    hard_negatives = tuple(replace(candidate, score=None) for candidate in EXAMPLE.hard_negatives)
    unscored = replace(EXAMPLE, hard_negatives=hard_negatives)
    first = Counter(names(Draw(1, 0, 1, by="score"), e, unscored)[0] for e in range(3000))
    assert all(abs(count - 500) < 110 for count in first.values())
    assert len(first) == 6


def test_two_drawn_by_score_have_the_odds_of_drawing_one_after_the_other() -> None:
    """Weights 1, 2, 5: 2 and then 0 has the odds 5/8 of 2, then 1/3 of 0."""
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(by_score(np.array([1.0, 2.0, 5.0]), rng)[:2]) for _ in range(8000))
    for (one, two), count in drawn.items():
        weights = [1, 2, 5]
        odds = weights[one] / 8 * weights[two] / (8 - weights[one])
        assert abs(count / 8000 - odds) < 0.03


# --- false negatives ------------------------------------------------------------------------------


def test_a_passage_with_the_text_of_any_positive_is_a_false_negative(save: Save) -> None:
    a, b = row("a", 1), row("b", 1)
    b["hard_negative_ctxs"][0] |= {"text": " ap1\n", "passage_id": "other"}
    batch = make_batch(Mixture([save(a, b)], [1]), [(0, 0), (0, 1)], 0, Draw(1, 0, None))
    assert texts(batch) == ["ap0", "ah0", "bp0", " ap1\n"]
    assert batch.false_negatives.tolist() == [[False, False, False, True], [False] * 4]


def test_an_id_says_that_passages_are_one_within_their_file_alone(save: Save) -> None:
    a, b = row("a", 1), row("b", 1)
    b["hard_negative_ctxs"][0]["passage_id"] = "ap1"
    c = json.loads(json.dumps(b))
    c["positive_ctxs"][0] |= {"text": "cp0", "passage_id": "cp0"}
    mixed = Mixture([save(a, b), save(c, name="more.jsonl")], [1, 1])
    batch = make_batch(mixed, [(0, 0), (0, 1), (1, 0)], 0, Draw(1, 0, None))
    assert batch.files == [0, 0, 1]
    assert batch.places == ["train.jsonl:1", "train.jsonl:2", "more.jsonl:1"]
    #                             ap0    ah0    bp0    bh0   cp0    bh0 of c
    assert batch.false_negatives[0].tolist() == [False, False, False, True, False, False]


def ask(question: str, *positives: str, hard: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A row whose passages have the letters of their texts as ids."""

    def contexts(texts: tuple[str, ...]) -> list[dict[str, str]]:
        return [{"text": text, "passage_id": text.partition(" ")[0]} for text in texts]

    return {
        "question": question,
        "answers": [],
        "positive_ctxs": contexts(positives),
        "hard_negative_ctxs": contexts(hard),
    } | more


def test_a_positive_of_the_same_question_in_another_row_is_no_negative(save: Save) -> None:
    rows = [ask("Who wrote  Hamlet", "a"), ask("who wrote hamlet ", "b"), ask("who else", "c")]
    mixed = Mixture([save(*rows)], [1])
    batch = make_batch(mixed, [(0, 0), (0, 1), (0, 2)], 0, Draw(0, 0, None))
    x, o = True, False
    assert batch.false_negatives.tolist() == [[o, x, o], [x, o, o], [o, o, o]]
    assert without_negatives(batch.false_negatives) == 0
    two = make_batch(mixed, [(0, 0), (0, 1)], 0, Draw(0, 0, None))
    assert without_negatives(two.false_negatives) == 2


def test_positives_of_the_same_question_count_from_rows_that_are_not_in_the_batch(
    save: Save,
) -> None:
    """By text from any file, by id from the passage's own file."""
    first = save(
        ask("q", "a", hard=("b", "c", "d", "e")),  # b: a first positive elsewhere, c: a second one
        ask("q", "a2", "c"),
        ask("r", "r", hard=("a2", "b")),
        name="one.jsonl",
    )
    second = save(
        ask("Q", "b"), ask(" q", "d otherwise"), ask("r", "e"), ask("s", "s"), name="two.jsonl"
    )
    batch = make_batch(
        Mixture([first, second], [1, 1]), [(0, 0), (0, 2), (1, 3)], 0, Draw(4, 0, None)
    )
    assert texts(batch) == ["a", "b", "c", "d", "e", "r", "a2", "b", "s"]
    excluded = [np.flatnonzero(row).tolist() for row in batch.false_negatives]
    # d has another text in two.jsonl, whose ids are not those of one.jsonl.
    assert excluded == [[1, 2, 6, 7], [4], []]


def test_a_question_of_the_same_key_is_another_question(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ask("one", "a"), ask("two", "b"), ask("one", "c")]
    monkeypatch.setattr("dprkit.data.examples.text_key", lambda text: 7)
    monkeypatch.setattr("dprkit.training.false_negatives.text_key", lambda text: 7)
    batch = make_batch(Mixture([save(*rows)], [1]), [(0, 0), (0, 1)], 0, Draw(0, 0, None))
    assert not batch.false_negatives.any()


def test_only_rows_whose_question_comes_again_are_read_again(save: Save) -> None:
    file = save(*(ask(f"q{n // 2 if n < 4 else n}", f"p{n}") for n in range(50)))
    mixed = Mixture([file], [1])
    read: list[int] = []
    get = ExampleFile.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExampleFile, "__getitem__", lambda self, n: read.append(n) or get(self, n))
        for _ in range(3):
            make_batch(mixed, [(0, n) for n in range(50)], 0, Draw(0, 0, None))
    assert Counter(read) == {n: 4 if n < 4 else 3 for n in range(50)}


def test_questions_without_any_negative_are_counted(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ask("q", "a"), ask("Q", "b"), ask("r", "c", hard=("d",)), ask("s", "e", hard=("e",))]
    mixed = Mixture([save(*rows)], [1])
    for size, hard, count in [(4, 0, 0), (1, 0, 4), (1, 1, 3), (2, 1, 2)]:
        plan = BatchPlan(mixed, size, None)
        assert lonely_questions(plan, Draw(hard, 0, None)) == (count, 4)
    alone = [ask("one", "x y", answers=["y"]), ask("two", "z y", answers=["y"])]
    plan = BatchPlan(Mixture([save(*alone, name="two.jsonl")], [1]), 2, 0)
    assert lonely_questions(plan, Draw(0, 0, 0)) == (0, 2)
    assert lonely_questions(plan, Draw(0, 0, 0), by_answers=True) == (2, 2)
    monkeypatch.setattr("dprkit.training.check_examples.LOOKED_AT", 2)
    assert lonely_questions(BatchPlan(mixed, 1, None), Draw(0, 0, None)) == (2, 2)


CORPUS = ["the red fox", "a blue whale", "The RED, fox", "whale of a time", "nothing"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["who", "Who", "what"]),
            st.lists(st.sampled_from(CORPUS), min_size=1, max_size=2),
            st.lists(st.sampled_from(CORPUS), max_size=3),
            st.lists(st.sampled_from(["red fox", "whale", " ", "time"]), max_size=2),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_false_negatives_are_those_of_comparing_every_pair(
    save: Save, rows: Any, size: int
) -> None:
    def contexts(texts: list[str]) -> list[dict[str, str]]:
        return [{"text": text} for text in texts]

    file = save(
        *(
            {
                "question": question,
                "answers": answers,
                "positive_ctxs": contexts(positives),
                "hard_negative_ctxs": contexts(hard),
            }
            for question, positives, hard, answers in rows
        )
    )
    at = [(0, i) for i in range(len(rows))][:size]
    plain, by_answers = (
        make_batch(Mixture([file], [1]), at, 0, Draw(3, 0, None), flag) for flag in (False, True)
    )
    for i, (question, _, _, answers) in enumerate(rows[:size]):
        known = {text for q, texts, _, _ in rows if q.lower() == question.lower() for text in texts}
        for j, passage in enumerate(plain.passages):
            own = j == plain.positives[i]
            same = not own and passage.text in known
            holds = not own and has_answer([a for a in answers if a.strip()], passage.text)
            assert plain.false_negatives[i, j] == same
            assert by_answers.false_negatives[i, j] == (same or holds)


# --- preparing ------------------------------------------------------------------------------------


def test_a_prepared_batch_is_that_of_its_step_as_tokens(four: Mixture) -> None:
    tokenizer = learn_tokenizer(["question a b c d yes", *"abcd"], 100)
    tokens = Tokens((tokenizer, {}), RetrieverConfig(question_max_length=8, passage_max_length=16))
    plan, draw = BatchPlan(four, 2, 3), Draw(1, 1, 3)
    for step in (0, 1, 2, 5):
        prepared = Preparation(plan, draw, tokens)(step)
        batch = make_batch(four, plan.rows(step), step // 2, draw)
        assert prepared.step == step
        questions, passages = tokens.questions(batch.questions), tokens.passages(batch.passages)
        assert prepared.sides == (questions, passages)
        targets = prepared.targets
        assert targets["positives"].tolist() == batch.positives
        assert targets["positives"].dtype == np.int64
        assert np.array_equal(targets["false_negatives"], batch.false_negatives)
        assert targets["weights"].tolist() == [1.0, 1.0]
        assert prepared.places == batch.places


def test_another_process_leaves_out_the_same_fold(save: Save) -> None:
    path = save(*map(row, "abcdefgh")).path
    file = ExampleFile(path, leave_out=Fold(1, 3))
    tokenizer = learn_tokenizer(["question"] * 3, 300)
    tokens = Tokens((tokenizer, {}), RetrieverConfig())
    here = Preparation(BatchPlan(Mixture([file], [1]), 2, 3), Draw(1, 1, 3), tokens)
    there = here.describe()()
    assert there.plan.rows(0) == here.plan.rows(0)
    assert there(1).places == here(1).places


def test_each_training_file_has_its_weight_in_the_loss(save: Save) -> None:
    files = [save(row("a"), row("b"), name="one"), save(row("c"), row("d"), name="two")]
    batch = make_batch(Mixture(files, [1, 1]), [(0, 1), (1, 0), (0, 0)], 0, Draw(1, 0, 3))
    assert batch.targets((1.0, 0.5))["weights"].tolist() == [1.0, 0.5, 1.0]
    assert batch.targets(())["weights"].tolist() == [1.0, 1.0, 1.0]
