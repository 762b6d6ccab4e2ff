import json

import pytest

from dprkit.errors import FormatError, InputError
from dprkit.records import Example, Passage
from dprkit.training.batches import (
    Draw,
    ExampleFile,
    batches_per_epoch,
    epoch_order,
    make_batch,
)


def example(name, hard=4, negatives=4):
    def pool(kind, count):
        return tuple(Passage(f"{name}{kind}{i}", "text", "title") for i in range(count))

    return Example(
        f"question {name}", ("yes",), pool("p", 2), pool("h", hard), pool("n", negatives)
    )


EXAMPLES = [example("a"), example("b"), example("c", hard=1), example("d", hard=0, negatives=1)]


def ids(batch):
    return [passage.id for passage in batch.passages]


def test_a_batch_is_the_first_positive_then_hard_negatives_then_negatives():
    batch = make_batch(EXAMPLES, [0, 1], 0, Draw(2, 1, None))
    assert ids(batch) == ["ap0", "ah0", "ah1", "an0", "bp0", "bh0", "bh1", "bn0"]
    assert batch.positives == [0, 4]
    assert batch.questions == ["question a", "question b"]


def test_negatives_stand_in_where_a_row_lacks_hard_ones():
    batch = make_batch(EXAMPLES, [2, 3], 0, Draw(2, 0, None))
    assert ids(batch) == ["cp0", "ch0", "cn0", "dp0", "dn0"]
    assert batch.positives == [0, 3]


def test_what_is_drawn_depends_on_seed_epoch_and_row_alone():
    draw = Draw(2, 1, 7)
    assert ids(make_batch(EXAMPLES, [1], 3, draw)) == ids(make_batch(EXAMPLES, [0, 1], 3, draw))[4:]
    drawn = {tuple(ids(make_batch(EXAMPLES, [0], epoch, draw))) for epoch in range(20)}
    assert len(drawn) > 5
    assert len({d for d in drawn for d in d[1:3]}) == 4  # every hard negative gets its turn


def test_an_epoch_sees_every_row_once_in_an_order_of_its_own():
    first, second = epoch_order(10, 0, 0).tolist(), epoch_order(10, 0, 1).tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first == epoch_order(10, 0, 0).tolist()


def test_the_last_batch_may_be_smaller():
    assert [batches_per_epoch(n, 4) for n in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]


def row(question, positives=1):
    ctx = {"title": "t", "text": "x", "passage_id": "1"}
    return {"question": question, "answers": ["x"], "positive_ctxs": [ctx] * positives}


def test_rows_without_a_positive_are_left_out_and_counted(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row(q, n)) + "\n" for q, n in [("a", 1), ("b", 0)]))
    examples = ExampleFile(path)
    assert (len(examples), examples.dropped, examples[0].question) == (1, 1, "a")


def test_a_file_without_anything_to_learn_from_is_refused(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row("a", 0)))
    with pytest.raises(InputError, match="nothing to learn from"):
        ExampleFile(path)


def test_a_broken_row_is_named_by_its_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row("a")) + '\n{"question": 3}\n')
    with pytest.raises(FormatError, match=r"train.jsonl:2: .*question"):
        ExampleFile(path)
